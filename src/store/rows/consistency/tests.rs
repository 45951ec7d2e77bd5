use std::time::Duration;

use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::row::Row;
use crate::store::rows::staged::{LAZY, PRELOADED, StagedStore, seen, whole};
use crate::store::rows::table::RowStorage;
use crate::store::{RowLimits, TableVerification};

const ONE: &str = r#"{"id":1,"n":1}"#;
const TWO: &str = r#"{"id":1,"n":2}"#;
const WRONG: &str = r#"{"id":1,"n":9}"#;

impl StagedStore {
    /// A check begins when it is asked for, of all rows.
    fn check(&mut self) {
        let checker = self.bench.store.checker(None);
        self.spawn(checker.run(self.database.clone(), CancellationToken::new()));
    }

    /// Puts something else in memory than the stream and the database said.
    fn corrupt(&mut self, table: usize, id: i64, json: Option<&str>) {
        let shared = &self.bench.store.shared;
        let mut state = shared.state.write();
        let table = state.tables.get_mut(&self.tables[table].oid()).unwrap();
        let (key, row) = (Key::integer(id), json.map(|json| Row::new(json.as_bytes())));
        match (&mut table.rows.as_mut().unwrap().storage, row) {
            (RowStorage::Lazy(share), row) => shared.cache.insert(share, key, row),
            (RowStorage::Preload(preload), Some(row)) => {
                preload.rows.as_mut().unwrap().insert(key, row)
            }
            (RowStorage::Preload(preload), None) => preload.rows.as_mut().unwrap().remove(&key),
        }
    }

    fn counted(&self) -> (u64, u64) {
        let metrics = &self.bench.metrics;
        (metrics.consistency_checks.get(), metrics.consistency_violations.get())
    }

    /// A lazily held row 1, as it was when everything up to 800 was applied.
    async fn with_row() -> Self {
        let mut stage = Self::new();
        stage.read(LAZY, 1);
        stage.query().await.answer(seen("10:10:", 800), Some(ONE));
        assert_eq!(stage.told().await.as_deref(), Some(ONE));
        stage
    }

    /// Somebody wants one table compared.
    fn verify(&mut self, table: usize) -> tokio::sync::oneshot::Receiver<Vec<TableVerification>> {
        let verdicts = self.bench.store.verify(&self.tables[table..=table]).unwrap();
        self.check();
        verdicts
    }
}

fn only(verdicts: Vec<TableVerification>) -> TableVerification {
    let [verdict] = <[TableVerification; 1]>::try_from(verdicts).unwrap();
    verdict
}

