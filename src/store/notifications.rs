//! Positions that readers can see without a lock, and notifications for tasks that wait.
//!
//! Every number here is a copy of a [`Position`] under the store's lock, in one atomic word: see
//! [`AtomicPosition`]. It is exact, or says that it is not; then the reader takes the lock.
//!
//! The writer stores the newest positions of tables first and the applied position last; a reader
//! loads in the opposite order. So when a reader finds no newest position beyond what it knows,
//! there was none when the applied position it loaded was stored. Within a history nothing goes
//! back; while another one takes over, no position is visible ([`Notifications::leave_history`]),
//! and a reader checks the history again at the end. All accesses are `SeqCst`: a store costs a few
//! nanoseconds more, once per lock hold, and the reasoning stays this short.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::lsn::Lsn;
use crate::version::{Epoch, Position, Version};

/// A position in one atomic word: 56 bits of LSN (72 petabytes of WAL), 8 bits of ordinal.
#[derive(Debug, Default)]
pub(super) struct AtomicPosition(AtomicU64);

impl AtomicPosition {
    const ORDINAL_BITS: u32 = 8;
    /// Ordinal of a whole commit's position.
    const WHOLE: u64 = 0xFF;
    /// Ordinal of a position that does not fit.
    const INEXACT: u64 = 0xFE;
    /// Does not fit, and never changes again.
    const CLOSED: u64 = u64::MAX << Self::ORDINAL_BITS | Self::INEXACT;

    pub(super) fn set(&self, position: Position) {
        let ordinal = match position.ordinal {
            Position::WHOLE => Self::WHOLE,
            ordinal => u64::from(ordinal).min(Self::INEXACT),
        };
        let lsn = position.lsn.0;
        let fits = lsn.leading_zeros() >= Self::ORDINAL_BITS;
        let word = if fits { lsn << Self::ORDINAL_BITS | ordinal } else { Self::INEXACT };
        self.0.store(word, SeqCst);
    }

    /// Marks the position as one that never changes again.
    pub(super) fn close(&self) {
        self.0.store(Self::CLOSED, SeqCst);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.0.load(SeqCst) == Self::CLOSED
    }

    /// The position; `None` if it did not fit.
    pub(super) fn position(&self) -> Option<Position> {
        let word = self.0.load(SeqCst);
        let lsn = Lsn(word >> Self::ORDINAL_BITS);
        match word & 0xFF {
            Self::WHOLE => Some(Position::after_commit(lsn)),
            Self::INEXACT => None,
            ordinal => Some(Position { lsn, ordinal: u32::try_from(ordinal).ok()? }),
        }
    }
}

/// The store-wide positions and notifications.
#[derive(Debug)]
pub(super) struct Notifications {
    /// The epoch with [`STARTED`] above it; 0 before the first start and while another history
    /// takes over.
    history: AtomicU64,
    applied: AtomicPosition,
    /// The newest change to any table.
    pub(super) newest: AtomicPosition,
    /// Notified when `newest` rises.
    pub(super) any_change: Notify,
    /// Notified when the applied position advances.
    pub(super) applied_advanced: Notify,
    /// A key was queued for the load workers.
    pub(super) load_requested: Notify,
    /// A copy was requested of the preloader.
    pub(super) copy_requested: Notify,
    /// The writer has work that is not in the stream.
    pub(super) writer_requested: Notify,
    /// Cancelled at shutdown: ends all waits.
    pub(super) closed: CancellationToken,
}

/// Distinguishes "epoch 0" from "not started".
const STARTED: u64 = 1 << 32;

impl Notifications {
    pub(super) fn new() -> Self {
        Self {
            history: AtomicU64::new(0),
            applied: AtomicPosition::default(),
            newest: AtomicPosition::default(),
            any_change: Notify::new(),
            applied_advanced: Notify::new(),
            load_requested: Notify::new(),
            copy_requested: Notify::new(),
            writer_requested: Notify::new(),
            closed: CancellationToken::new(),
        }
    }

