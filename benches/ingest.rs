//! What one change costs us from the bytes of its message to the log, without a network or a server.
//!
//! ```console
//! $ cargo bench -- ingest
//! ```
//!
//! The stream is made here, as a server would send it: commits of 1 and of 100 new rows of a table
//! with an integer key.

use std::hint::black_box;
use std::time::Instant;

use highwater::change::Event;
use highwater::kind::Kind;
use highwater::lsn::Lsn;
use highwater::metrics::Metrics;
use highwater::pgoutput::decode;
use highwater::replication::StageLimits;
use highwater::replication::assembler::Assembler;
use highwater::replication::catalog::{Catalog, CatalogTable, KeyColumn};
use highwater::source::Wishes;
use highwater::store::{self, Limits};
use highwater::table::{Rows, Table, TableName, TableOid, Tracking};
use highwater::version::Epoch;

const ROWS: u64 = 1_000_000;
const OID: u32 = 16_384;
const INT8: u32 = 20;
/// Events handed to the store at once.
const BATCH: usize = 1_000;

/// The service's defaults.
const LIMITS: StageLimits =
    StageLimits { max_changes: 100_000, max_bytes: 64 << 20, max_streamed_bytes: 256 << 20 };

/// Messages in one buffer, each with its length in front.
struct Messages {
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

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let message = self.bytes.get(start..end).unwrap_or_default();
            start = end;
            message
        })
    }
}

fn stream(rows_per_commit: u64) -> Messages {
    let mut messages = Messages::new();
    let mut lsn = 1_u64 << 32;
    let mut id = 0_u64;
    let mut first = true;
    while id < ROWS {
        lsn += 8 * (rows_per_commit + 2);
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
        rows: Rows::Off,
        scope: vec![],
    };
    let key = vec![KeyColumn { name: "id".into(), type_oid: INT8, kind: Kind::Integer }];
    let (membership, definition) = ("m".into(), "d".into());
    let table = CatalogTable {
        table,
        key,
        scope: vec![],
        scope_refused: None,
        published: vec![],
        membership,
        definition,
        changed_transactions_ago: 1,
    };
    Catalog { seen_at: Lsn(0), tables: vec![table] }
}

fn assembler() -> (Assembler, Event) {
    let mut assembler = Assembler::new(LIMITS);
    let started = assembler.start(Epoch(1).into(), Lsn(8), catalog(), None, None);
    (assembler, started)
}

/// Nanoseconds for each row, of `work`.
fn per_row(work: impl FnOnce()) -> f64 {
    let began = Instant::now();
    work();
    began.elapsed().as_secs_f64() * 1e9 / ROWS as f64
}

fn measure(rows_per_commit: u64) {
    let messages = stream(rows_per_commit);
    let decoding = per_row(|| {
        for message in messages.iter() {
            black_box(decode(message).is_ok());
        }
    });
    let assembling = per_row(|| {
        let (mut assembler, _) = assembler();
        let mut events = Vec::new();
        for message in messages.iter() {
            assembler.push(&decode(message).expect("a message"), &mut events).expect("in place");
            if events.len() >= BATCH {
                black_box(std::mem::take(&mut events));
            }
        }
    });
    let (mut writer, store) =
        store::open(Limits::default(), Wishes::default(), Metrics::new().expect("well described"));
    let applying = per_row(|| {
        let (mut assembler, started) = assembler();
        writer.apply(vec![started]);
        let mut events = Vec::new();
        for message in messages.iter() {
            assembler.push(&decode(message).expect("a message"), &mut events).expect("in place");
            if events.len() >= BATCH {
                writer.apply(std::mem::take(&mut events));
            }
        }
        writer.apply(events);
    });
    let told = rows_per_commit < LIMITS.max_changes as u64;
    let remembered = store.status().tables.first().map(|table| table.entries as u64);
    assert_eq!(remembered, Some(if told { ROWS } else { 0 }));
    println!("{rows_per_commit:>15} {decoding:>12.0} {assembling:>12.0} {applying:>12.0}");
}

pub(crate) fn run() {
    println!("ns a row, each column with all before it");
    println!("{:>15} {:>12} {:>12} {:>12}", "rows a commit", "decode", "assemble", "apply");
    for rows_per_commit in [1, 100, 1_000_000] {
        measure(rows_per_commit);
    }
}
