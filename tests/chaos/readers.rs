//! Readers of single rows: reads of their own writes, and repeated reads of the same rows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::client_model::check_not_older;
use super::counters::Count;
use super::poll::{FetchError, epoch, fetch};
use super::scenario::ChaosScenario;
use super::sql_client::SqlClient;
use super::writers::NAMES;

/// Few, so that rows change while they are being loaded.
const HOT_ROWS: i32 = 3;

/// Writes a row, then reads it at the commit's position from either instance.
pub(crate) async fn own_writes(scenario: Arc<ChaosScenario>, number: u64) {
    let (mut session, mut rng) = (SqlClient::new(&scenario), scenario.rng(2000 + number));
    while scenario.begin_write().await {
        let (id, generation) = (rng.i32(1..=HOT_ROWS), scenario.generation());
        let update = format!("UPDATE own SET n = nextval('ticks') WHERE id = {id} RETURNING n");
        let written = session.value::<i64>(&update).await;
        let lsn = session.value::<String>("SELECT pg_current_wal_insert_lsn()::text").await;
        scenario.end_write();
        let (Ok(written), Ok(lsn)) = (written, lsn) else {
            scenario.sleep(Duration::from_millis(100)).await;
            continue;
        };
        scenario.counters.add(Count::Commits, 1);
        let path = format!("/v1/tables/own/rows/{id}?at_least={lsn}&wait=2s");
        let read = fetch(&scenario.instances[rng.usize(0..2)], &path).await;
        // A failover may have lost the write.
        if scenario.generation() != generation {
            continue;
        }
        match read {
            Ok((row, _)) if row["n"].as_i64().is_some_and(|n| n >= written) => {
                scenario.counters.add(Count::OwnWritesRead, 1);
            }
            Ok((row, _)) => {
                let problem = format!("wrote n = {written} into {id}, then read {row}");
                scenario.fail("own writes", &problem);
            }
            Err(FetchError::Unavailable) => scenario.counters.add(Count::Unavailable, 1),
            Err(error) => scenario.fail("own writes", &format!("{error:?}")),
        }
        scenario.sleep(Duration::from_millis(rng.u64(0..30))).await;
    }
}

/// Reads rows of one instance repeatedly: they must not go backwards while its process lives.
pub(crate) async fn repeated_reads(scenario: Arc<ChaosScenario>, number: usize) {
    let instance = &scenario.instances[number];
    let mut rng = scenario.rng(3000 + number as u64);
    let mut newest = BTreeMap::<String, Value>::new();
    let mut origin = (0, 0, String::new());
    while !scenario.is_finished() {
        let (table, path) = path(&mut rng);
        let (starts, generation) = (instance.start_count(), scenario.generation());
        match fetch(instance, &path).await {
            Ok((body, version)) => {
                let now = (starts, generation, epoch(&version).to_owned());
                // Process and timeline of the response are certain only if neither changed meanwhile.
                if (instance.start_count(), scenario.generation()) != (starts, generation)
                    || now != origin
                {
                    newest.clear();
                    origin = now;
                    continue;
                }
                for row in rows(&body) {
                    if let Err(problem) = check_row(&mut newest, table, row) {
                        scenario.fail(
                            "repeated reads",
                            &format!("{} {problem} ({path})", instance.name),
                        );
                    }
                    scenario.counters.add(Count::RepeatedReads, 1);
                }
            }
            Err(FetchError::RowNotFound) => scenario.counters.add(Count::RepeatedReads, 1),
            Err(FetchError::Violation(problem)) => scenario.fail("repeated reads", &problem),
            Err(_) => scenario.counters.add(Count::Unavailable, 1),
        }
        scenario.sleep(Duration::from_millis(rng.u64(5..60))).await;
    }
}

fn rows(body: &Value) -> Vec<&Value> {
    body.get("rows")
        .map_or_else(|| vec![body], |rows| rows.as_array().into_iter().flatten().collect())
}

fn check_row(newest: &mut BTreeMap<String, Value>, table: &str, row: &Value) -> Result<(), String> {
    let key = match table {
        "pair" => format!("pair {} {}", row["part"], row["name"]),
        "words" => format!("words {}", row["name"]),
        _ => format!("{table} {}", row["id"]),
    };
    match newest.insert(key, row.clone()) {
        Some(before) => check_not_older(table, &before, Some(row)),
        None => Ok(()),
    }
}

/// A value, percent-encoded for an id.
fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// A random table and the path of some of its rows.
fn path(rng: &mut fastrand::Rng) -> (&'static str, String) {
    let (id, name) = (rng.i32(1..150), NAMES[rng.usize(..NAMES.len())]);
    let by_ids =
        |table, ids: &str| (table, format!("/v1/tables/{table}/rows?ids={}", encoded(ids)));
    match rng.u32(0..9) {
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
