//! Concurrent loads, evictions, changes and reads of the same rows.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;

use crate::support::{Highwater, TestPostgres, TestSession};

const ROWS: i32 = 40;

/// The duration of a test; `HIGHWATER_TEST_SECONDS` overrides it.
#[allow(clippy::disallowed_methods, reason = "the tests' own settings")]
fn duration() -> Duration {
    let seconds = std::env::var("HIGHWATER_TEST_SECONDS").ok();
    Duration::from_secs(seconds.map_or(6, |text| text.parse().expect("a number of seconds")))
}

/// Increments a row's counter; returns its value and a position after the commit.
async fn increment(session: &TestSession, id: i32) -> (i64, String) {
    let value =
        session.value::<i32>(&format!("UPDATE t SET n = n + 1 WHERE id = {id} RETURNING n")).await;
    (i64::from(value), session.value("SELECT pg_current_wal_insert_lsn()::text").await)
}

fn counter(row: &Value) -> i64 {
    row["n"].as_i64().expect("a counter")
}

/// Writes, and reads its own writes.
async fn write(session: &TestSession, service: &Highwater, seed: u64, stop: &AtomicBool) -> usize {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut reads = 0;
    while !stop.load(Ordering::Relaxed) {
        let id = rng.i32(1..=ROWS);
        let (written, lsn) = increment(session, id).await;
        let reply = service.fetch(&format!("/v1/tables/t/rows/{id}?at_least={lsn}")).await;
        assert_eq!(reply.status, 200, "{:?}", reply.body);
        let read = counter(&reply.body);
        assert!(read >= written, "row {id}: wrote {written}, then read {read}");
        reads += 1;
    }
    reads
}

/// Reads single rows and batches, and asserts that no row goes back.
async fn watch(service: &Highwater, seed: u64, stop: &AtomicBool) -> usize {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut newest = BTreeMap::<i64, i64>::new();
    let mut reads = 0;
    while !stop.load(Ordering::Relaxed) {
        let id = rng.i32(1..=ROWS);
        let rows = if rng.bool() {
            vec![service.fetch(&format!("/v1/tables/t/rows/{id}")).await.body]
        } else {
            let others = format!("{id},{},{}", id % ROWS + 1, (id + 1) % ROWS + 1);
            let reply = service.fetch(&format!("/v1/tables/t/rows?ids={others}")).await;
            assert_eq!(reply.status, 200, "{:?}", reply.body);
            reply.body["rows"].as_array().expect("rows").clone()
        };
        for row in rows {
            let (id, n) = (row["id"].as_i64().expect("an id"), counter(&row));
            let before = newest.insert(id, n).unwrap_or(0);
            assert!(n >= before, "row {id} went back from {before} to {n}");
            reads += 1;
        }
    }
    reads
}