#[tokio::test(start_paused = true)]
async fn a_row_that_is_right_is_compared_and_no_violation() {
    let mut stage = StagedStore::with_row().await;
    let verdicts = stage.verify(LAZY);
    stage.query().await.answer(seen("10:10:", 800), Some(r#"{"id": 1, "n": 1.0}"#));
    let verdict = only(verdicts.await.unwrap());
    assert_eq!((verdict.rows, verdict.violations, verdict.undecided), (1, 0, 0));
    assert_eq!(stage.counted(), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_row_that_is_wrong_is_found_and_told_with_the_difference() {
    for wrong in [Some(WRONG), None] {
        let mut stage = StagedStore::with_row().await;
        stage.corrupt(LAZY, 1, wrong);
        let verdicts = stage.verify(LAZY);
        stage.query().await.answer(seen("10:10:", 800), Some(ONE));
        let verdict = only(verdicts.await.unwrap());
        assert_eq!((verdict.rows, verdict.violations), (1, 1));
        let difference = &verdict.differences[0].difference;
        match wrong {
            Some(_) => assert_eq!(difference, r#""n" is 9 in memory, 1 in the database"#),
            None => assert!(difference.contains("not in memory"), "{difference}"),
        }
        assert_eq!(stage.counted(), (1, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn an_absent_row_that_is_remembered_is_compared_too() {
    let mut stage = StagedStore::new();
    stage.read(LAZY, 1);
    stage.query().await.answer(seen("10:10:", 800), None);
    assert_eq!(stage.told().await, None);
    let verdicts = stage.verify(LAZY);
    stage.query().await.answer(seen("10:10:", 800), Some(ONE));
    assert_eq!(only(verdicts.await.unwrap()).violations, 1);
}

#[tokio::test(start_paused = true)]
async fn a_change_that_the_snapshot_does_not_see_is_joined_before_comparing() {
    let mut stage = StagedStore::with_row().await;
    let verdicts = stage.verify(LAZY);
    let query = stage.query().await;
    stage.change(880, 10, LAZY, 1, whole(TWO));
    query.answer(seen("10:11:10", 880), Some(ONE));
    assert_eq!(only(verdicts.await.unwrap()).violations, 0);
    assert_eq!(stage.counted(), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_change_that_arrives_between_load_and_comparison_is_joined_too() {
    let mut stage = StagedStore::with_row().await;
    let verdicts = stage.verify(LAZY);
    stage.query().await.answer(seen("10:11:10", 960), Some(ONE));
    stage.pass().await;
    stage.change(880, 10, LAZY, 1, whole(TWO));
    stage.reach(960);
    assert_eq!(only(verdicts.await.unwrap()).violations, 0);
}

#[tokio::test(start_paused = true)]
async fn a_row_that_is_ahead_of_the_stream_is_compared_when_the_stream_is_there() {
    let mut stage = StagedStore::with_row().await;
    let verdicts = stage.verify(LAZY);
    stage.query().await.answer(seen("11:11:", 880), Some(TWO));
    stage.pass().await;
    assert_eq!(stage.counted(), (0, 0), "not yet");
    stage.change(880, 10, LAZY, 1, whole(TWO));
    assert_eq!(only(verdicts.await.unwrap()).violations, 0);
    assert_eq!(stage.counted(), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_lacks_what_was_applied_before_decides_nothing() {
    let mut stage = StagedStore::with_row().await;
    stage.change(880, 10, LAZY, 1, whole(TWO));
    let verdicts = stage.verify(LAZY);
    stage.query().await.answer(seen("10:11:10", 880), Some(ONE));
    stage.query().await.answer(seen("11:11:", 880), Some(TWO));
    let verdict = only(verdicts.await.unwrap());
    assert_eq!((verdict.rows, verdict.violations, verdict.undecided), (1, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_row_that_is_lost_while_it_is_compared_decides_nothing() {
    let mut stage = StagedStore::with_row().await;
    let verdicts = stage.verify(LAZY);
    let query = stage.query().await;
    stage.truncate(880, 10, LAZY);
    query.answer(seen("10:11:10", 880), Some(ONE));
    let verdict = only(verdicts.await.unwrap());
    assert_eq!((verdict.rows, verdict.violations), (0, 0), "it has left memory");
}

#[tokio::test(start_paused = true)]
async fn a_change_to_another_row_hides_no_violation() {
    let mut stage = StagedStore::with_row().await;
    stage.corrupt(LAZY, 1, Some(WRONG));
    let verdicts = stage.verify(LAZY);
    let query = stage.query().await;
    // Of another row.
    stage.change(880, 10, LAZY, 2, whole(TWO));
    query.answer(seen("10:11:10", 880), Some(ONE));
    assert_eq!(only(verdicts.await.unwrap()).violations, 1);
}

#[tokio::test(start_paused = true)]
async fn a_preloaded_row_that_is_wrong_missing_or_too_much_is_found() {
    for (id, corrupted, violations) in
        [(1, Some(WRONG), 1), (2, Some(ONE), 1), (1, None, 1), (1, Some(ONE), 0)]
    {
        let mut stage = StagedStore::preloaded(1, ONE).await;
        stage.corrupt(PRELOADED, id, corrupted);
        let mut verdicts = stage.verify(PRELOADED);
        loop {
            if let Some(verdict) = (&mut verdicts).now_or_never() {
                let verdict = only(verdict.unwrap());
                assert_eq!(verdict.violations, violations, "{id} {corrupted:?}: {verdict:?}");
                assert_eq!(verdict.broken_off, None);
                break;
            }
            stage.answer_as_the_truth(&[(1, ONE)]).await;
        }
    }
}

impl StagedStore {
    /// Answers what is asked now from these rows.
    async fn answer_as_the_truth(&mut self, truth: &[(i64, &str)]) {
        self.pass().await;
        self.database.answer_all(seen("10:10:", 800), truth).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_missing_row_behind_another_is_found_without_a_copy() {
    let mut stage = StagedStore::preloaded(1, ONE).await;
    let pace = CheckPace { interval: Duration::from_secs(1), rows: 10 };
    let checker = stage.bench.store.checker(Some(pace));
    stage.spawn(checker.run(stage.database.clone(), CancellationToken::new()));
    // Row 2 exists, and nobody told of it.
    for _ in 0..10_000 {
        stage.answer_as_the_truth(&[(1, ONE), (2, TWO)]).await;
        if stage.counted() == (2, 1) {
            return;
        }
    }
    panic!("{:?}", stage.counted());
}

#[tokio::test(start_paused = true)]
async fn one_verification_runs_at_a_time_and_ends_with_who_waits() {
    let mut stage = StagedStore::with_row().await;
    let first = stage.verify(LAZY);
    let second = stage.bench.store.verify(&stage.tables);
    assert!(second.is_none());
    drop(first);
    stage.pass().await;
    assert!(stage.bench.store.verify(&stage.tables).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_database_that_does_not_answer_breaks_a_verification_off() {
    let mut stage = StagedStore::with_row().await;
    let verdicts = stage.verify(LAZY);
    stage.query().await.fail(crate::load::LoadError::Unavailable("down".into()));
    let verdict = only(verdicts.await.unwrap());
    assert!(verdict.broken_off.unwrap().contains("down"));
}

#[tokio::test(start_paused = true)]
async fn rows_are_checked_at_the_pace_and_never_without_one() {
    for pace in [None, Some(CheckPace { interval: Duration::from_secs(1), rows: 10 })] {
        let mut stage = StagedStore::with_row().await;
        let checker = stage.bench.store.checker(pace);
        stage.spawn(checker.run(stage.database.clone(), CancellationToken::new()));
        for _ in 0..700 {
            stage.answer_as_the_truth(&[(1, ONE)]).await;
        }
        let checks = stage.counted().0;
        assert_eq!(checks, if pace.is_some() { 3 } else { 0 });
    }
}

#[tokio::test(start_paused = true)]
async fn a_check_leaves_nothing_behind() {
    let mut stage = StagedStore::with_limits(RowLimits::default());
    stage.read(LAZY, 1);
    stage.query().await.answer(seen("10:10:", 800), Some(ONE));
    stage.told().await;
    let verdicts = stage.verify(LAZY);
    let query = stage.query().await;
    drop(verdicts);
    stage.pass().await;
    drop(query);
    let known = stage.bench.store.shared.state.read();
    let rows = known.tables[&stage.tables[LAZY].oid()].rows.as_ref().unwrap();
    assert_eq!(rows.checked.lock().len(), 0);
}

#[test]
fn ids_between_those_held_are_asked_for() {
    let keys = |ids: &[i64]| ids.iter().copied().map(Key::integer).collect::<Vec<_>>();
    assert_eq!(scan::ids_between(&keys(&[1, 2, 4]), true), keys(&[3, 5]));
    assert_eq!(scan::ids_between(&keys(&[1, 2, 4]), false), keys(&[3]));
    assert_eq!(scan::ids_between(&keys(&[i64::MAX]), true), []);
    assert_eq!(scan::ids_between(&keys(&[i64::MIN, i64::MAX]), false).len(), 1);
    assert_eq!(scan::ids_between(&[Key::json(b"\"a\""), Key::json(b"\"b\"")], true), []);
}