    /// Hides the applied position until [`Notifications::publish`]: readers take the lock meanwhile.
    pub(super) fn leave_history(&self) {
        self.history.store(0, SeqCst);
    }

    /// Shows the applied position. To be called after the newest positions were set.
    pub(super) fn publish(&self, applied: Version) {
        self.applied.set(applied.position);
        self.history.store(STARTED | u64::from(applied.epoch.0), SeqCst);
    }

    /// The applied position; `None` if readers have to take the lock for it.
    pub(super) fn applied(&self) -> Option<Version> {
        let history = self.history.load(SeqCst).checked_sub(STARTED)?;
        let version = Version {
            epoch: Epoch(u32::try_from(history).ok()?),
            position: self.applied.position()?,
        };
        self.is_current(version).then_some(version)
    }

    /// Whether `version` still belongs to the history being followed.
    pub(super) fn is_current(&self, version: Version) -> bool {
        self.history.load(SeqCst) == STARTED | u64::from(version.epoch.0)
    }
}

/// A position after `position` and before every later commit: for a reset that comes between commits.
///
/// A client that holds the applied position P must get such a reset although nothing was
/// committed since. So the floor has to lie beyond P, and P has to move with it, or the client
/// would get a reset with every poll. The position taken is inside "the commit that ends at P + 1 byte":
/// there is none, as WAL records are aligned to 8 bytes, and the next one ends 24 bytes further
/// on at least. Every later commit is therefore greater, everything up to P is smaller, and the
/// version means the same to every other instance: "all that is committed up to P". The ordinal
/// counts the resets at one P, so there is room for four billion of them.
pub(super) fn reset_after(position: Position) -> Position {
    match position.ordinal.checked_add(2) {
        Some(_) => Position { lsn: position.lsn, ordinal: position.ordinal + 1 },
        None => Position { lsn: Lsn(position.lsn.0 + 1), ordinal: 1 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: Epoch = Epoch(0);

    #[test]
    fn a_reset_position_is_after_the_commit_and_before_the_next() {
        let mut position = Position::after_commit(Lsn(800));
        for _ in 0..3 {
            let next = reset_after(position);
            assert!(next > position);
            assert!(next < Position { lsn: Lsn(808), ordinal: 1 });
            let version = Version { epoch: EPOCH, position: next };
            assert_eq!(version.to_string().parse(), Ok(version));
            position = next;
        }
        let last = Position { lsn: Lsn(801), ordinal: Position::WHOLE - 1 };
        assert_eq!(reset_after(last), Position { lsn: Lsn(802), ordinal: 1 });
    }

    #[test]
    fn an_atomic_position_is_exact_or_says_that_it_is_not() {
        let atomic = AtomicPosition::default();
        let stored = |lsn, ordinal| {
            atomic.set(Position { lsn: Lsn(lsn), ordinal });
            atomic.position()
        };
        for (lsn, ordinal) in [(0, 0), (808, 1), (808, 253), (1 << 55, 7), (801, Position::WHOLE)] {
            assert_eq!(stored(lsn, ordinal), Some(Position { lsn: Lsn(lsn), ordinal }));
        }
        for (lsn, ordinal) in [(808, 254), (808, 255), (808, 99_999), (1 << 56, Position::WHOLE)] {
            assert_eq!(stored(lsn, ordinal), None);
            assert!(!atomic.is_closed());
        }
        atomic.close();
        assert_eq!(atomic.position(), None);
        assert!(atomic.is_closed());
    }

    #[test]
    fn no_position_is_visible_before_a_history_and_between_two() {
        let notifications = Notifications::new();
        assert_eq!(notifications.applied(), None);
        let position = Position::after_commit(Lsn(800));
        let version = Version { epoch: EPOCH, position };
        notifications.publish(version);
        assert_eq!(notifications.applied(), Some(version));
        assert!(notifications.is_current(version));
        notifications.publish(Version { epoch: EPOCH, position: reset_after(position) });
        assert_eq!(notifications.applied().map(|v| v.position), Some(reset_after(position)));
        notifications.leave_history();
        assert_eq!(notifications.applied(), None);
        assert!(!notifications.is_current(version));
    }
}
