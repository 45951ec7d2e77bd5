//! Changes of table and type definitions, concurrent with the writers.

use std::sync::Arc;
use std::time::Duration;

use super::counters::Count;
use super::scenario::ChaosScenario;
use super::sql_client::{SqlClient, SqlError};

/// Most columns `c…` in a table, which migrations add, drop and rename.
const COLUMNS_MAX: u32 = 6;

/// Runs random migrations until the end.
pub(crate) async fn migrate(scenario: Arc<ChaosScenario>) {
    let (mut session, mut rng) = (SqlClient::new(&scenario), scenario.rng(4000));
    let mut number = 0;
    while scenario.begin_write().await {
        number += 1;
        let (name, sql) = migration(&mut rng, number, scenario.has_trigger);
        let generation = scenario.generation();
        let outcome = session.execute(&sql).await;
        scenario.end_write();
        match outcome {
            Ok(()) => scenario.counters.add(Count::Migrations, 1),
            // A server that was killed and replaced may fail with any message while its files disappear.
            Err(SqlError::Rejected(message))
                if !is_expected(&message) && scenario.generation() == generation =>
            {
                scenario.fail("migrations", &format!("{name}: {message}"));
            }
            Err(_) => {}
        }
        scenario.sleep(Duration::from_millis(rng.u64(100..1500))).await;
    }
}

/// Errors that occur when writers hold the table, or when a migration has already been done.
fn is_expected(message: &str) -> bool {
    [
        "lock timeout",
        "deadlock",
        "already",
        "not exist",
        "not a partition",
        "not part of",
        "statement timeout",
        "terminating",
        "would overlap",
        "pending trigger",
    ]
    .iter()
    .any(|known| message.contains(known))
}

/// A statement that applies `action` to a random column `c…` of a table.
fn with_a_column(table: &str, rng: &mut fastrand::Rng, action: &str) -> String {
    let offset = rng.u32(0..COLUMNS_MAX);
    format!(
        "DO $$ DECLARE c text; BEGIN
           SELECT attname INTO c FROM pg_attribute WHERE attrelid = '{table}'::regclass AND attname LIKE 'c%'
             AND attnum > 0 AND NOT attisdropped ORDER BY attnum OFFSET {offset} LIMIT 1;
           IF c IS NOT NULL THEN EXECUTE format('ALTER TABLE {table} {action}', c); END IF; END $$"
    )
}

/// A name and the SQL of a random migration. No trigger reports a TRUNCATE of a leaf partition, so the
/// last two are left out where every change must be reported at once.
fn migration(rng: &mut fastrand::Rng, number: u32, has_trigger: bool) -> (&'static str, String) {
    let table = if rng.bool() { "shape" } else { "form" };
    let id = rng.i32(1..60);
    match rng.u32(if has_trigger { 0..20 } else { 0..22 }) {
        0 | 1 => ("add a column with a default", format!(
            "DO $$ BEGIN IF (SELECT count(*) FROM pg_attribute WHERE attrelid = '{table}'::regclass AND attname LIKE 'c%' AND attnum > 0 AND NOT attisdropped) < {COLUMNS_MAX}
             THEN ALTER TABLE {table} ADD COLUMN c{number} int DEFAULT {number}; END IF; END $$")),
        2 => ("add a column in a commit with changes", format!(
            "BEGIN; UPDATE {table} SET n = nextval('ticks') WHERE id > {id}; ALTER TABLE {table} ADD COLUMN c{number} text DEFAULT 'c'; UPDATE {table} SET n = nextval('ticks') WHERE id > {id}; COMMIT")),
        3 | 4 => ("drop a column", with_a_column(table, rng, "DROP COLUMN %I")),
        5 => ("rename a column", with_a_column(table, rng, &format!("RENAME COLUMN %I TO c{number}"))),
        6 => ("retype a column to text", format!("ALTER TABLE {table} ALTER r TYPE text USING 't' || id || {number}")),
        7 => ("retype a column to bigint", format!("ALTER TABLE {table} ALTER r TYPE bigint USING id * {number}")),
        8 => ("a rolled-back migration", format!("BEGIN; ALTER TABLE {table} ADD COLUMN c{number} int DEFAULT 1; UPDATE {table} SET n = nextval('ticks'); ROLLBACK")),
        9 | 10 => ("rename an enum value", format!(
            "DO $$ DECLARE l text; BEGIN SELECT enumlabel INTO l FROM pg_enum WHERE enumtypid = 'mood'::regtype ORDER BY enumsortorder OFFSET {} LIMIT 1;
             EXECUTE format('ALTER TYPE mood RENAME VALUE %L TO %L', l, 'm{number}'); END $$", number % 3)),
        11 => ("drop and create a table", format!(
            "BEGIN; DROP TABLE IF EXISTS again, again_b; CREATE TABLE again (id int PRIMARY KEY, n bigint, c{number} int DEFAULT 1); INSERT INTO again VALUES ({id}, {number}); ALTER PUBLICATION highwater ADD TABLE again; COMMIT")),
        12 => ("drop a table, create it later", format!(
            "DROP TABLE again; CREATE TABLE again (id int PRIMARY KEY, n bigint); INSERT INTO again VALUES ({id}, {number}); ALTER PUBLICATION highwater ADD TABLE again")),
        13 => ("rename a table", "ALTER TABLE again RENAME TO again_b".into()),
        14 => ("rename a table back", "ALTER TABLE again_b RENAME TO again".into()),
        15 => ("attach a partition", "ALTER TABLE parts ATTACH PARTITION parts_3 FOR VALUES FROM (200) TO (300)".into()),
        16 => ("detach a partition", "ALTER TABLE parts DETACH PARTITION parts_3".into()),
        17 => ("leave the publication", "ALTER PUBLICATION highwater DROP TABLE joins".into()),
        18 => ("join the publication", "ALTER PUBLICATION highwater ADD TABLE joins".into()),
        20 => ("truncate a leaf", "TRUNCATE parts_1".into()),
        21 => ("drop a leaf, create it later", "DROP TABLE parts_2; CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (100) TO (200)".into()),
        _ => ("leave, change, join", format!(
            "ALTER PUBLICATION highwater DROP TABLE joins; INSERT INTO joins VALUES ({id}, {number}) ON CONFLICT (id) DO UPDATE SET n = {number}; DELETE FROM joins WHERE id = {id} + 1; ALTER PUBLICATION highwater ADD TABLE joins")),
    }
}
