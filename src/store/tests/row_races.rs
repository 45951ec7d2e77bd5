//! Every race between loads, copies, changes and evictions, in a forced order: each test is a sentence
//! of the invariants of [`rows`](crate::store::rows).

use tokio::time::Instant;

use super::scripted_loader::{LAZY, PRELOADED, StagedStore, full, partial, seen};
use crate::key::Key;
use crate::row::RowAfter;
use crate::store::rows::RowStorage;
use crate::store::{ReadRows, RowsError};

const ONE: &str = r#"{"id":1,"big":"b","n":1}"#;
const TWO: &str = r#"{"id":1,"big":"b","n":2}"#;
const THREE: &str = r#"{"id":1,"big":"b","n":3}"#;
/// As the stream sends the second one when `big` did not change.
const TWO_PARTLY: &str = r#"{"id":1,"big":null,"n":2}"#;

impl StagedStore {
    /// Evicts a row from the cache.
    fn evict(&self, id: i64) {
        let shared = &self.harness.store.shared;
        let known = shared.state.read();
        let rows = known.tables[&self.tables[LAZY].oid()].rows.as_ref().unwrap();
        let RowStorage::Lazy(set) = &rows.storage else { panic!("a lazy table") };
        let was_cached = set.change_cached(Key::integer(id), &RowAfter::Unresolved);
        assert!(was_cached, "it was in the cache");
    }

