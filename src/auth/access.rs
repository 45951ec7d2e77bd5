//! Which tables somebody may read, and which of their rows.

use crate::scope::ScopeConditions;

/// What somebody may read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Every published table, whole.
    Everything,
    /// These tables. None: nothing.
    Tables(Vec<Granted>),
}

/// A table that may be read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Granted {
    /// Its name in any spelling that clients may use, too.
    pub table: String,
    /// Which of its rows. Where a table is granted twice, both must hold.
    pub rows: ScopeConditions,
}

impl Access {
    /// Nothing at all.
    pub fn nothing() -> Self {
        Self::Tables(Vec::new())
    }
}
