//! Changed definitions, announced in the stream.
//!
//! A transactional logical message with the prefix [`PREFIX`], whose content is the OIDs of tables whose
//! rows may look different from here on, or be others: decimal, in ASCII, with commas between. Nothing
//! at all says that the catalog should be looked at, and that a partition may have been dropped.
//!
//! The event trigger of `sql/event_trigger.sql` writes them in the transaction that changes a definition.
//! Where it didn't, a look finds the change later, and elsewhere in the stream for each instance: a client
//! that is given a version by one that has not looked yet would not be told of the reset by the other, which had
//! it before. So whoever finds a change announces it to all ([`AnnouncementQueue`]), with a colon and a fingerprint
//! (hexadecimal) of what it found behind each OID: who has found the same need not look again, nor announce it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::table::TableOid;

/// Whom the messages are for.
pub(super) const PREFIX: &str = "highwater";

/// A table whose definition changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Announcement {
    pub(super) table: TableOid,
    /// Of the definition that was found; `None` when the change itself is announced.
    pub(super) fingerprint: Option<u64>,
}

impl Announcement {
    /// Whether this tells of the change that a look shows by this fingerprint.
    pub(super) fn tells(&self, table: TableOid, fingerprint: u64) -> bool {
        self.table == table && self.fingerprint.is_none_or(|announced| announced == fingerprint)
    }
}

/// The content is not a list of tables.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct MalformedAnnouncement;

/// The tables announced.
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

/// The content that announces these.
pub(super) fn format(found: &CatalogDelta) -> String {
    let mut text = String::new();
    for (table, fingerprint) in found {
        let comma = if text.is_empty() { "" } else { "," };
        let _ = write!(text, "{comma}{}:{fingerprint:x}", table.0);
    }
    text
}

/// Tables that looks have shown to have changed, by the fingerprint of what they are now.
pub(super) type CatalogDelta = BTreeMap<TableOid, u64>;

/// What is still to be announced. It outlives connections.
#[derive(Clone, Default)]
pub(super) struct AnnouncementQueue {
    found: Arc<Mutex<CatalogDelta>>,
    filled: Arc<Notify>,
}

impl AnnouncementQueue {
    pub(super) fn add(&self, found: CatalogDelta) {
        if !found.is_empty() {
            self.lock().extend(found);
            self.filled.notify_one();
        }
    }

    /// Something was added. Cancel safe.
    pub(super) async fn filled(&self) {
        self.filled.notified().await;
    }

    /// What is to be announced now.
    pub(super) fn content(&self) -> CatalogDelta {
        self.lock().clone()
    }

    /// These are announced, or need not be.
    pub(super) fn done(&self, announced: &CatalogDelta) {
        self.lock().retain(|table, fingerprint| announced.get(table) != Some(fingerprint));
    }

    fn lock(&self) -> MutexGuard<'_, CatalogDelta> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announced(table: u32, fingerprint: Option<u64>) -> Announcement {
        Announcement { table: TableOid(table), fingerprint }
    }

    #[test]
    fn oids_are_read_and_everything_else_is_refused() {
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
    fn what_is_found_is_announced_with_its_fingerprint() {
        let found = CatalogDelta::from([(TableOid(7), u64::MAX), (TableOid(16384), 0)]);
        let text = format(&found);
        assert_eq!(text, "7:ffffffffffffffff,16384:0");
        let expected = vec![announced(7, Some(u64::MAX)), announced(16384, Some(0))];
        assert_eq!(parse(text.as_bytes()), Ok(expected));
    }

    #[test]
    fn what_is_found_again_meanwhile_stays() {
        let outbox = AnnouncementQueue::default();
        outbox.add(CatalogDelta::from([(TableOid(1), 10), (TableOid(2), 20)]));
        let sent = outbox.content();
        outbox.add(CatalogDelta::from([(TableOid(2), 21)]));
        outbox.done(&sent);
        assert_eq!(outbox.content(), CatalogDelta::from([(TableOid(2), 21)]));
    }
}
