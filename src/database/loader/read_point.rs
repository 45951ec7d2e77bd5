//! Read points: which commits of the change stream a load contains.

use crate::load::{LoadError, ReadPoint};
use crate::lsn::WalLayout;
use crate::source_status::PostmasterId;

use super::failure::LoadFailure;
use super::text_values::TextValues;

/// Properties of the server that are constant during a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ServerFacts {
    pub(super) postmaster: PostmasterId,
    /// `wal_block_size`, bytes.
    pub(super) wal_page_bytes: u64,
    /// `wal_segment_size`, bytes.
    pub(super) wal_segment_bytes: u64,
}

impl ServerFacts {
    /// The read point from a row that begins with [`super::query::READ_POINT`]; fails on a standby.
    pub(super) fn read_point(self, row: &TextValues) -> Result<ReadPoint, LoadFailure> {
        let snapshot = row.text(0).and_then(|text| text.parse().ok());
        let snapshot = snapshot.ok_or(LoadFailure::Unexpected)?;
        let Some(insert) = row.text(1) else { return Err(in_recovery().into()) };
        let insert = insert.parse().map_err(|_| LoadFailure::Unexpected)?;
        let layout =
            WalLayout { page_bytes: self.wal_page_bytes, segment_bytes: self.wal_segment_bytes };
        let visible_up_to = layout.end_of_records(insert);
        Ok(ReadPoint { snapshot, visible_up_to, server: self.postmaster })
    }
}

fn in_recovery() -> LoadError {
    LoadError::Refused(
        "the server is a standby, whose snapshots don't list the transactions in progress, so its \
         rows can't be joined with the change stream; connect to the primary \
         (target_session_attrs=primary)"
            .into(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACTS: ServerFacts = ServerFacts {
        postmaster: PostmasterId(7),
        wal_page_bytes: 8192,
        wal_segment_bytes: 16 << 20,
    };

    fn read(line: &str) -> Result<ReadPoint, LoadFailure> {
        let mut record = TextValues::default();
        record.read_line(line.as_bytes());
        FACTS.read_point(&record)
    }

    #[test]
    fn a_standby_is_refused_with_the_reason() {
        let refused = read("5:5:\t\\N").unwrap_err();
        assert!(
            matches!(&refused, LoadFailure::Load(LoadError::Refused(text)) if text.contains("standby"))
        );
        assert!(matches!(read("5:5\t0/1"), Err(LoadFailure::Unexpected)));
    }

    #[test]
    fn the_read_point_is_a_position_where_a_record_can_end() {
        for (insert, expected) in [
            ("1/2018", "1/2000"),
            ("1/2020", "1/2020"),
            ("1/2028", "1/2028"),
            ("1/1000028", "1/1000000"),
            ("1/2000", "1/2000"),
        ] {
            let at = read(&format!("5:7:5\t{insert}")).unwrap();
            assert_eq!(at.visible_up_to.to_string(), expected);
            assert_eq!(at.server, FACTS.postmaster);
            assert_eq!(at.snapshot, "5:7:5".parse().unwrap());
        }
    }
}