/// Asserts that own writes are read and no row goes back, while `settings` cause evictions or reloads.
async fn run(settings: &[(&'static str, &str)]) {
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let pg = TestPostgres::start().await;
    pg.execute(&format!(
        "CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL, pad text);
         ALTER TABLE t ALTER pad SET STORAGE EXTERNAL;
         INSERT INTO t SELECT g, 0, repeat('x', CASE WHEN g % 3 = 0 THEN 4000 ELSE 10 END) FROM generate_series(1, {ROWS}) g;
         CREATE PUBLICATION highwater FOR TABLE t;"
    ))
    .await;
    let service = Highwater::start_with(&pg, settings).await;
    let sessions = join_all((0..4).map(|_| pg.connect())).await;
    let stop = AtomicBool::new(false);
    let writers =
        join_all(sessions.iter().zip(seed..).map(|(s, seed)| write(s, &service, seed, &stop)));
    let watchers = join_all((0..4).map(|n| watch(&service, seed ^ n, &stop)));
    let reloads = async {
        let until = tokio::time::Instant::now() + duration();
        while tokio::time::Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(700)).await;
            assert_eq!(service.post("/admin/reload?table=t").await.status, 202);
        }
        stop.store(true, Ordering::Relaxed);
    };
    let (own, others, ()) = tokio::join!(writers, watchers, reloads);
    eprintln!("{own:?} own writes read, {others:?} rows read");
    assert!(own.iter().sum::<usize>() > 100 && others.iter().sum::<usize>() > 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn own_writes_are_read_while_lazy_rows_are_evicted() {
    run(&[("tables.t.rows", "lazy"), ("cache.max_bytes", "20kB")]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn own_writes_are_read_while_lazy_rows_expire() {
    run(&[("tables.t.rows", "lazy"), ("cache.time_to_live", "5ms")]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn own_writes_are_read_while_a_table_is_copied_repeatedly() {
    run(&[("tables.t.rows", "preload")]).await;
}

/// Two tables whose sums are opposite after every transaction.
async fn accounts(mode: &str) -> (TestPostgres, Highwater) {
    let pg = TestPostgres::start().await;
    pg.execute(&format!(
        "CREATE TABLE plus (id int PRIMARY KEY, v int NOT NULL);
         CREATE TABLE minus (id int PRIMARY KEY, v int NOT NULL);
         INSERT INTO plus SELECT g, 0 FROM generate_series(1, {ROWS}) g;
         INSERT INTO minus SELECT g, 0 FROM generate_series(1, {ROWS}) g;
         CREATE PUBLICATION highwater FOR TABLE plus, minus;"
    ))
    .await;
    let settings = [("tables.plus.rows", mode), ("tables.minus.rows", mode)];
    let service = Highwater::start_with(&pg, &settings).await;
    (pg, service)
}

async fn transfer(session: &TestSession, seed: u64, stop: &AtomicBool) {
    let mut rng = fastrand::Rng::with_seed(seed);
    while !stop.load(Ordering::Relaxed) {
        let (a, b, v) = (rng.i32(1..=ROWS), rng.i32(1..=ROWS), rng.i32(-9..9));
        let sql = format!(
            "BEGIN; SELECT pg_advisory_xact_lock(1);
             UPDATE plus SET v = v + {v} WHERE id = {a}; UPDATE minus SET v = v - {v} WHERE id = {b}; COMMIT"
        );
        session.execute(&sql).await;
    }
}

fn sum(rows: &Value) -> i64 {
    rows.as_array().expect("rows").iter().map(|row| row["v"].as_i64().expect("a number")).sum()
}

/// Runs transfers and calls `check` repeatedly meanwhile.
async fn transfers(pg: &TestPostgres, check: impl AsyncFn()) {
    let sessions = join_all((0..3).map(|_| pg.connect())).await;
    let stop = AtomicBool::new(false);
    let writers = join_all(sessions.iter().zip(0..).map(|(s, seed)| transfer(s, seed, &stop)));
    let watching = async {
        let until = tokio::time::Instant::now() + duration();
        while tokio::time::Instant::now() < until {
            check().await;
        }
        stop.store(true, Ordering::Relaxed);
    };
    tokio::join!(writers, watching);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_never_mixes_versions() {
    let (pg, service) = accounts("preload").await;
    transfers(&pg, async || {
        let reply = service.fetch("/v1/store").await;
        assert_eq!(reply.status, 200, "{:?}", reply.body);
        assert_eq!(sum(&reply.body["plus"]) + sum(&reply.body["minus"]), 0, "{:?}", reply.body);
    })
    .await;
}

/// Asserts that a client that applies changes with their rows sees consistent sums.
async fn changes_with_rows(mode: &str) {
    let (pg, service) = accounts(mode).await;
    let copy = tokio::sync::Mutex::new((service.version().await, BTreeMap::<String, i64>::new()));
    transfers(&pg, async || {
        let mut copy = copy.lock().await;
        let (version, values) = &mut *copy;
        let path = format!("/v1/changes?after={version}&include=rows&limit=10000&wait=1s");
        let reply = service.fetch(&path).await;
        assert_eq!(reply.status, 200, "{:?}", reply.body);
        assert_eq!(
            (&reply.body["more"], &reply.body["reset"]),
            (&Value::Bool(false), &Value::Array(vec![]))
        );
        for change in reply.body["changes"].as_array().expect("changes") {
            let value = change["row"]["v"].as_i64().expect("a row");
            values.insert(format!("{} {}", change["table"], change["id"]), value);
        }
        let sum_of = |table: &str| -> i64 {
            values.iter().filter(|(key, _)| key.contains(table)).map(|(_, v)| v).sum()
        };
        assert_eq!(sum_of("plus") + sum_of("minus"), 0, "{:?}", reply.body);
        reply.body["version"].as_str().expect("a version").clone_into(version);
    })
    .await;
    assert!(copy.lock().await.1.len() > 50);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_include_rows_of_one_version_from_a_preloaded_table() {
    changes_with_rows("preload").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_include_rows_of_one_version_from_a_lazy_table() {
    changes_with_rows("lazy").await;
}
