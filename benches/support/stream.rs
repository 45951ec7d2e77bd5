//! A change stream as a server sends it: commits of new rows of a table with an integer key. Shared with
//! the test that counts allocations.

use highwater::change::Event;
use highwater::json_type::JsonType;
use highwater::lsn::Lsn;
use highwater::snapshot::Snapshot;
use highwater::source::postgres::TransactionLimits;
use highwater::source::postgres::assembler::Assembler;
use highwater::source::postgres::catalog::{Catalog, CatalogKeyColumn, CatalogTable};
use highwater::source_status::PostmasterId;
use highwater::table::{RowCaching, Table, TableName, TableOid, Tracking};
use highwater::version::Epoch;

const OID: u32 = 16_384;
const INT8: u32 = 20;
/// WAL bytes of a commit of one row.
pub(crate) const BYTES_PER_COMMIT_OF_ONE: u64 = 24;

/// The service's default limits.
pub(crate) const LIMITS: TransactionLimits =
    TransactionLimits { max_changes: 100_000, max_bytes: 64 << 20, max_streamed_bytes: 256 << 20 };

/// Messages in one buffer, each after its length.
pub(crate) struct Messages {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Messages {
    fn new() -> Self {
        Self { bytes: Vec::new(), ends: Vec::new() }
    }

    fn push(&mut self, parts: &[&[u8]]) {
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
        self.ends.push(self.bytes.len());
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let message = self.bytes.get(start..end).unwrap_or_default();
            start = end;
            message
        })
    }
}

/// Messages that insert `rows` rows in commits of `rows_per_commit`.
pub(crate) fn messages(rows: u64, rows_per_commit: u64) -> Messages {
    let mut messages = Messages::new();
    let mut lsn = 1_u64 << 32;
    let mut id = 0_u64;
    let mut first = true;
    while id < rows {
        lsn += BYTES_PER_COMMIT_OF_ONE / 3 * (rows_per_commit + 2);
        messages.push(&[b"B", &lsn.to_be_bytes(), &[0; 8], &[0, 0, 3, 7]]);
        if std::mem::take(&mut first) {
            messages.push(&[&relation()]);
        }
        for _ in 0..rows_per_commit {
            id += 1;
            let (key, value) = (id.to_string(), (id % 1000).to_string());
            let column = |text: &str| {
                let length = u32::try_from(text.len()).unwrap_or_default().to_be_bytes();
                [b"t", &length[..], text.as_bytes()].concat()
            };
            messages.push(&[b"I", &OID.to_be_bytes(), b"N\0\x02", &column(&key), &column(&value)]);
        }
        messages.push(&[b"C\0", &(lsn - 8).to_be_bytes(), &lsn.to_be_bytes(), &[0; 8]]);
    }
    messages
}

fn relation() -> Vec<u8> {
    let column = |key: u8, name: &[u8], oid: u32| {
        [&[key], name, b"\0", &oid.to_be_bytes()[..], &(-1_i32).to_be_bytes()].concat()
    };
    let columns = [column(1, b"id", INT8), column(0, b"v", 23)].concat();
    [b"R", &OID.to_be_bytes()[..], b"public\0t\0d\0\x02", &columns].concat()
}

fn catalog() -> Catalog {
    let table = Table {
        oid: TableOid(OID),
        name: TableName::new("public", "t"),
        key_columns: vec!["id".into()],
        tracking: Tracking::Ids,
        rows: RowCaching::Disabled,
        scope: vec![],
    };
    let key = vec![CatalogKeyColumn { name: "id".into(), type_oid: INT8, kind: JsonType::Integer }];
    let (membership, definition) = ("m".into(), "d".into());
    let table = CatalogTable {
        table,
        key,
        scope: vec![],
        scope_error: None,
        published: vec![],
        membership,
        definition,
        changed_transactions_ago: 1,
        is_partitioned: false,
        leaves: vec![],
    };
    let snapshot: Snapshot = "3:3:".parse().expect("a snapshot");
    Catalog {
        as_of: Lsn(0),
        snapshot: snapshot.clone(),
        snapshot_before: snapshot,
        tables: vec![table],
    }
}

/// An assembler that knows the table, and its first event.
pub(crate) fn assembler() -> (Assembler, Event) {
    let mut assembler = Assembler::new(LIMITS);
    let started =
        assembler.start(Epoch(1).into(), PostmasterId::default(), Lsn(8), catalog(), None, None);
    (assembler, started)
}
