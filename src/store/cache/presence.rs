//! What is known of the value under a key.

use crate::lsn::Lsn;

/// The value under a key, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store) enum Presence<V> {
    /// This value.
    Present(V),
    /// There is none.
    Absent,
    /// Only the database knows.
    Unknown,
}

/// The result of a lookup at the applied position.
#[derive(Debug)]
pub(in crate::store) enum Lookup<V> {
    /// The value (`None`: absent) at the applied position.
    Value(Option<V>),
    /// A value that becomes exact when everything up to this position has been applied.
    AheadUntil(Lsn),
    Miss,
}

impl<V> Presence<V> {
    /// A known presence: `None` is an absent value.
    pub(in crate::store) fn of(value: Option<V>) -> Self {
        value.map_or(Self::Absent, Self::Present)
    }

    /// This, or `other` if this is unknown.
    pub(in crate::store) fn or_else(self, other: impl FnOnce() -> Self) -> Self {
        match self {
            Self::Unknown => other(),
            known => known,
        }
    }
}
