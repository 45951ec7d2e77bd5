//! Cost of one change from the bytes of its message to the log, without a network or a server.
//!
//! ```console
//! $ cargo bench -- ingest
//! ```
//!
//! Commits of 1 and of 100 new rows, and one of all of them.

use std::hint::black_box;
use std::time::Instant;

use highwater::metrics::Registry;
use highwater::pgoutput::decode;
use highwater::source_status::StreamRequests;
use highwater::store::{self, Limits, StoreMetrics};

use crate::support::stream::{LIMITS, assembler, messages};

const ROWS: u64 = 1_000_000;
/// Events per call of the writer.
const BATCH: usize = 1_000;

/// Nanoseconds of `work` per row.
fn per_row(work: impl FnOnce()) -> f64 {
    let began = Instant::now();
    work();
    began.elapsed().as_secs_f64() * 1e9 / ROWS as f64
}

fn measure(rows_per_commit: u64) {
    let messages = messages(ROWS, rows_per_commit);
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
    let (mut writer, store) = store::open(
        Limits::default(),
        StreamRequests::default(),
        StoreMetrics::register(&Registry::default()).expect("an empty registry"),
    );
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
    let is_logged = rows_per_commit < LIMITS.max_changes as u64;
    let remembered = store.status().tables.first().map(|table| table.entries as u64);
    assert_eq!(remembered, Some(if is_logged { ROWS } else { 0 }));
    println!("{rows_per_commit:>15} {decoding:>12.0} {assembling:>12.0} {applying:>12.0}");
}

pub(crate) fn run() {
    println!("ns per row; each column includes those before it");
    println!("{:>15} {:>12} {:>12} {:>12}", "rows per commit", "decode", "assemble", "apply");
    for rows_per_commit in [1, 100, 1_000_000] {
        measure(rows_per_commit);
    }
}
