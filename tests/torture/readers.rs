//! Who reads single rows: own writes, and the same rows again and again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::answer::{PollTrouble, epoch, fetch};
use super::knowledge::newer;
use super::link::ProxiedLink;
use super::tally::Count;
use super::world::ChaosScenario;
use super::writers::NAMES;

/// Few, so that changes come while the same rows are being loaded.
const HOT_ROWS: i32 = 3;

/// Writes a row, and reads it with its commit's position from either instance.
pub(crate) async fn own_writes(world: Arc<ChaosScenario>, number: u64) {
    let (mut link, mut dice) = (ProxiedLink::new(&world), world.dice(2000 + number));
    while world.may_write().await {
        let (id, generation) = (dice.i32(1..=HOT_ROWS), world.generation());
        let update = format!("UPDATE own SET n = nextval('ticks') WHERE id = {id} RETURNING n");
        let written = link.value::<i64>(&update).await;
        let lsn = link.value::<String>("SELECT pg_current_wal_insert_lsn()::text").await;
        world.has_written();
        let (Ok(written), Ok(lsn)) = (written, lsn) else {
            world.sleep(Duration::from_millis(100)).await;
            continue;
        };
        world.tally.add(Count::Commits, 1);
        let path = format!("/v1/tables/own/rows/{id}?at_least={lsn}&wait=2s");
        let read = fetch(&world.instances[dice.usize(0..2)], &path).await;
        // A failover may have lost it.
        if world.generation() != generation {
            continue;
        }
        match read {
            Ok((row, _)) if row["n"].as_i64().is_some_and(|n| n >= written) => {
                world.tally.add(Count::OwnWritesRead, 1);
            }
            Ok((row, _)) => {
                let what = format!("wrote n = {written} into {id}, then read {row}");
                world.fail("own writes", &what);
            }
            Err(PollTrouble::Later) => world.tally.add(Count::Waits, 1),
            Err(trouble) => world.fail("own writes", &format!("{trouble:?}")),
        }
        world.sleep(Duration::from_millis(dice.u64(0..30))).await;
    }
}

/// Reads rows of one instance, which must not go back while it lives.
pub(crate) async fn watch(world: Arc<ChaosScenario>, number: usize) {
    let instance = &world.instances[number];
    let mut dice = world.dice(3000 + number as u64);
    let mut newest = BTreeMap::<String, Value>::new();
    let mut of = (0, 0, String::new());
    while !world.has_ended() {
        let (table, path) = path(&mut dice);
        let (life, generation) = (instance.life(), world.generation());
        match fetch(instance, &path).await {
            Ok((body, version)) => {
                let now = (life, generation, epoch(&version).to_owned());
                // Whoever answered, and of which history, is certain only if nothing changed meanwhile.
                if (instance.life(), world.generation()) != (life, generation) || now != of {
                    newest.clear();
                    of = now;
                    continue;
                }
                for row in rows(&body) {
                    if let Err(what) = look(&mut newest, table, row) {
                        world.fail(
                            "rows again and again",
                            &format!("{} {what} ({path})", instance.name),
                        );
                    }
                    world.tally.add(Count::RowsWatched, 1);
                }
            }
            Err(PollTrouble::Absent) => world.tally.add(Count::RowsWatched, 1),
            Err(PollTrouble::Wrong(what)) => world.fail("rows again and again", &what),
            Err(_) => world.tally.add(Count::Waits, 1),
        }
        world.sleep(Duration::from_millis(dice.u64(5..60))).await;
    }
}

fn rows(body: &Value) -> Vec<&Value> {
    body.get("rows")
        .map_or_else(|| vec![body], |rows| rows.as_array().into_iter().flatten().collect())
}

fn look(newest: &mut BTreeMap<String, Value>, table: &str, row: &Value) -> Result<(), String> {
    let key = match table {
        "pair" => format!("pair {} {}", row["part"], row["name"]),
        "words" => format!("words {}", row["name"]),
        _ => format!("{table} {}", row["id"]),
    };
    match newest.insert(key, row.clone()) {
        Some(before) => newer(table, &before, Some(row)),
        None => Ok(()),
    }
}

/// A value in an id.
fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// Some rows of some table.
fn path(dice: &mut fastrand::Rng) -> (&'static str, String) {
    let (id, name) = (dice.i32(1..150), NAMES[dice.usize(..NAMES.len())]);
    let by_ids =
        |table, ids: &str| (table, format!("/v1/tables/{table}/rows?ids={}", encoded(ids)));
    match dice.u32(0..9) {
        0 => ("pair", format!("/v1/tables/pair/rows/{},{}", id % 4, encoded(name))),
        1 => by_ids("pair", &format!("{},{},{},a", id % 4, encoded(name), (id + 1) % 4)),
        2 => ("words", format!("/v1/tables/words/rows?limit={}", id % 30 + 1)),
        3 => ("toast", format!("/v1/tables/toast/rows/{}", id % 60)),
        4 => by_ids("toasty", &format!("{},{},{}", id % 60, (id + 7) % 60, (id + 20) % 60)),
        5 => ("toasty", format!("/v1/tables/toasty/rows/{}", id % 60)),
        6 => ("shape", format!("/v1/tables/shape/rows/{}", id % 60)),
        7 => ("form", format!("/v1/tables/form/rows/{}", id % 60)),
        _ => by_ids("parts", &format!("{id},{}", id + 50)),
    }
}
