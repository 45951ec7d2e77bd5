//! A commit of millions of rows.

use std::time::{Duration, Instant};

use highwater::temp_postgres::TempPostgresOptions;

use super::quiet;
use crate::support::{Highwater, TestPostgres};

/// Rows in the commit.
const ROWS: u32 = 2_000_000;
/// Upper bound of the service's memory growth, in bytes.
const MAX_GROWTH: u64 = 64 << 20;

#[tokio::test]
async fn a_giant_commit_is_a_reset_while_memory_stays_flat_and_polls_are_served() {
    let pg = quiet(TempPostgresOptions::default().setting("wal_sender_timeout", "8s")).await;
    pg.execute("CREATE TABLE b (id int PRIMARY KEY); ALTER PUBLICATION highwater ADD TABLE b")
        .await;
    let (hw, program) = Highwater::program(&pg, &[]).await;
    pg.execute("INSERT INTO b VALUES (0)").await;
    hw.applied(&pg).await;
    let before = program.peak_memory();
    let insert = format!("INSERT INTO a SELECT generate_series(1, {ROWS})");
    for (sql, first) in [(insert.as_str(), 1), ("DELETE FROM a", 3)] {
        let (slowest, whole) = giant(&hw, &pg, sql, first).await;
        let growth = program.peak_memory() - before;
        eprintln!("{} MiB more memory", growth >> 20);
        assert!(growth < MAX_GROWTH, "{growth} bytes");
        // In proportion to the whole, because the machine may be slow.
        let limit = Duration::from_secs(1).max(whole / 2);
        assert!(slowest < limit, "polls waited for {slowest:?} of {whole:?}");
    }
    let metrics = hw.fetch("/metrics").await.body;
    let metrics = metrics.as_str().expect("text");
    let resets = "highwater_resets_total{reason=\"large_transaction\",table=\"a\"} 2";
    assert!(metrics.contains(resets), "{metrics}");
    assert!(
        metrics.contains("highwater_replication_reconnects_total 0"),
        "the server ended the connection"
    );
}

/// Commits `sql` together with row `first` of table `b`, then another row of `b`, and polls until both are
/// reported; returns the duration of the slowest poll, and the total.
async fn giant(hw: &Highwater, pg: &TestPostgres, sql: &str, first: i32) -> (Duration, Duration) {
    let start = hw.version().await;
    let writer = pg.connect().await;
    writer.execute(&format!("BEGIN; {sql}; INSERT INTO b VALUES ({first}); COMMIT")).await;
    pg.execute(&format!("INSERT INTO b VALUES ({})", first + 1)).await;
    let began = Instant::now();
    let (mut polls, mut slowest) = (0, Duration::ZERO);
    let poll = loop {
        let sent = Instant::now();
        let poll = hw.poll(&format!("tables=b&after={start}")).await;
        slowest = slowest.max(sent.elapsed());
        polls += 1;
        if !poll.changes.is_empty() {
            // All changes of the commit or none.
            let all = hw.poll(&format!("tables=a,b&after={start}")).await;
            assert_eq!(all.reset, ["a"], "half a transaction");
        }
        if poll.changes.len() == 2 {
            break poll;
        }
        assert!(began.elapsed() < Duration::from_mins(3), "{poll:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let whole = began.elapsed();
    eprintln!("{ROWS} rows after {whole:?}; {polls} polls, the slowest {slowest:?}");
    let rows = [first, first + 1].map(|id| format!("insert b {id}"));
    assert_eq!(poll.changes, rows);
    (slowest, whole)
}
