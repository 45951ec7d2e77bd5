//! A commit of millions of rows.

use std::time::{Duration, Instant};

use highwater::throwaway::ServerOptions;

use super::quiet;
use crate::support::Highwater;

/// Rows of the commit.
const ROWS: u32 = 2_000_000;
/// How much more memory the service may take for it than before.
const GROWTH_MAX: u64 = 64 << 20;

#[tokio::test]
async fn a_giant_commit_is_a_reset_while_memory_stays_flat_and_others_are_served() {
    let pg = quiet(ServerOptions::default().setting("wal_sender_timeout", "3s")).await;
    pg.execute("CREATE TABLE b (id int PRIMARY KEY); ALTER PUBLICATION highwater ADD TABLE b")
        .await;
    let (hw, program) = Highwater::program(&pg, &[]).await;
    let start = hw.version().await;
    let before = program.peak_memory();
    pg.execute("INSERT INTO b VALUES (0)").await;
    hw.applied(&pg).await;

    let writer = pg.connect().await;
    writer
        .execute(&format!(
            "BEGIN; INSERT INTO a SELECT generate_series(1, {ROWS}); INSERT INTO b VALUES (1); COMMIT"
        ))
        .await;
    pg.execute("INSERT INTO b VALUES (2)").await;
    let began = Instant::now();
    let (mut polls, mut slowest) = (0, Duration::ZERO);
    let told = loop {
        let asked = Instant::now();
        let told = hw.poll(&format!("tables=b&after={start}")).await;
        slowest = slowest.max(asked.elapsed());
        polls += 1;
        let is_here = told.changes.len() > 1;
        if is_here {
            // All of the commit or nothing of it.
            let all = hw.poll(&format!("tables=a,b&after={start}")).await;
            assert_eq!(all.reset, ["a"], "half a transaction");
        }
        if told.changes.len() == 3 {
            break told;
        }
        assert!(began.elapsed() < Duration::from_mins(3), "{told:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let growth = program.peak_memory() - before;
    eprintln!(
        "{ROWS} rows after {:?}; {polls} polls, the slowest {slowest:?}; {} MiB more memory",
        began.elapsed(),
        growth >> 20
    );
    assert_eq!(told.changes, ["insert b 0", "insert b 1", "insert b 2"]);
    assert_eq!(hw.told(&pg, "a", &start).await.reset, ["a"]);
    let metrics = hw.fetch("/metrics").await.body;
    let metrics = metrics.as_str().expect("text");
    let resets = "highwater_resets_total{reason=\"large_transaction\",table=\"a\"} 1";
    assert!(metrics.contains(resets), "{metrics}");
    assert!(metrics.contains("highwater_replication_reconnects_total 0"), "the server cut us off");
    assert!(growth < GROWTH_MAX, "{growth} bytes");
    assert!(slowest < Duration::from_secs(1), "polls waited for {slowest:?}");
}
