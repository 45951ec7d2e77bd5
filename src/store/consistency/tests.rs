use std::time::Duration;

use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::row::Row;
use crate::store::rows::RowStorage;
use crate::store::tests::scripted_loader::{LAZY, PRELOADED, StagedStore, full, seen};
use crate::store::{RowLimits, TableVerification};

const ONE: &str = r#"{"id":1,"n":1}"#;
const TWO: &str = r#"{"id":1,"n":2}"#;
const WRONG: &str = r#"{"id":1,"n":9}"#;

impl StagedStore {
    /// Starts the checker without a pace: it compares rows on request only.
    fn check(&mut self) {
        let checker = self.harness.store.checker(None);
        self.spawn(checker.run(self.database.clone(), CancellationToken::new()));
    }

    /// Replaces a row in memory by a wrong one.
    fn corrupt(&mut self, table: usize, id: i64, json: Option<&str>) {
        let shared = &self.harness.store.shared;
        let mut state = shared.state.write();
        let table = state.tables.get_mut(&self.tables[table].oid()).unwrap();
        let (key, row) = (Key::integer(id), json.map(|json| Row::new(json.as_bytes())));
        match (&mut table.rows.as_mut().unwrap().storage, row) {
            (RowStorage::Lazy(set), row) => set.insert_cached(key, row),
            (RowStorage::Preloaded(preload), Some(row)) => {
                preload.rows.as_mut().unwrap().insert(key, row);
            }
            (RowStorage::Preloaded(preload), None) => preload.rows.as_mut().unwrap().remove(&key),
        }
    }

    fn counted(&self) -> (u64, u64) {
        let metrics = &self.harness.metrics;
        (metrics.consistency_checks.get(), metrics.consistency_violations.get())
    }

    /// A lazily cached row 1, as it was when everything up to 800 was applied.
    async fn with_row() -> Self {
        let mut staged = Self::new();
        staged.read(LAZY, 1);
        staged.query().await.answer(seen("10:10:", 800), Some(ONE));
        assert_eq!(staged.returned_row().await.as_deref(), Some(ONE));
        staged
    }

    /// Requests the verification of one table.
    fn verify(&mut self, table: usize) -> tokio::sync::oneshot::Receiver<Vec<TableVerification>> {
        let results = self.harness.store.verify(&self.tables[table..=table]).unwrap();
        self.check();
        results
    }
}

fn only(results: Vec<TableVerification>) -> TableVerification {
    let [result] = <[TableVerification; 1]>::try_from(results).unwrap();
    result
}

