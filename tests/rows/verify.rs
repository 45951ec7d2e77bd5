//! The consistency checker under concurrent writes.

use std::time::Duration;

use futures_util::future::join_all;

use crate::support::{Highwater, TestPostgres, TestSession};

const TABLES: &str = "CREATE TABLE a (id int PRIMARY KEY, n int NOT NULL, big text);
    CREATE TABLE b (k text, l int, n int NOT NULL, PRIMARY KEY (k, l));
    ALTER TABLE a ALTER big SET STORAGE EXTERNAL;
    INSERT INTO a SELECT g * 2, 0, repeat('x', 3000) FROM generate_series(1, 200) g;
    INSERT INTO b SELECT 'k' || g, g, 0 FROM generate_series(1, 200) g;
    CREATE PUBLICATION highwater FOR TABLE a, b;";

/// Executes random writes until `until`.
async fn write(session: &TestSession, seed: u64, until: tokio::time::Instant) {
    let mut rng = fastrand::Rng::with_seed(seed);
    while tokio::time::Instant::now() < until {
        let (id, other) = (rng.i32(1..=400), rng.i32(1..=400));
        let sql = match rng.u8(0..20) {
            0..8 => format!(
                "UPDATE a SET n = n + 1 WHERE id = {id}; UPDATE b SET n = n + 1 WHERE l = {id}"
            ),
            8..11 => format!("DELETE FROM a WHERE id = {id}"),
            11..14 => format!("INSERT INTO a VALUES ({id}, 1, 'small') ON CONFLICT DO NOTHING"),
            14..16 => format!(
                "UPDATE a SET id = {other} WHERE id = {id} AND NOT EXISTS (SELECT FROM a WHERE id = {other})"
            ),
            16 => format!("BEGIN; UPDATE a SET n = -1 WHERE id = {id}; ROLLBACK"),
            17 => format!("UPDATE b SET k = k || 'x' WHERE l = {id}"),
            18 => "BEGIN; TRUNCATE a; INSERT INTO a SELECT g, 5 FROM generate_series(1, 200) g; COMMIT"
                .to_owned(),
            _ => format!("UPDATE a SET n = n + 1 WHERE id < {id}"),
        };
        // Conflicting writers: one of them fails, which does not matter here.
        let _ = session.client().batch_execute(&sql).await;
    }
}

/// The checker's metrics: rows compared, and violations.
async fn checker_counts(service: &Highwater) -> (u64, u64) {
    let metrics = service.fetch("/metrics").await.body.as_str().expect("text").to_owned();
    let value = |name: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)).expect("the metric");
        line.trim().parse().expect("a number")
    };
    (value("highwater_consistency_checks_total "), value("highwater_consistency_violations_total "))
}

async fn assert_no_violations(mode: &str, settings: &[(&'static str, &str)]) {
    let pg = TestPostgres::start().await;
    pg.execute(TABLES).await;
    let checks =
        [("consistency.interval", "10ms"), ("tables.a.rows", mode), ("tables.b.rows", mode)];
    let service = Highwater::start_with(&pg, &[&checks, settings].concat()).await;
    let sessions = join_all((0..4).map(|_| pg.connect())).await;
    let until = tokio::time::Instant::now() + Duration::from_secs(8);
    let writers = join_all(sessions.iter().zip(0..).map(|(s, seed)| write(s, seed, until)));
    let watching = async {
        let mut rng = fastrand::Rng::with_seed(9);
        while tokio::time::Instant::now() < until {
            let (id, other) = (rng.i32(1..=400), rng.i32(1..=400));
            service.fetch(&format!("/v1/tables/a/rows/{id}")).await;
            service.fetch(&format!("/v1/tables/b/rows/k{other},{other}")).await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let verifying = async {
        while tokio::time::Instant::now() < until {
            let report = service.post("/admin/verify?table=all").await.body;
            assert_eq!(report["violations"], 0, "{report}");
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    };
    tokio::join!(writers, watching, verifying);
    let (checks, violations) = checker_counts(&service).await;
    eprintln!("{checks} rows compared");
    assert_eq!(violations, 0);
    assert!(checks > 500, "{checks} rows compared");
    for id in 1..=60 {
        service.fetch(&format!("/v1/tables/a/rows/{id}")).await;
        service.fetch(&format!("/v1/tables/b/rows/k{id},{id}")).await;
    }
    let report = service.post("/admin/verify?table=all").await.body;
    for table in report["tables"].as_array().expect("tables") {
        let [undecided, broken_off] = [&table["undecided"], &table["broken_off"]];
        assert!(
            undecided == 0 && broken_off.is_null(),
            "without writes every row is decided: {report}"
        );
        assert!(table["rows"].as_u64().is_some_and(|rows| rows > 20), "{report}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_writes_cause_no_violations_of_preloaded_rows() {
    assert_no_violations("preload", &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_writes_cause_no_violations_of_lazy_rows() {
    assert_no_violations("lazy", &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_writes_cause_no_violations_of_evicted_rows() {
    assert_no_violations("lazy", &[("cache.max_bytes", "100kB")]).await;
}
