//! Announcements of changed definitions in the stream.
//!
//! An announcement is a transactional logical message with the prefix [`PREFIX`]. Its content is
//! the OIDs of tables whose rows may look different, or be other rows, from here on: decimal, in
//! ASCII, separated by commas. Empty content means that the catalog must be refreshed, and that a
//! partition may have been dropped.
//!
//! The event trigger of `sql/event_trigger.sql` emits them in the transaction that changes a
//! definition. Without it, a refresh finds the change later, and at a different position of the
//! stream on each instance: a client with a version from an instance that has not refreshed yet
//! would miss the reset on another instance that had it before. So an instance that finds a change
//! announces it to all ([`AnnouncementQueue`]), with a colon and a fingerprint (hexadecimal) of the
//! definition found behind each OID: an instance that has found the same need neither refresh nor
//! announce it again.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::table::TableOid;

/// Prefix of the logical messages that are meant for Highwater.
pub(super) const PREFIX: &str = "highwater";

/// A table whose definition changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Announcement {
    pub(super) table: TableOid,
    /// Fingerprint of the definition found; `None` if the message is from the transaction that
    /// changed it.
    pub(super) fingerprint: Option<u64>,
}

impl Announcement {
    /// Whether this announces the change that leads to this fingerprint.
    pub(super) fn covers(&self, table: TableOid, fingerprint: u64) -> bool {
        self.table == table && self.fingerprint.is_none_or(|announced| announced == fingerprint)
    }
}

/// The content is not a list of tables.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct MalformedAnnouncement;

/// The tables that a message announces.
pub(super) fn parse(content: &[u8]) -> Result<Vec<Announcement>, MalformedAnnouncement> {
    let text = std::str::from_utf8(content).map_err(|_| MalformedAnnouncement)?;
    if text.is_empty() {
        return Ok(Vec::new());
    }
    text.split(',').map(parse_one).collect()
}

fn parse_one(text: &str) -> Result<Announcement, MalformedAnnouncement> {
    let (oid, fingerprint) = match text.split_once(':') {
        Some((oid, hex)) => {
            (oid, Some(u64::from_str_radix(hex, 16).map_err(|_| MalformedAnnouncement)?))
        }
        None => (text, None),
    };
    Ok(Announcement {
        table: oid.parse().map(TableOid).map_err(|_| MalformedAnnouncement)?,
        fingerprint,
    })
}

/// The content of a message that announces these.
pub(super) fn format(delta: &CatalogDelta) -> String {
    let mut text = String::new();
    for (table, fingerprint) in delta {
        let comma = if text.is_empty() { "" } else { "," };
        let _ = write!(text, "{comma}{}:{fingerprint:x}", table.0);
    }
    text
}

/// Tables that changed between refreshes, by the fingerprint of their new definition.
pub(super) type CatalogDelta = BTreeMap<TableOid, u64>;

/// Changes still to be announced. It outlives connections.
#[derive(Clone, Default)]
pub(super) struct AnnouncementQueue {
    delta: Arc<Mutex<CatalogDelta>>,
    filled: Arc<Notify>,
}

impl AnnouncementQueue {
    pub(super) fn add(&self, delta: CatalogDelta) {
        if !delta.is_empty() {
            self.lock().extend(delta);
            self.filled.notify_one();
        }
    }

    /// Waits until something is added. Cancel safe.
    pub(super) async fn wait_for_additions(&self) {
        self.filled.notified().await;
    }

    /// The changes to announce now.
    pub(super) fn pending(&self) -> CatalogDelta {
        self.lock().clone()
    }

    /// Removes changes that are announced, or need not be.
    pub(super) fn remove(&self, announced: &CatalogDelta) {
        self.lock().retain(|table, fingerprint| announced.get(table) != Some(fingerprint));
    }

    fn lock(&self) -> MutexGuard<'_, CatalogDelta> {
        self.delta.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announced(table: u32, fingerprint: Option<u64>) -> Announcement {
        Announcement { table: TableOid(table), fingerprint }
    }

    #[test]
    fn oids_are_parsed_and_everything_else_is_rejected() {
        assert_eq!(parse(b""), Ok(vec![]));
        let oids = vec![announced(16384, None), announced(u32::MAX, None)];
        assert_eq!(parse(b"16384,4294967295"), Ok(oids));
        for content in
            [&b"1,"[..], b"1 2", b"x", b"-1", b"4294967296", b"\xff", b"1:", b":1", b"1:g"]
        {
            assert_eq!(parse(content), Err(MalformedAnnouncement));
        }
    }

    #[test]
    fn changes_are_announced_with_their_fingerprint() {
        let delta = CatalogDelta::from([(TableOid(7), u64::MAX), (TableOid(16384), 0)]);
        let text = format(&delta);
        assert_eq!(text, "7:ffffffffffffffff,16384:0");
        let expected = vec![announced(7, Some(u64::MAX)), announced(16384, Some(0))];
        assert_eq!(parse(text.as_bytes()), Ok(expected));
    }

    #[test]
    fn a_change_found_again_meanwhile_stays_queued() {
        let queue = AnnouncementQueue::default();
        queue.add(CatalogDelta::from([(TableOid(1), 10), (TableOid(2), 20)]));
        let sent = queue.pending();
        queue.add(CatalogDelta::from([(TableOid(2), 21)]));
        queue.remove(&sent);
        assert_eq!(queue.pending(), CatalogDelta::from([(TableOid(2), 21)]));
    }
}
