//! Which rows are compared next.

use crate::key::Key;
use crate::store::rows::cache::CachedKey;
use crate::store::rows::table::RowStorage;
use crate::store::state::Store;
use crate::store::state::StoreState;
use crate::table::TableOid;

/// One way through what is in memory of one table.
#[derive(Debug)]
pub(super) struct TableScan {
    table: TableOid,
    left: Left,
}

#[derive(Debug)]
enum Left {
    /// The rows of a preloaded table behind this key.
    After(Option<Key>),
    /// These keys of a table that is read through: those in the cache when the sweep began.
    Listed(Vec<CachedKey>),
    Nothing,
}

impl TableScan {
    pub(super) fn begin(store: &Store, table: TableOid) -> Self {
        let share = {
            let state = store.shared.state.read();
            let rows = state.tables.get(&table).and_then(|table| table.rows.as_ref());
            match rows.map(|rows| &rows.storage) {
                None => return Self { table, left: Left::Nothing },
                Some(RowStorage::Preload(_)) => return Self { table, left: Left::After(None) },
                Some(RowStorage::Lazy(share)) => share.clone(),
            }
        };
        Self { table, left: Left::Listed(store.shared.cache.keys(share.generation())) }
    }

    /// The next keys: those of at most `rows` rows, and of a preloaded table as many ids between
    /// them. `None` at the end.
    pub(super) fn next_keys(&mut self, store: &Store, rows: usize) -> Option<Vec<Key>> {
        let keys = match &mut self.left {
            Left::Nothing => return None,
            Left::Listed(listed) => {
                let taken = listed.drain(listed.len().saturating_sub(rows)..);
                taken.map(|held| held.key().clone()).collect()
            }
            Left::After(after) => {
                let state = store.shared.state.read();
                let mut keys = held_behind(&state, self.table, after.as_ref(), rows + 1);
                let between = ids_between(&keys, keys.len() <= rows);
                keys.truncate(rows);
                *after = keys.last().cloned();
                keys.extend(between);
                keys
            }
        };
        if keys.is_empty() {
            self.left = Left::Nothing;
            return None;
        }
        Some(keys)
    }
}

/// The keys of the first rows behind a key.
fn held_behind(state: &StoreState, table: TableOid, after: Option<&Key>, rows: usize) -> Vec<Key> {
    let held = state.tables.get(&table).and_then(|table| table.rows.as_ref());
    let Some(RowStorage::Preload(preload)) = held.map(|rows| &rows.storage) else {
        return Vec::new();
    };
    let map = preload.rows.iter().flat_map(|map| map.after(after));
    map.take(rows).map(|(key, _)| key.clone()).collect()
}

/// Of integers: one at random between each and the next, and at the end the one behind the last.
pub(super) fn ids_between(keys: &[Key], to_the_end: bool) -> Vec<Key> {
    let integers: Vec<i64> = keys.iter().filter_map(Key::as_integer).collect();
    let between = integers.windows(2).filter_map(|pair| match pair {
        [low, high] if high.saturating_sub(*low) > 1 => Some(fastrand::i64(low + 1..*high)),
        _ => None,
    });
    let behind = integers.last().filter(|_| to_the_end).and_then(|last| last.checked_add(1));
    between.chain(behind).map(Key::integer).collect()
}

/// One table after the other, again and again.
#[derive(Debug, Default)]
pub(super) struct RoundRobin {
    sweep: Option<TableScan>,
}

impl RoundRobin {
    /// The next keys; `None` when nothing is held.
    pub(super) fn next_keys(&mut self, store: &Store, rows: usize) -> Option<(TableOid, Vec<Key>)> {
        let tables = store.shared.state.read().held_tables();
        // The table at hand, each of the others, and this one again.
        for _ in 0..=tables.len() + 1 {
            if let Some(sweep) = &mut self.sweep
                && let Some(keys) = sweep.next_keys(store, rows)
            {
                return Some((sweep.table, keys));
            }
            let last = self.sweep.as_ref().map(|sweep| sweep.table);
            let following = tables.iter().find(|table| last.is_none_or(|last| **table > last));
            let next = following.or(tables.first())?;
            self.sweep = Some(TableScan::begin(store, *next));
        }
        None
    }
}

impl StoreState {
    /// The tables of which rows are held.
    pub(super) fn held_tables(&self) -> Vec<TableOid> {
        let held = self.tables.iter().filter(|(_, table)| table.rows.is_some());
        held.map(|(oid, _)| *oid).collect()
    }
}
