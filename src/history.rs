//! Timeline histories: what versions of another timeline mean on this one.
//!
//! Each time a standby is promoted, or a backup is restored to some moment, PostgreSQL begins a new
//! *timeline*: a branch of the WAL that shares everything up to the *switch point* with the
//! timeline it left (manual, "Timelines"). The server keeps the list of switches of its timeline; a
//! walsender returns it for `TIMELINE_HISTORY`.
//!
//! # Which versions remain valid
//!
//! A version means "everything committed up to this LSN". On both sides of a switch the WAL up to
//! the switch point is the same bytes, so a version from an ancestor is valid on the new timeline
//! exactly when its LSN is at or before the point where that ancestor was left; and LSNs rise from
//! there, so versions of one line of ancestors are ordered by LSN, whatever their epochs. Beyond
//! the switch point the ancestor has commits that never happened here (an asynchronous standby had
//! not received them), and this timeline has others at the same LSNs: such a version can't be
//! brought up to date.
//!
//! All this follows from the server's list alone. So a process started after a failover treats old
//! versions exactly as one that ran through it.
//!
//! # What the list does not contain
//!
//! * A client that *read* a row on the old server after its last version may have seen a commit
//!   that was lost with it. If this process knows of such commits, because it had reported them, it
//!   accepts no version from before ([`TimelineHistory::without_ancestors`]); if it knows of none,
//!   there may still be some. Synchronous replication excludes them.
//! * A server whose storage is set back to a snapshot continues on the same timeline: two histories
//!   with one name. A process that had read further than the server's WAL now reaches detects it,
//!   and accepts nothing from before ([`TimelineHistory::diverged_at`]); from then on its epoch is
//!   its own. A process that was started later can't detect it, and neither can one that the server
//!   has overtaken by then. So restore by recovery (`recovery.signal`), which begins a timeline.
//! * Two servers that leave one timeline at the same LSN, and don't share an archive, give their
//!   new timelines the same name: PostgreSQL itself can't distinguish them.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::lsn::Lsn;
use crate::version::{Epoch, Position, Version};

/// Bound of the ancestors kept, the youngest first; versions of older ones are answered with a
/// reset. Each failover adds one.
const ANCESTORS_MAX: usize = 64;

/// The point where a timeline was left for the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimelineSwitch {
    /// Number of the timeline that was left.
    pub timeline: u32,
    /// Up to here its WAL is shared with the next timeline.
    pub at: Lsn,
}

/// The history being followed, and its ancestors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimelineHistory {
    epoch: Epoch,
    ancestors: Vec<Ancestor>,
}

/// A history that another one continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Ancestor {
    epoch: Epoch,
    /// The end of the shared part.
    end: Lsn,
}

impl TimelineHistory {
    /// The history of a database on a server, from the results of `IDENTIFY_SYSTEM`, `pg_database`
    /// and `TIMELINE_HISTORY`. `switches` lead to `timeline`, the oldest first.
    ///
    /// The epoch also depends on the switches: two restores of one backup to different moments may
    /// begin timelines of the same number.
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

    /// The history of a server that has lost its WAL beyond some position before `lost`: no earlier
    /// version is accepted.
    #[must_use]
    pub fn diverged_at(&self, lost: Lsn) -> Self {
        let mut hash = Sha256::new();
        hash.update(self.epoch.0.to_be_bytes());
        hash.update(lost.0.to_be_bytes());
        let digest: [u8; 32] = hash.finalize().into();
        let [a, b, c, d, ..] = digest;
        Self::from(Epoch(u32::from_be_bytes([a, b, c, d])))
    }

    /// The epoch of every version issued from now on.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The position of a version in this history; `None` if it belongs to another history, or to
    /// what an ancestor did after the switch.
    pub fn position_of(&self, version: Version) -> Option<Position> {
        let is_here = version.epoch == self.epoch
            || self.ancestors.iter().any(|ancestor| ancestor.covers(version));
        is_here.then_some(version.position)
    }

    /// The same history as the successor of `held`: ancestors that were not accepted there stay so.
    #[must_use]
    pub fn continuing(mut self, previous: &Self) -> Self {
        self.ancestors.retain(|ancestor| {
            ancestor.epoch == previous.epoch || previous.ancestors.contains(ancestor)
        });
        self
    }

    /// The same history, accepting no version of an ancestor.
    #[must_use]
    pub fn without_ancestors(&self) -> Self {
        Self::from(self.epoch)
    }
}

impl Ancestor {
    fn covers(&self, version: Version) -> bool {
        // A reset between two commits has a position a few bytes beyond the end of the first, and
        // means no more than that end: so it counts as the record boundary before it.
        version.epoch == self.epoch && version.position.lsn.record_boundary() <= self.end
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
    fn an_epoch_depends_on_system_database_timeline_and_switches() {
        let epoch = |system, database, timeline| {
            TimelineHistory::new(system, database, timeline, &[]).epoch()
        };
        assert_eq!(epoch(SYSTEM, 16_384, 1), epoch(SYSTEM, 16_384, 1));
        assert_ne!(epoch(SYSTEM, 16_384, 1), epoch(SYSTEM, 16_384, 2));
        assert_ne!(epoch(SYSTEM, 16_384, 1), epoch(SYSTEM, 16_385, 1));
        assert_ne!(epoch(SYSTEM, 16_384, 1), epoch(SYSTEM + 1, 16_384, 1));
        let (one, other) = (history(2, &[(1, 800)]), history(2, &[(1, 808)]));
        assert_ne!(one.epoch(), other.epoch(), "one backup restored to two points in time");
        assert_eq!(other.position_of(after(&one, 80)), None);
    }

    #[test]
    fn an_ancestors_version_is_valid_up_to_the_switch_point() {
        let (first, second) = (history(1, &[]), history(2, &[(1, 800)]));
        let third = history(3, &[(1, 800), (2, 1600)]);
        for (old, new, lsn, is_valid) in [
            (&first, &second, 800, true),
            (&first, &second, 808, false),
            (&second, &third, 1600, true),
            (&second, &third, 1608, false),
            // The first was left long before the second.
            (&first, &third, 800, true),
            (&first, &third, 1600, false),
            // A timeline does not know its successors.
            (&second, &first, 80, false),
        ] {
            let version = after(old, lsn);
            let expected = is_valid.then_some(version.position);
            assert_eq!(new.position_of(version), expected, "{lsn}");
        }
        assert_eq!(second.without_ancestors().position_of(after(&first, 80)), None);
        assert_eq!(second.without_ancestors().epoch(), second.epoch());
    }

    #[test]
    fn ancestors_once_rejected_stay_rejected() {
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
    fn the_oldest_ancestors_are_dropped_beyond_the_limit() {
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