    /// Rows 1 and 2 at one version, if both are available now.
    async fn both(&self) -> Result<ReadRows, RowsError> {
        let keys = [Key::integer(1), Key::integer(2)];
        self.harness.store.rows(&self.tables[LAZY], &keys, Instant::now()).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_that_is_applied_while_an_older_row_is_being_loaded_is_not_undone() {
    let mut staged = StagedStore::new();
    staged.read(LAZY, 1);
    let query = staged.query().await;
    staged.change(880, 10, LAZY, 1, full(TWO));
    query.answer(seen("10:11:10", 880), Some(ONE));
    assert_eq!(staged.returned_row().await.as_deref(), Some(TWO));
    assert_eq!(staged.held(LAZY, 1).await.as_deref(), Some(TWO));
}

#[tokio::test(start_paused = true)]
async fn a_delete_that_is_applied_while_the_row_is_being_loaded_is_not_undone() {
    let mut staged = StagedStore::new();
    staged.read(LAZY, 1);
    let query = staged.query().await;
    staged.change(880, 10, LAZY, 1, RowAfter::Deleted);
    query.answer(seen("10:11:10", 880), Some(ONE));
    assert_eq!(staged.returned_row().await, None);
    assert_eq!(staged.held(LAZY, 1).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_load_that_lacks_an_applied_commit_is_repeated() {
    let mut staged = StagedStore::new();
    staged.change(880, 10, LAZY, 1, full(TWO));
    staged.read(LAZY, 1);
    staged.query().await.answer(seen("10:11:10", 880), Some(ONE));
    staged.query().await.answer(seen("11:11:", 880), Some(TWO));
    assert_eq!(staged.returned_row().await.as_deref(), Some(TWO));
    assert_eq!(staged.held(LAZY, 1).await.as_deref(), Some(TWO));
}

#[tokio::test(start_paused = true)]
async fn a_row_ahead_of_the_stream_is_followed_by_no_older_one() {
    let mut staged = StagedStore::new();
    staged.read(LAZY, 1);
    staged.query().await.answer(seen("12:12:", 960), Some(THREE));
    assert_eq!(staged.returned_row().await.as_deref(), Some(THREE));
    staged.change(880, 10, LAZY, 1, full(TWO));
    assert_eq!(staged.held(LAZY, 1).await.as_deref(), Some(THREE), "it contains that already");
    staged.change(960, 11, LAZY, 1, full(THREE));
    staged.no_query().await;
    assert_eq!(staged.held(LAZY, 1).await.as_deref(), Some(THREE));
    staged.change(1040, 12, LAZY, 1, full(TWO));
    assert_eq!(
        staged.held(LAZY, 1).await.as_deref(),
        Some(TWO),
        "what comes after is not contained"
    );
}

#[tokio::test(start_paused = true)]
async fn rows_at_one_version_wait_for_the_one_that_is_ahead() {
    let mut staged = StagedStore::new();
    staged.read(LAZY, 2);
    staged.query().await.answer(seen("10:10:", 800), Some(ONE));
    staged.returned_row().await;
    // The commit at 880 changes both.
    staged.read(LAZY, 1);
    staged.query().await.answer(seen("11:11:", 880), Some(TWO));
    assert_eq!(staged.returned_row().await.as_deref(), Some(TWO));
    assert!(
        matches!(staged.both().await, Err(RowsError::TemporarilyUnavailable(_))),
        "half a commit"
    );
    staged.commit(880, 10, vec![(LAZY, 1, full(TWO)), (LAZY, 2, full(TWO))]);
    let both = staged.both().await.unwrap();
    assert!(both.rows.iter().all(|row| row.as_ref().unwrap().json() == TWO.as_bytes()));
}

#[tokio::test(start_paused = true)]
async fn a_row_that_was_evicted_is_not_replaced_by_an_older_one() {
    let mut staged = StagedStore::new();
    staged.read(LAZY, 1);
    staged.query().await.answer(seen("10:10:", 800), Some(ONE));
    staged.returned_row().await;
    staged.change(880, 10, LAZY, 1, full(TWO));
    assert_eq!(staged.held(LAZY, 1).await.as_deref(), Some(TWO));
    staged.evict(1);
    staged.read(LAZY, 1);
    staged.query().await.answer(seen("10:11:10", 880), Some(ONE));
    staged.query().await.answer(seen("11:11:", 880), Some(TWO));
    assert_eq!(staged.returned_row().await.as_deref(), Some(TWO));
}

#[tokio::test(start_paused = true)]
async fn a_value_that_was_not_sent_comes_from_the_row_that_was_loaded() {
    let mut staged = StagedStore::new();
    staged.read(LAZY, 1);
    let query = staged.query().await;
    staged.change(880, 10, LAZY, 1, partial(TWO_PARTLY, None));
    query.answer(seen("10:11:10", 880), Some(ONE));
    assert_eq!(staged.returned_row().await.as_deref(), Some(TWO));
    assert_eq!(staged.held(LAZY, 1).await.as_deref(), Some(TWO));
}

#[tokio::test(start_paused = true)]
async fn a_value_that_was_not_sent_and_is_not_cached_is_loaded_and_never_guessed() {
    let mut staged = StagedStore::new();
    staged.change(880, 10, LAZY, 1, partial(TWO_PARTLY, None));
    staged.no_query().await;
    staged.read(LAZY, 1);
    let query = staged.query().await;
    // Inserted by 11, which the snapshot does not see, and changed by 12.
    staged.change(960, 12, LAZY, 1, partial(TWO_PARTLY, None));
    query.answer(seen("11:12:11", 960), None);
    staged.query().await.answer(seen("13:13:", 960), Some(TWO));
    assert_eq!(staged.returned_row().await.as_deref(), Some(TWO));
}

#[tokio::test(start_paused = true)]
async fn a_value_that_was_not_sent_is_loaded_where_a_preloaded_row_is_unknown() {
    let mut staged = StagedStore::preloaded(1, ONE).await;
    staged.change(880, 10, PRELOADED, 1, RowAfter::Unresolved);
    let query = staged.query().await;
    staged.change(960, 11, PRELOADED, 1, partial(THREE.replace("\"b\"", "null").as_str(), None));
    query.answer(seen("11:12:11", 960), Some(TWO));
    staged.pass().await;
    assert_eq!(staged.held(PRELOADED, 1).await.as_deref(), Some(THREE));
    staged.no_query().await;
}

#[tokio::test(start_paused = true)]
async fn a_row_whose_key_changes_while_it_is_being_loaded_is_gone_under_the_old_one() {
    let mut staged = StagedStore::new();
    staged.read(LAZY, 1);
    let query = staged.query().await;
    let moved = r#"{"id":2,"big":null,"n":1}"#;
    staged.commit(880, 10, vec![(LAZY, 1, RowAfter::Deleted), (LAZY, 2, partial(moved, Some(1)))]);
    query.answer(seen("10:11:10", 880), Some(ONE));
    assert_eq!(staged.returned_row().await, None);
    // Under the new key a load that does not see the change is repeated.
    staged.read(LAZY, 2);
    staged.query().await.answer(seen("10:11:10", 880), None);
    staged.query().await.answer(seen("11:11:", 880), Some(r#"{"id":2,"big":"b","n":1}"#));
    assert_eq!(staged.returned_row().await.as_deref(), Some(r#"{"id":2,"big":"b","n":1}"#));
}

#[tokio::test(start_paused = true)]
async fn a_preloaded_row_keeps_values_that_were_not_sent_under_its_new_key() {
    let mut staged = StagedStore::preloaded(1, ONE).await;
    let moved = r#"{"id":2,"big":null,"n":1}"#;
    staged.commit(
        880,
        10,
        vec![(PRELOADED, 1, RowAfter::Deleted), (PRELOADED, 2, partial(moved, Some(1)))],
    );
    assert_eq!(staged.held(PRELOADED, 1).await, None);
    assert_eq!(staged.held(PRELOADED, 2).await.as_deref(), Some(r#"{"id":2,"big":"b","n":1}"#));
    staged.no_query().await;
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_is_delivered_twice_undoes_nothing() {
    for mode in [LAZY, PRELOADED] {
        let mut staged = StagedStore::preloaded(1, ONE).await;
        staged.read(mode, 1);
        if mode == LAZY {
            staged.query().await.answer(seen("10:10:", 800), Some(ONE));
        }
        staged.returned_row().await;
        staged.change(880, 10, mode, 1, full(TWO));
        staged.change(960, 11, mode, 1, full(THREE));
        staged.change(880, 10, mode, 1, full(TWO));
        assert_eq!(staged.held(mode, 1).await.as_deref(), Some(THREE));
    }
}

#[tokio::test(start_paused = true)]
async fn changes_while_a_table_is_copied_are_applied_to_the_copy_unless_it_contains_them() {
    // Whether the change comes before the copy begins, while rows come, or after the last.
    for moment in 0..3 {
        for (snapshot, copied) in [("10:11:10", ONE), ("11:11:", TWO)] {
            let mut staged = StagedStore::new();
            staged.preload();
            let copy = staged.copy().await;
            let when = |staged: &mut StagedStore, now: u32| {
                if now == moment {
                    staged.change(880, 10, PRELOADED, 1, partial(TWO_PARTLY, None));
                }
            };
            when(&mut staged, 0);
            assert!(copy.begin(seen(snapshot, 880)).await);
            when(&mut staged, 1);
            assert!(copy.row(1, copied).await);
            drop(copy);
            staged.pass().await;
            when(&mut staged, 2);
            staged.pass().await;
            assert_eq!(
                staged.held(PRELOADED, 1).await.as_deref(),
                Some(TWO),
                "{moment} {snapshot}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_lacks_an_applied_commit_does_not_begin() {
    let mut staged = StagedStore::new();
    staged.change(880, 10, PRELOADED, 1, full(TWO));
    staged.preload();
    let copy = staged.copy().await;
    assert!(!copy.begin(seen("10:11:10", 880)).await);
    assert!(copy.begin(seen("11:11:", 880)).await);
    copy.row(1, TWO).await;
    drop(copy);
    staged.pass().await;
    assert_eq!(staged.held(PRELOADED, 1).await.as_deref(), Some(TWO));
}

#[tokio::test(start_paused = true)]
async fn a_table_that_is_emptied_while_it_is_copied_is_copied_again() {
    let mut staged = StagedStore::new();
    staged.preload();
    let copy = staged.copy().await;
    assert!(copy.begin(seen("10:10:", 800)).await);
    staged.truncate(880, 10, PRELOADED);
    assert!(!copy.row(1, ONE).await, "it ends");
    let copy = staged.copy().await;
    assert!(!copy.begin(seen("10:11:10", 880)).await, "that may be from before");
    assert!(copy.begin(seen("11:11:", 880)).await);
    drop(copy);
    staged.pass().await;
    assert_eq!(staged.held(PRELOADED, 1).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_table_that_is_emptied_while_a_row_is_being_loaded_has_no_such_row() {
    let mut staged = StagedStore::new();
    staged.read(LAZY, 1);
    let query = staged.query().await;
    staged.truncate(880, 10, LAZY);
    query.answer(seen("10:11:10", 880), Some(ONE));
    assert_eq!(staged.returned_row().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_reload_while_a_table_is_copied_discards_the_copy() {
    let mut staged = StagedStore::preloaded(1, ONE).await;
    staged.harness.store.reload(&staged.tables[PRELOADED..=PRELOADED]);
    staged.pass().await;
    let first = staged.copy().await;
    assert!(first.begin(seen("10:10:", 800)).await);
    staged.harness.store.reload(&staged.tables[PRELOADED..=PRELOADED]);
    staged.pass().await;
    assert!(!first.row(1, TWO).await, "it ends");
    assert_eq!(
        staged.held(PRELOADED, 1).await.as_deref(),
        Some(ONE),
        "served until the new copy is here"
    );
    let second = staged.copy().await;
    assert!(second.begin(seen("10:10:", 800)).await);
    second.row(1, THREE).await;
    drop(second);
    staged.pass().await;
    assert_eq!(staged.held(PRELOADED, 1).await.as_deref(), Some(THREE));
}

#[tokio::test(start_paused = true)]
async fn a_lazy_table_that_is_reloaded_while_a_row_is_being_loaded_discards_the_result() {
    let mut staged = StagedStore::new();
    staged.read(LAZY, 1);
    let query = staged.query().await;
    staged.harness.store.reload(&staged.tables[LAZY..=LAZY]);
    staged.pass().await;
    query.answer(seen("10:10:", 800), Some(ONE));
    staged.query().await.answer(seen("10:10:", 800), Some(TWO));
    assert_eq!(staged.returned_row().await.as_deref(), Some(TWO));
    assert_eq!(staged.held(LAZY, 1).await.as_deref(), Some(TWO));
}
