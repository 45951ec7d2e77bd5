//! Large transactions that the server streams while they are in progress.

use std::time::{Duration, Instant};

use highwater::database::sql::EVENT_TRIGGER;
use highwater::temp_postgres::{ShutdownMode, TempPostgresOptions};
use serde_json::Value;

use crate::support::{Highwater, LocalCopy, TestPostgres, TestSession, is_same_json};

const TABLES: &str = "
    CREATE TABLE items (id int PRIMARY KEY, name text, body text, n int);
    ALTER TABLE items ALTER body SET STORAGE EXTERNAL;
    CREATE TABLE notes (id int PRIMARY KEY, body text);
    CREATE TABLE ids (a text, b int, PRIMARY KEY (b, a));
    CREATE TABLE noise (n int, filling text);
    INSERT INTO items SELECT g, 'item ' || g, repeat('x', 3000), 0 FROM generate_series(1, 20) g;
    INSERT INTO notes SELECT g, 'note ' || g FROM generate_series(1, 20) g;
    CREATE PUBLICATION highwater FOR TABLE items, notes, ids";

/// Grows a transaction beyond `logical_decoding_work_mem`.
const GROW: &str = "INSERT INTO noise SELECT g, repeat('x', 100) FROM generate_series(1, 1500) g";

/// A server that streams early, with tables whose rows are preloaded, lazy and not cached.
async fn server() -> TestPostgres {
    let options = TempPostgresOptions::default()
        .setting("logical_decoding_work_mem", "64kB")
        .setting("max_prepared_transactions", "5");
    let pg = TestPostgres::private(options).await;
    pg.execute(TABLES).await;
    pg
}

/// An instance with its own slot.
async fn instance(pg: &TestPostgres, streaming: &str, slot: &str) -> Highwater {
    let settings = [
        ("postgres.slot", slot),
        ("postgres.streaming", streaming),
        ("tables.items.rows", "preload"),
        ("tables.notes.rows", "lazy"),
    ];
    Highwater::start_with(pg, &settings).await
}

/// Runs each statement in its session, in the order of the script.
async fn play(sessions: &[TestSession], script: &[(usize, &str)]) {
    for (session, sql) in script {
        let sql = sql.replace("GROW", GROW);
        sessions[*session].execute(&sql).await;
    }
}

/// Interleaved transactions with every kind of statement except changed definitions.
const INTERLEAVED: &[(usize, &str)] = &[
    (0, "BEGIN; UPDATE items SET n = 1 WHERE id <= 5; GROW"),
    (
        1,
        "BEGIN; INSERT INTO ids VALUES ('b', 1), ('b', 2); SAVEPOINT a; INSERT INTO ids VALUES ('lost', 1); GROW",
    ),
    (
        0,
        "SAVEPOINT a; UPDATE items SET id = id + 100 WHERE id IN (1, 2); SAVEPOINT b; DELETE FROM items WHERE id = 101; GROW",
    ),
    (
        2,
        "BEGIN; UPDATE notes SET body = body || '!'; GROW; INSERT INTO notes VALUES (21, 'new'); GROW",
    ),
    (
        1,
        "ROLLBACK TO a; UPDATE ids SET a = 'c' WHERE b = 2; GROW; RELEASE a; INSERT INTO ids VALUES ('d', 4)",
    ),
    (3, "INSERT INTO ids VALUES ('small', 9)"),
    (0, "ROLLBACK TO b; UPDATE items SET name = 'renamed' WHERE id = 101; GROW"),
    (2, "PREPARE TRANSACTION 'later'"),
    (
        3,
        "BEGIN; UPDATE items SET n = 99 WHERE id = 9; GROW; DELETE FROM items WHERE id > 15; GROW; ROLLBACK",
    ),
    (0, "RELEASE a; INSERT INTO items VALUES (50, 'fifty', repeat('z', 3000), 5); GROW; COMMIT"),
    (3, "UPDATE notes SET body = 'small' WHERE id = 50"),
    (1, "GROW; COMMIT"),
    (
        3,
        "BEGIN; TRUNCATE ids; GROW; INSERT INTO ids VALUES ('after', 1); SAVEPOINT t; TRUNCATE items; GROW; ROLLBACK TO t; GROW; COMMIT",
    ),
    (2, "COMMIT PREPARED 'later'"),
    (2, "BEGIN; DELETE FROM notes; GROW; PREPARE TRANSACTION 'never'"),
    (2, "ROLLBACK PREPARED 'never'"),
    (
        0,
        "DO $$BEGIN FOR i IN 1..200 LOOP BEGIN UPDATE items SET n = i WHERE id = i % 7 + 1;
        IF i % 3 = 0 THEN RAISE EXCEPTION 'no'; END IF; EXCEPTION WHEN raise_exception THEN END;
        IF i % 50 = 0 THEN GROW; END IF; END LOOP; END$$",
    ),
];

