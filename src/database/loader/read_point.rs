//! What a snapshot contains, in terms of the change stream.

use crate::load::{LoadError, ReadPoint};
use crate::lsn::WalLayout;
use crate::source_status::PostmasterId;

use super::failure::LoadFailure;
use super::record::TextValues;

/// What is the same for a session all its time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ServerFacts {
    pub(super) run: PostmasterId,
    /// How the server's WAL is divided (`wal_block_size`, `wal_segment_size`), in bytes.
    pub(super) page: u64,
    pub(super) segment: u64,
}

impl ServerFacts {
    /// Reads [`super::query::SEEN`].
    pub(super) fn loaded_at(self, seen: &TextValues) -> Result<ReadPoint, LoadFailure> {
        let snapshot = seen.text(0).and_then(|text| text.parse().ok());
        let snapshot = snapshot.ok_or(LoadFailure::Unexpected)?;
        let Some(insert) = seen.text(1) else { return Err(in_recovery().into()) };
        let insert = insert.parse().map_err(|_| LoadFailure::Unexpected)?;
        let layout = WalLayout { page_bytes: self.page, segment_bytes: self.segment };
        let visible_up_to = layout.end_of_records(insert);
        Ok(ReadPoint { snapshot, visible_up_to, server: self.run })
    }
}

fn in_recovery() -> LoadError {
    LoadError::Refused(
        "the server is a standby, whose snapshots don't name the transactions in progress, so its \
         rows can't be matched with the change stream; connect to the primary \
         (target_session_attrs=primary)"
            .into(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACTS: ServerFacts = ServerFacts { run: PostmasterId(7), page: 8192, segment: 16 << 20 };

    fn seen(line: &str) -> Result<ReadPoint, LoadFailure> {
        let mut record = TextValues::default();
        record.read_line(line.as_bytes());
        FACTS.loaded_at(&record)
    }

    #[test]
    fn a_standby_is_refused_with_the_reason() {
        let refused = seen("5:5:\t\\N").unwrap_err();
        assert!(
            matches!(&refused, LoadFailure::Load(LoadError::Refused(text)) if text.contains("standby"))
        );
        assert!(matches!(seen("5:5\t0/1"), Err(LoadFailure::Unexpected)));
    }

    #[test]
    fn the_horizon_is_where_a_record_can_end() {
        for (insert, horizon) in [
            ("1/2018", "1/2000"),
            ("1/2020", "1/2020"),
            ("1/2028", "1/2028"),
            ("1/1000028", "1/1000000"),
            ("1/2000", "1/2000"),
        ] {
            let at = seen(&format!("5:7:5\t{insert}")).unwrap();
            assert_eq!(at.visible_up_to.to_string(), horizon);
            assert_eq!(at.server, FACTS.run);
            assert_eq!(at.snapshot, "5:7:5".parse().unwrap());
        }
    }
}
