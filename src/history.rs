//! What versions of another timeline mean on this one.
//!
//! Each time a standby is promoted, or a backup is restored to some moment, PostgreSQL begins a new
//! *timeline*: a branch of the WAL that shares everything up to the *switch point* with the
//! timeline it left (manual, "Timelines"). The server keeps the list of switches of its timeline;
//! a walsender answers it to `TIMELINE_HISTORY`.
//!
//! # Which versions stay true
//!
//! A version says "everything committed up to this LSN". On both sides of a switch the WAL up to
//! the switch point is the same bytes, so a version from an ancestor is true on the new timeline
//! exactly when its LSN is at or before the point where that ancestor was left; and LSNs go on
//! rising from there, so versions of one line of ancestors are ordered by LSN, whatever their
//! epochs. Beyond the switch point the ancestor has commits that never happened here
//! (an asynchronous standby had not received them), and this timeline has others in the same
//! places: such a version can't be brought up to date.
//!
//! All this follows from the server's list alone. So a process that was started after a failover
//! answers old versions just as one does that lived through it.
//!
//! # What no list can tell
//!
//! * Who *read* a row on the old server after its last version may have seen a commit that was
//!   lost with it. Where this process knows that there were such commits, because it had told of
//!   them, it believes no version from before ([`TimelineHistory::without_ancestors`]); where it knows of
//!   none, there may still be some. Synchronous replication excludes them.
//! * A server whose storage is set back to a snapshot goes on writing the same timeline: two histories of
//!   one name. A process that had read further than the server's WAL now reaches notices, and believes
//!   nothing of before ([`TimelineHistory::rewound`]); from then on its epoch is its own. One that was
//!   started later can't know, and neither can one that the server has overtaken by then. So restore by
//!   recovery (`recovery.signal`), which begins a timeline.
//! * Two servers that leave one timeline at the same LSN, and don't share an archive, both name
//!   their new timeline alike: PostgreSQL itself can't tell them apart.

use sha2::{Digest, Sha256};

use crate::lsn::Lsn;
use crate::version::{Epoch, Position, Version};

/// Ancestors remembered, the youngest first; versions of older ones are answered with a reset.
/// Each failover adds one.
const ANCESTORS_MAX: usize = 64;

/// WAL records begin and end on multiples of this many bytes (`MAXALIGN`).
const RECORD_ALIGNMENT: u64 = 8;

/// Where a timeline was left for the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimelineSwitch {
    /// The timeline that was left.
    pub timeline: u32,
    /// Its WAL up to here is also the next one's.
    pub at: Lsn,
}

/// The history being followed, and those it grew out of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimelineHistory {
    epoch: Epoch,
    ancestors: Vec<Ancestor>,
}

/// A history that went on as another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ancestor {
    epoch: Epoch,
    /// It is shared up to here.
    end: Lsn,
}

impl TimelineHistory {
    /// The history of a database on a server: what `IDENTIFY_SYSTEM`, `pg_database` and
    /// `TIMELINE_HISTORY` say. `switches` lead to `timeline`, the oldest first.
    ///
    /// The epoch depends on the switches too: two restores of one backup to different moments may
    /// well begin timelines of the same number.
    pub fn new(
        system_identifier: u64,
        database_oid: u32,
        timeline: u32,
        switches: &[TimelineSwitch],
    ) -> Self {
        let epoch = |timeline: u32, switches: &[TimelineSwitch]| {
            let mut hash = Sha256::new();
            hash.update(system_identifier.to_be_bytes());
            hash.update(timeline.to_be_bytes());
            hash.update(database_oid.to_be_bytes());
            for switch in switches {
                hash.update(switch.timeline.to_be_bytes());
                hash.update(switch.at.0.to_be_bytes());
            }
            let digest: [u8; 32] = hash.finalize().into();
            let [a, b, c, d, ..] = digest;
            Epoch(u32::from_be_bytes([a, b, c, d]))
        };
        let before = |index: usize| switches.get(..index).unwrap_or_default();
        let ancestors = switches.iter().enumerate().rev().take(ANCESTORS_MAX);
        let ancestors = ancestors.map(|(index, switch)| Ancestor {
            epoch: epoch(switch.timeline, before(index)),
            end: switch.at,
        });
        Self { epoch: epoch(timeline, switches), ancestors: ancestors.collect() }
    }

    /// What becomes of it when the server has lost what it had beyond some position before `lost`:
    /// nothing of before is believed.
    #[must_use]
    pub fn diverged_at(&self, lost: Lsn) -> Self {
        let mut hash = Sha256::new();
        hash.update(self.epoch.0.to_be_bytes());
        hash.update(lost.0.to_be_bytes());
        let digest: [u8; 32] = hash.finalize().into();
        let [a, b, c, d, ..] = digest;
        Self::from(Epoch(u32::from_be_bytes([a, b, c, d])))
    }

    /// The epoch of every version given from now on.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Where a version is in this history; `None` when it belongs to another one, or to what an
    /// ancestor did after it was left.
    pub fn position_of(&self, version: Version) -> Option<Position> {
        let is_here = version.epoch == self.epoch
            || self.ancestors.iter().any(|ancestor| ancestor.holds(version));
        is_here.then_some(version.position)
    }