#[tokio::test(start_paused = true)]
async fn a_correct_row_is_compared_and_no_violation() {
    let mut staged = StagedStore::with_row().await;
    let results = staged.verify(LAZY);
    staged.query().await.answer(seen("10:10:", 800), Some(r#"{"id": 1, "n": 1.0}"#));
    let result = only(results.await.unwrap());
    assert_eq!((result.rows, result.violations, result.undecided), (1, 0, 0));
    assert_eq!(staged.counted(), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_wrong_row_is_found_and_reported_with_the_difference() {
    for wrong in [Some(WRONG), None] {
        let mut staged = StagedStore::with_row().await;
        staged.corrupt(LAZY, 1, wrong);
        let results = staged.verify(LAZY);
        staged.query().await.answer(seen("10:10:", 800), Some(ONE));
        let result = only(results.await.unwrap());
        assert_eq!((result.rows, result.violations), (1, 1));
        let difference = &result.differences[0].difference;
        match wrong {
            Some(_) => assert_eq!(difference, r#""n" is 9 in memory, 1 in the database"#),
            None => assert!(difference.contains("not in memory"), "{difference}"),
        }
        assert_eq!(staged.counted(), (1, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_cached_absent_row_is_compared_too() {
    let mut staged = StagedStore::new();
    staged.read(LAZY, 1);
    staged.query().await.answer(seen("10:10:", 800), None);
    assert_eq!(staged.returned_row().await, None);
    let results = staged.verify(LAZY);
    staged.query().await.answer(seen("10:10:", 800), Some(ONE));
    assert_eq!(only(results.await.unwrap()).violations, 1);
}

#[tokio::test(start_paused = true)]
async fn a_change_that_the_snapshot_does_not_see_is_joined_before_comparing() {
    let mut staged = StagedStore::with_row().await;
    let results = staged.verify(LAZY);
    let query = staged.query().await;
    staged.change(880, 10, LAZY, 1, full(TWO));
    query.answer(seen("10:11:10", 880), Some(ONE));
    assert_eq!(only(results.await.unwrap()).violations, 0);
    assert_eq!(staged.counted(), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_change_that_arrives_between_load_and_comparison_is_joined_too() {
    let mut staged = StagedStore::with_row().await;
    let results = staged.verify(LAZY);
    staged.query().await.answer(seen("10:11:10", 960), Some(ONE));
    staged.pass().await;
    staged.change(880, 10, LAZY, 1, full(TWO));
    staged.reach(960);
    assert_eq!(only(results.await.unwrap()).violations, 0);
}

#[tokio::test(start_paused = true)]
async fn a_row_that_is_ahead_of_the_stream_is_compared_when_the_stream_is_there() {
    let mut staged = StagedStore::with_row().await;
    let results = staged.verify(LAZY);
    staged.query().await.answer(seen("11:11:", 880), Some(TWO));
    staged.pass().await;
    assert_eq!(staged.counted(), (0, 0), "not yet");
    staged.change(880, 10, LAZY, 1, full(TWO));
    assert_eq!(only(results.await.unwrap()).violations, 0);
    assert_eq!(staged.counted(), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_lacks_an_applied_commit_decides_nothing() {
    let mut staged = StagedStore::with_row().await;
    staged.change(880, 10, LAZY, 1, full(TWO));
    let results = staged.verify(LAZY);
    staged.query().await.answer(seen("10:11:10", 880), Some(ONE));
    staged.query().await.answer(seen("11:11:", 880), Some(TWO));
    let result = only(results.await.unwrap());
    assert_eq!((result.rows, result.violations, result.undecided), (1, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_row_invalidated_while_it_is_compared_decides_nothing() {
    let mut staged = StagedStore::with_row().await;
    let results = staged.verify(LAZY);
    let query = staged.query().await;
    staged.truncate(880, 10, LAZY);
    query.answer(seen("10:11:10", 880), Some(ONE));
    let result = only(results.await.unwrap());
    assert_eq!((result.rows, result.violations), (0, 0), "it has left memory");
}

#[tokio::test(start_paused = true)]
async fn a_change_to_another_row_hides_no_violation() {
    let mut staged = StagedStore::with_row().await;
    staged.corrupt(LAZY, 1, Some(WRONG));
    let results = staged.verify(LAZY);
    let query = staged.query().await;
    // Of another row.
    staged.change(880, 10, LAZY, 2, full(TWO));
    query.answer(seen("10:11:10", 880), Some(ONE));
    assert_eq!(only(results.await.unwrap()).violations, 1);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_missing_or_surplus_preloaded_row_is_found() {
    for (id, corrupted, violations) in
        [(1, Some(WRONG), 1), (2, Some(ONE), 1), (1, None, 1), (1, Some(ONE), 0)]
    {
        let mut staged = StagedStore::preloaded(1, ONE).await;
        staged.corrupt(PRELOADED, id, corrupted);
        let mut results = staged.verify(PRELOADED);
        loop {
            if let Some(result) = (&mut results).now_or_never() {
                let result = only(result.unwrap());
                assert_eq!(result.violations, violations, "{id} {corrupted:?}: {result:?}");
                assert_eq!(result.broken_off, None);
                break;
            }
            staged.answer_as_the_truth(&[(1, ONE)]).await;
        }
    }
}

impl StagedStore {
    /// Completes the next query from these rows.
    async fn answer_as_the_truth(&mut self, truth: &[(i64, &str)]) {
        self.pass().await;
        self.database.answer_all(seen("10:10:", 800), truth).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_missing_row_after_another_is_found_without_a_copy() {
    let mut staged = StagedStore::preloaded(1, ONE).await;
    let pace = CheckPace { interval: Duration::from_secs(1), rows: 10 };
    let checker = staged.harness.store.checker(Some(pace));
    staged.spawn(checker.run(staged.database.clone(), CancellationToken::new()));
    // Row 2 exists, and no change was sent for it.
    for _ in 0..10_000 {
        staged.answer_as_the_truth(&[(1, ONE), (2, TWO)]).await;
        if staged.counted() == (2, 1) {
            return;
        }
    }
    panic!("{:?}", staged.counted());
}

#[tokio::test(start_paused = true)]
async fn one_verification_runs_at_a_time_and_ends_with_its_client() {
    let mut staged = StagedStore::with_row().await;
    let first = staged.verify(LAZY);
    let second = staged.harness.store.verify(&staged.tables);
    assert!(second.is_none());
    drop(first);
    staged.pass().await;
    assert!(staged.harness.store.verify(&staged.tables).is_some());
}

#[tokio::test(start_paused = true)]
async fn an_unavailable_database_breaks_a_verification_off() {
    let mut staged = StagedStore::with_row().await;
    let results = staged.verify(LAZY);
    staged.query().await.fail(crate::load::LoadError::Unavailable("down".into()));
    let result = only(results.await.unwrap());
    assert!(result.broken_off.unwrap().contains("down"));
}

#[tokio::test(start_paused = true)]
async fn rows_are_checked_at_the_pace_and_never_without_one() {
    for pace in [None, Some(CheckPace { interval: Duration::from_secs(1), rows: 10 })] {
        let mut staged = StagedStore::with_row().await;
        let checker = staged.harness.store.checker(pace);
        staged.spawn(checker.run(staged.database.clone(), CancellationToken::new()));
        for _ in 0..700 {
            staged.answer_as_the_truth(&[(1, ONE)]).await;
        }
        let checks = staged.counted().0;
        assert_eq!(checks, if pace.is_some() { 3 } else { 0 });
    }
}

#[tokio::test(start_paused = true)]
async fn a_check_leaves_nothing_behind() {
    let mut staged = StagedStore::with_limits(RowLimits::default());
    staged.read(LAZY, 1);
    staged.query().await.answer(seen("10:10:", 800), Some(ONE));
    staged.returned_row().await;
    let results = staged.verify(LAZY);
    let query = staged.query().await;
    drop(results);
    staged.pass().await;
    drop(query);
    let known = staged.harness.store.shared.state.read();
    let rows = known.tables[&staged.tables[LAZY].oid()].rows.as_ref().unwrap();
    assert_eq!(rows.join().checked().len(), 0);
}

#[test]
fn ids_between_cached_ones_are_compared() {
    let keys = |ids: &[i64]| ids.iter().copied().map(Key::integer).collect::<Vec<_>>();
    assert_eq!(scan::ids_between(&keys(&[1, 2, 4]), true), keys(&[3, 5]));
    assert_eq!(scan::ids_between(&keys(&[1, 2, 4]), false), keys(&[3]));
    assert_eq!(scan::ids_between(&keys(&[i64::MAX]), true), []);
    assert_eq!(scan::ids_between(&keys(&[i64::MIN, i64::MAX]), false).len(), 1);
    assert_eq!(scan::ids_between(&[Key::json(b"\"a\""), Key::json(b"\"b\"")], true), []);
}