async fn sessions(pg: &TestPostgres) -> Vec<TestSession> {
    let mut sessions = Vec::new();
    for _ in 0..4 {
        sessions.push(pg.connect().await);
    }
    sessions
}

/// The number of transactions that the slot has streamed.
async fn streamed(pg: &TestPostgres, slot: &str) -> i64 {
    let sql =
        format!("SELECT stream_txns FROM pg_stat_replication_slots WHERE slot_name = '{slot}'");
    let began = Instant::now();
    loop {
        // Statistics are updated with a delay.
        let count: i64 = pg.value(&sql).await;
        if count > 0 || began.elapsed() > Duration::from_secs(2) {
            return count;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Asserts that the rows that an instance serves equal the database's.
async fn assert_rows(pg: &TestPostgres, service: &Highwater) {
    service.applied(pg).await;
    let whole = service.fetch("/v1/store?tables=items").await;
    assert_eq!(whole.status, 200, "{:?}", whole.body);
    let expected = "SELECT coalesce(jsonb_agg(to_jsonb(t) ORDER BY id), '[]')::text FROM items t";
    let expected: String = pg.value(expected).await;
    let items = whole.body["items"].to_string();
    assert!(is_same_json(&items, &expected), "{items} is not {expected}");
    for id in 1..=21 {
        let row = service.fetch(&format!("/v1/tables/notes/rows/{id}")).await;
        let expected = format!("SELECT to_jsonb(t)::text FROM notes t WHERE id = {id}");
        let rows = pg.query(&expected).await;
        let Some(expected) = rows.first() else {
            assert_eq!(row.status, 404, "{}", row.body);
            continue;
        };
        let (row, expected) = (row.body.to_string(), expected.get(0));
        assert!(is_same_json(&row, expected), "{row} is not {expected}");
    }
}

#[tokio::test]
async fn streaming_reports_the_same_changes_and_versions_as_waiting_for_the_commit() {
    let pg = server().await;
    let modes = ["off", "on", "parallel"];
    let mut instances = Vec::new();
    for mode in modes {
        instances.push(instance(&pg, mode, mode).await);
    }
    let start = instances[0].version().await;
    for id in 1..=10 {
        // Some of the lazy rows are cached.
        for service in &instances {
            service.fetch(&format!("/v1/tables/notes/rows/{id}")).await;
        }
    }
    play(&sessions(&pg).await, INTERLEAVED).await;
    let mut answers = Vec::new();
    for service in &instances {
        service.applied(&pg).await;
        let path = format!("/v1/changes?after={start}&limit=10000&detail=true");
        let mut body = service.fetch(&path).await.body;
        // An instance's version advances even without changes.
        body["version"] = Value::Null;
        answers.push(body);
    }
    assert!(answers[0]["changes"].as_array().unwrap().len() > 20, "{}", answers[0]);
    assert_eq!(answers[0]["reset"], serde_json::json!(["ids"]), "TRUNCATE");
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0], answers[2]);
    for (mode, service) in modes.iter().zip(&instances) {
        assert_rows(&pg, service).await;
        assert_eq!(streamed(&pg, mode).await > 0, *mode != "off", "{mode}");
    }
}

#[tokio::test]
async fn definitions_that_change_inside_a_streamed_transaction_are_followed() {
    let pg = server().await;
    for with_trigger in [false, true] {
        if with_trigger {
            pg.execute(EVENT_TRIGGER).await;
        }
        let slot = format!("trigger_{with_trigger}");
        let service = instance(&pg, "on", &slot).await;
        let mut copy = LocalCopy::new(&pg, &["items", "notes", "ids"], 100).await;
        copy.catch_up(&service).await;
        let script: &[(usize, &str)] = &[
            (0, "BEGIN; UPDATE items SET n = 5 WHERE id = 5; GROW"),
            (
                1,
                "BEGIN; UPDATE notes SET body = 'x' WHERE id < 5; GROW; ALTER TABLE notes ADD v int DEFAULT 3; GROW; UPDATE notes SET v = 4 WHERE id < 4; GROW",
            ),
            (
                0,
                "SAVEPOINT a; ALTER TABLE items ADD w int DEFAULT 1; UPDATE items SET w = 2 WHERE id = 6; GROW",
            ),
            (2, "INSERT INTO ids VALUES ('between', 1) ON CONFLICT DO NOTHING"),
            (0, "ROLLBACK TO a; UPDATE items SET n = 7 WHERE id = 7; GROW; COMMIT"),
            (1, "GROW; COMMIT"),
            (
                2,
                "INSERT INTO items VALUES (60, 'sixty', 'b', 1); UPDATE notes SET v = 9 WHERE id = 8",
            ),
            (
                2,
                "BEGIN; UPDATE items SET n = 8; GROW; ALTER TABLE items ALTER n TYPE bigint USING n + 1; GROW; COMMIT",
            ),
            (3, "DELETE FROM items WHERE id = 60; ALTER TABLE notes DROP v"),
        ];
        play(&sessions(&pg).await, script).await;
        let began = Instant::now();
        loop {
            service.applied(&pg).await;
            let whole = service.fetch("/v1/store?tables=items").await;
            let n = &whole.body["items"][0]["n"];
            if whole.status == 200 && *n == 9 {
                break;
            }
            assert!(began.elapsed() < Duration::from_mins(1), "{whole:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_rows(&pg, &service).await;
        copy.catch_up(&service).await;
        copy.assert_equals_database().await;
        assert!(streamed(&pg, &slot).await > 0);
        service.stop().await.expect("a clean end");
        pg.execute("ALTER TABLE items ALTER n TYPE int").await;
    }
}

#[tokio::test]
async fn a_server_that_dies_in_the_middle_of_streamed_transactions_sends_them_again() {
    let mut pg = server().await;
    let service = instance(&pg, "on", "on").await;
    let start = service.version().await;
    for mode in [ShutdownMode::Immediate, ShutdownMode::Fast] {
        let open = pg.connect().await;
        open.execute(&format!(
            "BEGIN; INSERT INTO ids VALUES ('prepared', 1); {GROW}; PREPARE TRANSACTION 'kept'"
        ))
        .await;
        open.execute(&format!("BEGIN; INSERT INTO ids VALUES ('gone', 1); {GROW}")).await;
        service.applied(&pg).await;
        drop(open);
        pg.server().restart(mode).expect("it comes back");
        pg.reconnect().await;
        pg.execute("INSERT INTO ids VALUES ('small', 1)").await;
        pg.execute("COMMIT PREPARED 'kept'").await;
        let poll = service.changes_since(&pg, "ids", &start).await;
        assert_eq!(poll.reset.len(), 0);
        let expected = [r#"insert ids [1,"small"]"#, r#"insert ids [1,"prepared"]"#];
        let inserts: Vec<_> = poll.changes.iter().filter(|c| c.starts_with("insert")).collect();
        assert_eq!(inserts, expected);
        pg.execute("DELETE FROM ids").await;
    }
    assert_rows(&pg, &service).await;
}
