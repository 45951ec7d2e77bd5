//! What the event trigger of `sql/event_trigger.sql` writes into the stream.
//!
//! A transactional logical message with the prefix [`PREFIX`], whose content is the OIDs of tables whose
//! rows may look different from here on, or be others: decimal, in ASCII, with commas between. Nothing
//! at all says that the catalog should be looked at, and that a partition may have been dropped.

use crate::table::TableOid;

/// Whom the messages are for.
pub(super) const PREFIX: &str = "highwater";

/// The content is not a list of OIDs.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// The tables announced.
pub(super) fn tables(content: &[u8]) -> Result<Vec<TableOid>, Malformed> {
    let text = std::str::from_utf8(content).map_err(|_| Malformed)?;
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let oid = |oid: &str| oid.parse().map(TableOid).map_err(|_| Malformed);
    text.split(',').map(oid).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oids_are_read_and_everything_else_is_refused() {
        assert_eq!(tables(b""), Ok(vec![]));
        assert_eq!(tables(b"16384,4294967295"), Ok(vec![TableOid(16384), TableOid(u32::MAX)]));
        for content in [&b"1,"[..], b"1 2", b"x", b"-1", b"4294967296", b"\xff"] {
            assert_eq!(tables(content), Err(Malformed));
        }
    }
}
