//! The load on the database: every kind of change that a limit of the service bounds.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::TestPostgres;

/// Pause between the turns of a writer.
const OFTEN: Duration = Duration::from_millis(250);
const SELDOM: Duration = Duration::from_secs(1);

/// Approximate size of a row of table `large`, in bytes.
pub(super) const LARGE_ROW_BYTES: u64 = 64 << 10;
/// Rows of table `large`.
pub(super) const LARGE_ROWS: u32 = 400;

/// Keys of 8 kB are one repeated letter: an index accepts keys of this length only if they compress.
pub(super) const SQL: &str = "
    CREATE TABLE quiet (id int PRIMARY KEY, n int);
    INSERT INTO quiet VALUES (1, 0);
    CREATE TABLE hot (id int PRIMARY KEY, n int, filler text);
    INSERT INTO hot SELECT id, 0, repeat('x', 1000) FROM generate_series(1, 100) id;
    CREATE TABLE wide (id text PRIMARY KEY);
    CREATE TABLE large (id int PRIMARY KEY, n int, body text);
    INSERT INTO large SELECT id, 0, repeat('x', 65000) FROM generate_series(1, 400) id;
    CREATE TABLE growing (id int PRIMARY KEY, body text);
    CREATE TABLE giant (id int PRIMARY KEY);
    CREATE PUBLICATION highwater FOR TABLE quiet, hot, wide, large, growing, giant";

/// Turns of each writer.
#[derive(Debug)]
pub(super) struct WrittenRows {
    _hot: u32,
    _wide: u32,
    _wide_in_one: u32,
    _large: u32,
    _growing: u32,
    _giant: u32,
}

/// Fewest turns of each writer, on a slow machine, too: fewer bytes would not exceed the limits.
const TURNS_MIN: u32 = 24;

/// Writes until then, each kind of change in its own session.
pub(super) async fn write(
    pg: &TestPostgres,
    until: Instant,
    is_behind: &AtomicBool,
) -> WrittenRows {
    let load = MemoryLoad { pg, until, is_behind };
    let (hot, wide, wide_in_one, large, growing, giant) = tokio::join!(
        load.repeat(OFTEN, |_| "UPDATE hot SET n = n + 1".into()),
        // 1.6 MB of keys per commit, never the same.
        load.repeat(OFTEN, |turn| insert_wide(turn * 200, 200)),
        // 8 MB of keys in one.
        load.repeat(SELDOM, |turn| insert_wide(100_000_000 + turn * 1000, 1000)),
        // 3 MB of rows per commit; each row changes about every second.
        load.repeat(OFTEN / 2, |turn| {
            format!("UPDATE large SET n = n + 1 WHERE id % {0} = {1}", LARGE_ROWS / 50, turn % 8)
        }),
        load.repeat(OFTEN, |turn| {
            let from = turn * 100;
            let rows = format!("generate_series({}, {}) id", from + 1, from + 100);
            format!("INSERT INTO growing SELECT id, repeat('y', 10000) FROM {rows}")
        }),
        // Partly rolled back, which streamed transactions may be.
        load.repeat(SELDOM, |_| {
            "BEGIN; INSERT INTO giant SELECT generate_series(1, 20000);
             SAVEPOINT a; INSERT INTO giant SELECT generate_series(20001, 30000);
             ROLLBACK TO a; COMMIT; DELETE FROM giant"
                .into()
        }),
    );
    WrittenRows {
        _hot: hot,
        _wide: wide,
        _wide_in_one: wide_in_one,
        _large: large,
        _growing: growing,
        _giant: giant,
    }
}

fn insert_wide(from: u32, rows: u32) -> String {
    format!(
        "INSERT INTO wide SELECT repeat('k', 8000) || id FROM generate_series({from}, {}) id",
        from + rows - 1
    )
}

/// Writers and their common end.
struct MemoryLoad<'a> {
    pg: &'a TestPostgres,
    until: Instant,
    is_behind: &'a AtomicBool,
}

impl MemoryLoad<'_> {
    /// Writes repeatedly, but pauses while the stream is behind: memory is the scarce resource of this test.
    async fn repeat(&self, pause: Duration, sql: impl Fn(u32) -> String) -> u32 {
        let session = self.pg.connect().await;
        let mut turn = 0;
        let turns_min = if pause < SELDOM { TURNS_MIN } else { 1 };
        while turn < turns_min || Instant::now() < self.until {
            if !self.is_behind.load(Ordering::Relaxed) {
                session.execute(&sql(turn)).await;
                turn += 1;
            }
            tokio::time::sleep(pause).await;
        }
        turn
    }
}