    /// The same history, which follows on `held`: what was not believed there is not believed here.
    #[must_use]
    pub fn continuing(mut self, held: &Self) -> Self {
        self.ancestors
            .retain(|ancestor| ancestor.epoch == held.epoch || held.ancestors.contains(ancestor));
        self
    }

    /// The same history, in which no version of an ancestor is believed.
    #[must_use]
    pub fn without_ancestors(&self) -> Self {
        Self::from(self.epoch)
    }
}

impl Ancestor {
    fn holds(&self, version: Version) -> bool {
        // A reset between two commits has a position a few bytes beyond the first of them, and
        // says no more than that one does: it counts as the record's end before it.
        let known = version.position.lsn.0 / RECORD_ALIGNMENT * RECORD_ALIGNMENT;
        version.epoch == self.epoch && known <= self.end.0
    }
}

impl From<Epoch> for TimelineHistory {
    /// A history without ancestors.
    fn from(epoch: Epoch) -> Self {
        Self { epoch, ancestors: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYSTEM: u64 = 7_312_345_678_901_234_567;

    fn history(timeline: u32, switches: &[(u32, u64)]) -> TimelineHistory {
        let switch = |&(timeline, at): &(u32, u64)| TimelineSwitch { timeline, at: Lsn(at) };
        let switches: Vec<TimelineSwitch> = switches.iter().map(switch).collect();
        TimelineHistory::new(SYSTEM, 16_384, timeline, &switches)
    }

    fn after(history: &TimelineHistory, lsn: u64) -> Version {
        Version { epoch: history.epoch(), position: Position::after_commit(Lsn(lsn)) }
    }

    #[test]
    fn an_epoch_names_system_database_timeline_and_where_it_began() {
        let epoch = |system, database, timeline| {
            TimelineHistory::new(system, database, timeline, &[]).epoch()
        };
        assert_eq!(epoch(SYSTEM, 16_384, 1), epoch(SYSTEM, 16_384, 1));
        assert_ne!(epoch(SYSTEM, 16_384, 1), epoch(SYSTEM, 16_384, 2));
        assert_ne!(epoch(SYSTEM, 16_384, 1), epoch(SYSTEM, 16_385, 1));
        assert_ne!(epoch(SYSTEM, 16_384, 1), epoch(SYSTEM + 1, 16_384, 1));
        let (one, other) = (history(2, &[(1, 800)]), history(2, &[(1, 808)]));
        assert_ne!(one.epoch(), other.epoch(), "one backup restored to two moments");
        assert_eq!(other.position_of(after(&one, 80)), None);
    }

    #[test]
    fn an_ancestors_version_is_true_up_to_the_switch_point() {
        let (first, second) = (history(1, &[]), history(2, &[(1, 800)]));
        let third = history(3, &[(1, 800), (2, 1600)]);
        for (old, new, lsn, is_true) in [
            (&first, &second, 800, true),
            (&first, &second, 808, false),
            (&second, &third, 1600, true),
            (&second, &third, 1608, false),
            // The first was left long before the second.
            (&first, &third, 800, true),
            (&first, &third, 1600, false),
            // Nobody comes back from the future.
            (&second, &first, 80, false),
        ] {
            let version = after(old, lsn);
            let expected = is_true.then_some(version.position);
            assert_eq!(new.position_of(version), expected, "{lsn}");
        }
        assert_eq!(second.without_ancestors().position_of(after(&first, 80)), None);
        assert_eq!(second.without_ancestors().epoch(), second.epoch());
    }

    #[test]
    fn who_is_not_believed_any_more_never_is_again() {
        let switches = [(1, 800), (2, 1600)];
        let [first, second, third] =
            [1, 2, 3].map(|timeline| history(timeline, &switches[..timeline as usize - 1]));
        let held = second.without_ancestors();
        assert_eq!(second.clone().continuing(&held), held);
        let next = third.clone().continuing(&held);
        assert!(next.position_of(after(&second, 1600)).is_some());
        assert!(next.position_of(after(&first, 80)).is_none());
        assert_eq!(third.clone().continuing(&second), third);
    }

    #[test]
    fn a_version_inside_a_commit_needs_the_whole_commit() {
        let (first, second) = (history(1, &[]), history(2, &[(1, 800)]));
        let inside = |lsn, ordinal| Version {
            epoch: first.epoch(),
            position: Position { lsn: Lsn(lsn), ordinal },
        };
        assert!(second.position_of(inside(800, 3)).is_some());
        assert!(second.position_of(inside(808, 3)).is_none());
        // A reset after everything up to 800.
        assert!(second.position_of(inside(801, 1)).is_some());
    }

    #[test]
    fn the_oldest_ancestors_are_forgotten_beyond_the_limit() {
        let switches: Vec<(u32, u64)> = (1..=100).map(|t| (t, 800 * u64::from(t))).collect();
        let youngest = history(101, &switches);
        let is_known = |timeline: usize| {
            let ancestor = history(u32::try_from(timeline).unwrap(), &switches[..timeline - 1]);
            youngest.position_of(after(&ancestor, 80)).is_some()
        };
        assert!(is_known(100) && is_known(101 - ANCESTORS_MAX));
        assert!(!is_known(100 - ANCESTORS_MAX));
    }
}
