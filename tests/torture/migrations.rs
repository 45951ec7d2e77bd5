//! Who changes definitions while everybody writes.

use std::sync::Arc;
use std::time::Duration;

use super::link::{ProxiedLink, Refusal};
use super::tally::Count;
use super::world::ChaosScenario;

/// Columns that a migration may drop or rename.
const COLUMNS_MAX: u32 = 6;

/// Changes definitions until the end.
pub(crate) async fn migrate(world: Arc<ChaosScenario>) {
    let (mut link, mut dice) = (ProxiedLink::new(&world), world.dice(4000));
    let mut number = 0;
    while world.may_write().await {
        number += 1;
        let (name, sql) = migration(&mut dice, number, world.has_trigger);
        let generation = world.generation();
        let outcome = link.execute(&sql).await;
        world.has_written();
        match outcome {
            Ok(()) => world.tally.add(Count::Migrations, 1),
            // A process of the server that was killed may say anything while its files go away.
            Err(Refusal::Refused(said))
                if !is_expected(&said) && world.generation() == generation =>
            {
                world.fail("migrations", &format!("{name}: {said}"));
            }
            Err(_) => {}
        }
        world.sleep(Duration::from_millis(dice.u64(100..1500))).await;
    }
}

/// What happens when writers hold the table, or a migration was done already.
fn is_expected(said: &str) -> bool {
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
    .any(|known| said.contains(known))
}

/// A column `c…` of a table, picked by the dice, and what to do with it.
fn with_a_column(table: &str, dice: &mut fastrand::Rng, action: &str) -> String {
    let offset = dice.u32(0..COLUMNS_MAX);
    format!(
        "DO $$ DECLARE c text; BEGIN
           SELECT attname INTO c FROM pg_attribute WHERE attrelid = '{table}'::regclass AND attname LIKE 'c%'
             AND attnum > 0 AND NOT attisdropped ORDER BY attnum OFFSET {offset} LIMIT 1;
           IF c IS NOT NULL THEN EXECUTE format('ALTER TABLE {table} {action}', c); END IF; END $$"
    )
}

/// No trigger tells of a TRUNCATE of a leaf, so it is left out where everything is to be told at once.
fn migration(dice: &mut fastrand::Rng, number: u32, has_trigger: bool) -> (&'static str, String) {
    let table = if dice.bool() { "shape" } else { "form" };
    let id = dice.i32(1..60);
    match dice.u32(if has_trigger { 0..20 } else { 0..22 }) {
        0 | 1 => ("add a column with a default", format!(
            "DO $$ BEGIN IF (SELECT count(*) FROM pg_attribute WHERE attrelid = '{table}'::regclass AND attname LIKE 'c%' AND attnum > 0 AND NOT attisdropped) < {COLUMNS_MAX}
             THEN ALTER TABLE {table} ADD COLUMN c{number} int DEFAULT {number}; END IF; END $$")),
        2 => ("add a column in a commit with changes", format!(
            "BEGIN; UPDATE {table} SET n = nextval('ticks') WHERE id > {id}; ALTER TABLE {table} ADD COLUMN c{number} text DEFAULT 'c'; UPDATE {table} SET n = nextval('ticks') WHERE id > {id}; COMMIT")),
        3 | 4 => ("drop a column", with_a_column(table, dice, "DROP COLUMN %I")),
        5 => ("rename a column", with_a_column(table, dice, &format!("RENAME COLUMN %I TO c{number}"))),
        6 => ("retype a column to text", format!("ALTER TABLE {table} ALTER r TYPE text USING 't' || id || {number}")),
        7 => ("retype a column to bigint", format!("ALTER TABLE {table} ALTER r TYPE bigint USING id * {number}")),
        8 => ("a rolled back migration", format!("BEGIN; ALTER TABLE {table} ADD COLUMN c{number} int DEFAULT 1; UPDATE {table} SET n = nextval('ticks'); ROLLBACK")),
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
