//! Every race between loads, copies, changes and evictions, its order forced: each test is a sentence of
//! the rules at the head of [`rows`](super).

use tokio::time::Instant;

use super::staged::{LAZY, PRELOADED, StagedStore, partial, seen, whole};
use super::table::RowStorage;
use super::{ReadRows, RowsError};
use crate::key::Key;
use crate::row::RowAfter;

const ONE: &str = r#"{"id":1,"big":"b","n":1}"#;
const TWO: &str = r#"{"id":1,"big":"b","n":2}"#;
const THREE: &str = r#"{"id":1,"big":"b","n":3}"#;
/// As the stream tells of the second one when `big` did not change.
const TWO_PARTLY: &str = r#"{"id":1,"big":null,"n":2}"#;

impl StagedStore {
    /// A row leaves the cache, as the least recently used do.
    fn evict(&self, id: i64) {
        let shared = &self.bench.store.shared;
        let known = shared.state.read();
        let rows = known.tables[&self.tables[LAZY].oid()].rows.as_ref().unwrap();
        let RowStorage::Lazy(share) = &rows.storage else { panic!("a lazy table") };
        assert!(
            shared.cache.change(share, Key::integer(id), &RowAfter::Unresolved, true),
            "it was there"
        );
    }

    /// Rows 1 and 2 at one version, if they can be had now.
    async fn both(&self) -> Result<ReadRows, RowsError> {
        let keys = [Key::integer(1), Key::integer(2)];
        self.bench.store.rows(&self.tables[LAZY], &keys, Instant::now()).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_that_is_applied_while_an_older_row_is_on_its_way_is_not_undone() {
    let mut stage = StagedStore::new();
    stage.read(LAZY, 1);
    let query = stage.query().await;
    stage.change(880, 10, LAZY, 1, whole(TWO));
    query.answer(seen("10:11:10", 880), Some(ONE));
    assert_eq!(stage.told().await.as_deref(), Some(TWO));
    assert_eq!(stage.held(LAZY, 1).await.as_deref(), Some(TWO));
}

#[tokio::test(start_paused = true)]
async fn a_delete_that_is_applied_while_the_row_is_on_its_way_is_not_undone() {
    let mut stage = StagedStore::new();
    stage.read(LAZY, 1);
    let query = stage.query().await;
    stage.change(880, 10, LAZY, 1, RowAfter::Deleted);
    query.answer(seen("10:11:10", 880), Some(ONE));
    assert_eq!(stage.told().await, None);
    assert_eq!(stage.held(LAZY, 1).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_load_that_does_not_see_what_was_applied_before_it_is_made_again() {
    let mut stage = StagedStore::new();
    stage.change(880, 10, LAZY, 1, whole(TWO));
    stage.read(LAZY, 1);
    stage.query().await.answer(seen("10:11:10", 880), Some(ONE));
    stage.query().await.answer(seen("11:11:", 880), Some(TWO));
    assert_eq!(stage.told().await.as_deref(), Some(TWO));
    assert_eq!(stage.held(LAZY, 1).await.as_deref(), Some(TWO));
}

#[tokio::test(start_paused = true)]
async fn a_row_ahead_of_the_stream_is_followed_by_no_older_one() {
    let mut stage = StagedStore::new();
    stage.read(LAZY, 1);
    stage.query().await.answer(seen("12:12:", 960), Some(THREE));
    assert_eq!(stage.told().await.as_deref(), Some(THREE));
    stage.change(880, 10, LAZY, 1, whole(TWO));
    assert_eq!(stage.held(LAZY, 1).await.as_deref(), Some(THREE), "it contains that already");
    stage.change(960, 11, LAZY, 1, whole(THREE));
    stage.no_query().await;
    assert_eq!(stage.held(LAZY, 1).await.as_deref(), Some(THREE));
    stage.change(1040, 12, LAZY, 1, whole(TWO));
    assert_eq!(
        stage.held(LAZY, 1).await.as_deref(),
        Some(TWO),
        "what comes after is not contained"
    );
}

#[tokio::test(start_paused = true)]
async fn rows_at_one_version_wait_for_the_one_that_is_ahead() {
    let mut stage = StagedStore::new();
    stage.read(LAZY, 2);
    stage.query().await.answer(seen("10:10:", 800), Some(ONE));
    stage.told().await;
    // The commit at 880 changes both.
    stage.read(LAZY, 1);
    stage.query().await.answer(seen("11:11:", 880), Some(TWO));
    assert_eq!(stage.told().await.as_deref(), Some(TWO));
    assert!(
        matches!(stage.both().await, Err(RowsError::TemporarilyUnavailable(_))),
        "half a commit"
    );
    stage.commit(880, 10, vec![(LAZY, 1, whole(TWO)), (LAZY, 2, whole(TWO))]);
    let both = stage.both().await.unwrap();
    assert!(both.rows.iter().all(|row| row.as_ref().unwrap().json() == TWO.as_bytes()));
}

#[tokio::test(start_paused = true)]
async fn a_row_that_was_evicted_is_not_replaced_by_an_older_one() {
    let mut stage = StagedStore::new();
    stage.read(LAZY, 1);
    stage.query().await.answer(seen("10:10:", 800), Some(ONE));
    stage.told().await;
    stage.change(880, 10, LAZY, 1, whole(TWO));
    assert_eq!(stage.held(LAZY, 1).await.as_deref(), Some(TWO));
    stage.evict(1);
    stage.read(LAZY, 1);
    stage.query().await.answer(seen("10:11:10", 880), Some(ONE));
    stage.query().await.answer(seen("11:11:", 880), Some(TWO));
    assert_eq!(stage.told().await.as_deref(), Some(TWO));
}

#[tokio::test(start_paused = true)]
async fn a_value_that_was_not_sent_comes_from_the_row_that_was_loaded() {
    let mut stage = StagedStore::new();
    stage.read(LAZY, 1);
    let query = stage.query().await;
    stage.change(880, 10, LAZY, 1, partial(TWO_PARTLY, None));
    query.answer(seen("10:11:10", 880), Some(ONE));
    assert_eq!(stage.told().await.as_deref(), Some(TWO));
    assert_eq!(stage.held(LAZY, 1).await.as_deref(), Some(TWO));
}

#[tokio::test(start_paused = true)]
async fn a_value_that_was_not_sent_and_is_nowhere_is_asked_for_and_never_guessed() {
    let mut stage = StagedStore::new();
    stage.change(880, 10, LAZY, 1, partial(TWO_PARTLY, None));
    stage.no_query().await;
    stage.read(LAZY, 1);
    let query = stage.query().await;
    // Inserted by 11, which the snapshot does not see, and changed by 12.
    stage.change(960, 12, LAZY, 1, partial(TWO_PARTLY, None));
    query.answer(seen("11:12:11", 960), None);
    stage.query().await.answer(seen("13:13:", 960), Some(TWO));
    assert_eq!(stage.told().await.as_deref(), Some(TWO));
}

#[tokio::test(start_paused = true)]
async fn a_value_that_was_not_sent_is_asked_for_where_a_preloaded_row_is_unknown() {
    let mut stage = StagedStore::preloaded(1, ONE).await;
    stage.change(880, 10, PRELOADED, 1, RowAfter::Unresolved);
    let query = stage.query().await;
    stage.change(960, 11, PRELOADED, 1, partial(THREE.replace("\"b\"", "null").as_str(), None));
    query.answer(seen("11:12:11", 960), Some(TWO));
    stage.pass().await;
    assert_eq!(stage.held(PRELOADED, 1).await.as_deref(), Some(THREE));
    stage.no_query().await;
}

#[tokio::test(start_paused = true)]
async fn a_row_whose_key_changes_while_it_is_on_its_way_is_gone_under_the_old_one() {
    let mut stage = StagedStore::new();
    stage.read(LAZY, 1);
    let query = stage.query().await;
    let moved = r#"{"id":2,"big":null,"n":1}"#;
    stage.commit(880, 10, vec![(LAZY, 1, RowAfter::Deleted), (LAZY, 2, partial(moved, Some(1)))]);
    query.answer(seen("10:11:10", 880), Some(ONE));
    assert_eq!(stage.told().await, None);
    // Under the new key a load that sees nothing of it is of no use.
    stage.read(LAZY, 2);
    stage.query().await.answer(seen("10:11:10", 880), None);
    stage.query().await.answer(seen("11:11:", 880), Some(r#"{"id":2,"big":"b","n":1}"#));
    assert_eq!(stage.told().await.as_deref(), Some(r#"{"id":2,"big":"b","n":1}"#));
}

#[tokio::test(start_paused = true)]
async fn a_preloaded_row_takes_what_was_not_sent_along_to_its_new_key() {
    let mut stage = StagedStore::preloaded(1, ONE).await;
    let moved = r#"{"id":2,"big":null,"n":1}"#;
    stage.commit(
        880,
        10,
        vec![(PRELOADED, 1, RowAfter::Deleted), (PRELOADED, 2, partial(moved, Some(1)))],
    );
    assert_eq!(stage.held(PRELOADED, 1).await, None);
    assert_eq!(stage.held(PRELOADED, 2).await.as_deref(), Some(r#"{"id":2,"big":"b","n":1}"#));
    stage.no_query().await;
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_is_delivered_twice_undoes_nothing() {
    for mode in [LAZY, PRELOADED] {
        let mut stage = StagedStore::preloaded(1, ONE).await;
        stage.read(mode, 1);
        if mode == LAZY {
            stage.query().await.answer(seen("10:10:", 800), Some(ONE));
        }
        stage.told().await;
        stage.change(880, 10, mode, 1, whole(TWO));
        stage.change(960, 11, mode, 1, whole(THREE));
        stage.change(880, 10, mode, 1, whole(TWO));
        assert_eq!(stage.held(mode, 1).await.as_deref(), Some(THREE));
    }
}

#[tokio::test(start_paused = true)]
async fn changes_while_a_table_is_copied_are_laid_over_the_copy_unless_it_contains_them() {
    // Whether the change comes before the copy begins, while rows come, or after the last.
    for moment in 0..3 {
        for (snapshot, copied) in [("10:11:10", ONE), ("11:11:", TWO)] {
            let mut stage = StagedStore::new();
            stage.preload();
            let copy = stage.copy().await;
            let when = |stage: &mut StagedStore, now: u32| {
                if now == moment {
                    stage.change(880, 10, PRELOADED, 1, partial(TWO_PARTLY, None));
                }
            };
            when(&mut stage, 0);
            assert!(copy.begin(seen(snapshot, 880)).await);
            when(&mut stage, 1);
            assert!(copy.row(1, copied).await);
            drop(copy);
            stage.pass().await;
            when(&mut stage, 2);
            stage.pass().await;
            assert_eq!(stage.held(PRELOADED, 1).await.as_deref(), Some(TWO), "{moment} {snapshot}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_does_not_see_what_was_applied_before_it_is_not_begun() {
    let mut stage = StagedStore::new();
    stage.change(880, 10, PRELOADED, 1, whole(TWO));
    stage.preload();
    let copy = stage.copy().await;
    assert!(!copy.begin(seen("10:11:10", 880)).await);
    assert!(copy.begin(seen("11:11:", 880)).await);
    copy.row(1, TWO).await;
    drop(copy);
    stage.pass().await;
    assert_eq!(stage.held(PRELOADED, 1).await.as_deref(), Some(TWO));
}

#[tokio::test(start_paused = true)]
async fn a_table_that_is_emptied_while_it_is_copied_is_copied_again() {
    let mut stage = StagedStore::new();
    stage.preload();
    let copy = stage.copy().await;
    assert!(copy.begin(seen("10:10:", 800)).await);
    stage.truncate(880, 10, PRELOADED);
    assert!(!copy.row(1, ONE).await, "it ends");
    let copy = stage.copy().await;
    assert!(!copy.begin(seen("10:11:10", 880)).await, "that may be from before");
    assert!(copy.begin(seen("11:11:", 880)).await);
    drop(copy);
    stage.pass().await;
    assert_eq!(stage.held(PRELOADED, 1).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_table_that_is_emptied_while_a_row_is_on_its_way_has_no_such_row() {
    let mut stage = StagedStore::new();
    stage.read(LAZY, 1);
    let query = stage.query().await;
    stage.truncate(880, 10, LAZY);
    query.answer(seen("10:11:10", 880), Some(ONE));
    assert_eq!(stage.told().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_reload_while_a_table_is_copied_begins_anew_and_the_first_copy_is_of_no_use() {
    let mut stage = StagedStore::preloaded(1, ONE).await;
    stage.bench.store.reload(&stage.tables[PRELOADED..=PRELOADED]);
    stage.pass().await;
    let first = stage.copy().await;
    assert!(first.begin(seen("10:10:", 800)).await);
    stage.bench.store.reload(&stage.tables[PRELOADED..=PRELOADED]);
    stage.pass().await;
    assert!(!first.row(1, TWO).await, "it ends");
    assert_eq!(
        stage.held(PRELOADED, 1).await.as_deref(),
        Some(ONE),
        "served until the new copy is here"
    );
    let second = stage.copy().await;
    assert!(second.begin(seen("10:10:", 800)).await);
    second.row(1, THREE).await;
    drop(second);
    stage.pass().await;
    assert_eq!(stage.held(PRELOADED, 1).await.as_deref(), Some(THREE));
}

#[tokio::test(start_paused = true)]
async fn a_lazy_table_that_is_reloaded_while_a_row_is_on_its_way_forgets_the_answer() {
    let mut stage = StagedStore::new();
    stage.read(LAZY, 1);
    let query = stage.query().await;
    stage.bench.store.reload(&stage.tables[LAZY..=LAZY]);
    stage.pass().await;
    query.answer(seen("10:10:", 800), Some(ONE));
    stage.query().await.answer(seen("10:10:", 800), Some(TWO));
    assert_eq!(stage.told().await.as_deref(), Some(TWO));
    assert_eq!(stage.held(LAZY, 1).await.as_deref(), Some(TWO));
}
