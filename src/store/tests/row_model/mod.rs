//! Random histories of rows against a simulated database.
//!
//! The database commits; each transaction becomes visible to snapshots some time after it is in the
//! stream or some time before. Queries and copies read what is visible at one moment and return at a
//! later one, the stream is applied in between. Readers read all the time, and compare with the
//! expected state: one row is never older than the version reported, nor than what was read of it
//! before; rows at one version, and store images, are exactly those of the database at that version.
//! A checker compares all the time, and finds nothing.
//!
//! Time is simulated, so everything is a function of the seed, which a failure prints.

mod database;
mod readers;

use std::sync::Arc;
use std::time::Duration;

use crate::metrics::Registry;
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

pub(in crate::store) use self::database::tables;
use self::database::{LAZY, ModelDatabase, PRELOADED};
use self::readers::ModelReader;
use crate::change::{Event, Reset, ResetReason};

use crate::source_status::StreamRequests;
use crate::store::tests::model::{Random, Seed};
use crate::store::tests::started;
use crate::store::{CheckPace, Limits, RowLimits, Store, StoreMetrics, Writer, open};
use crate::table::TableOid;

/// Begins the simulated time.
fn run(seed: u64, limits: RowLimits, steps: usize) {
    let _seed = Seed(seed, "rows");
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(simulate(seed, limits, steps));
}

async fn simulate(seed: u64, limits: RowLimits, steps: usize) {
    let requests = StreamRequests::default();
    let limits = Limits { rows: limits, ..Limits::default() };
    let metrics = StoreMetrics::register(&Registry::default()).unwrap();
    let (mut writer, store) = open(limits, requests, metrics.clone());
    writer.apply(vec![started(800, tables(), None)]);
    let database = Arc::new(Mutex::new(ModelDatabase::new(seed)));
    let loader = Arc::new(database::ModelConnection(database.clone()));
    let end = CancellationToken::new();
    let mut tasks = JoinSet::new();
    for _ in 0..2 {
        tasks.spawn(store.load_worker().run(loader.clone(), end.clone()));
    }
    tasks.spawn(store.preloader().run(loader.clone(), end.clone()));
    let pace = CheckPace { interval: Duration::from_millis(3), rows: 4 };
    tasks.spawn(store.checker(Some(pace)).run(loader, end.clone()));
    for number in 0..4 {
        let reader = ModelReader::new(seed * 10 + number, store.clone(), database.clone());
        tasks.spawn(reader.run(end.clone()));
    }
    let mut random = Random::new(seed);
    // The probability that the stream delivers: at times it lags far.
    let mut pace = 100;
    for _ in 0..steps {
        if random.chance(3) {
            pace = *random.pick(&[0, 20, 100]);
        }
        step(&database, &store, &mut writer, &mut random, pace);
        sleep(Duration::from_millis(random.below(4))).await;
        check(&mut tasks);
        assert_eq!(metrics.consistency_violations.get(), 0, "the checker raised an alarm");
    }
    database.lock().make_all_visible();
    for _ in 0..200 {
        deliver(&database, &mut writer, 10);
        writer.serve_requests();
        sleep(Duration::from_millis(50)).await;
        check(&mut tasks);
    }
    assert_eq!(metrics.consistency_violations.get(), 0, "the checker raised an alarm");
    assert!(metrics.consistency_checks.get() > 100, "the checker compared next to nothing");
    let mut last = ModelReader::new(seed, store, database);
    last.check_all().await;
    end.cancel();
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
}

/// A task that ended has failed.
fn check(tasks: &mut JoinSet<()>) {
    if let Some(ended) = tasks.try_join_next() {
        ended.unwrap();
    }
}

fn step(
    database: &Mutex<ModelDatabase>,
    store: &Store,
    writer: &mut Writer,
    random: &mut Random,
    pace: u64,
) {
    match random.below(100) {
        0..40 => database.lock().commit(),
        40..60 => database.lock().make_visible(),
        60..90 if random.chance(pace) => deliver(database, writer, 1 + random.below(3)),
        90..92 => store.reload(store.directory().resources()),
        92 => {
            let table = *random.pick(&[LAZY, PRELOADED]);
            let resets = vec![Reset { table: TableOid(table), reason: ResetReason::Schema }];
            writer.apply(vec![Event::Tables { tables: tables(), resets }]);
        }
        _ => writer.serve_requests(),
    }
}

fn deliver(database: &Mutex<ModelDatabase>, writer: &mut Writer, count: u64) {
    for _ in 0..count {
        let Some(event) = database.lock().next_event() else { return };
        writer.apply(vec![event]);
    }
}

#[test]
fn rows_are_never_older_than_reported_and_several_are_of_one_version() {
    for seed in 0..20 {
        run(seed, RowLimits::default(), 600);
    }
}

#[test]
fn rows_stay_correct_when_the_cache_has_room_for_two() {
    for seed in 100..112 {
        run(seed, RowLimits { max_bytes: 900, ..RowLimits::default() }, 600);
    }
}
