//! Scans: which rows are compared next.

use crate::key::Key;
use crate::store::cache::CachedKey;
use crate::store::rows::RowStorage;
use crate::store::state::{Store, StoreState};
use crate::table::TableOid;

/// One pass over the cached rows of one table.
#[derive(Debug)]
pub(super) struct TableScan {
    table: TableOid,
    rest: Rest,
}

#[derive(Debug)]
enum Rest {
    /// The rows of a preloaded table after this key.
    After(Option<Key>),
    /// These keys of a lazy table: those in the cache when the scan began.
    Listed(Vec<CachedKey<Key>>),
    Nothing,
}

impl TableScan {
    pub(super) fn begin(store: &Store, table: TableOid) -> Self {
        let generation = {
            let state = store.shared.state.read();
            let rows = state.tables.get(&table).and_then(|table| table.rows.as_ref());
            match rows.map(|rows| &rows.storage) {
                None => return Self { table, rest: Rest::Nothing },
                Some(RowStorage::Preloaded(_)) => return Self { table, rest: Rest::After(None) },
                Some(RowStorage::Lazy(set)) => set.generation(),
            }
        };
        // Without the lock: it takes time proportional to the whole cache.
        Self { table, rest: Rest::Listed(store.shared.cache.keys(generation)) }
    }

    /// The next keys: those of at most `rows` rows, and of a preloaded table as many ids between
    /// them. `None` at the end.
    pub(super) fn next_keys(&mut self, store: &Store, rows: usize) -> Option<Vec<Key>> {
        let keys = match &mut self.rest {
            Rest::Nothing => return None,
            Rest::Listed(listed) => {
                let taken = listed.drain(listed.len().saturating_sub(rows)..);
                taken.map(|cached| cached.key().clone()).collect()
            }
            Rest::After(after) => {
                let state = store.shared.state.read();
                let mut keys = cached_after(&state, self.table, after.as_ref(), rows + 1);
                let between = ids_between(&keys, keys.len() <= rows);
                keys.truncate(rows);
                *after = keys.last().cloned();
                keys.extend(between);
                keys
            }
        };
        if keys.is_empty() {
            self.rest = Rest::Nothing;
            return None;
        }
        Some(keys)
    }
}

/// The keys of the first cached rows after a key.
fn cached_after(state: &StoreState, table: TableOid, after: Option<&Key>, rows: usize) -> Vec<Key> {
    let rows_of_table = state.tables.get(&table).and_then(|table| table.rows.as_ref());
    let Some(RowStorage::Preloaded(preload)) = rows_of_table.map(|rows| &rows.storage) else {
        return Vec::new();
    };
    let map = preload.rows.iter().flat_map(|map| map.after(after));
    map.take(rows).map(|(key, _)| key.clone()).collect()
}

/// Of integers: a random one between each and the next, and at the end the one after the last.
pub(super) fn ids_between(keys: &[Key], to_the_end: bool) -> Vec<Key> {
    let integers: Vec<i64> = keys.iter().filter_map(Key::as_integer).collect();
    let between = integers.windows(2).filter_map(|pair| match pair {
        [low, high] if high.saturating_sub(*low) > 1 => Some(fastrand::i64(low + 1..*high)),
        _ => None,
    });
    let after_last = integers.last().filter(|_| to_the_end).and_then(|last| last.checked_add(1));
    between.chain(after_last).map(Key::integer).collect()
}

/// Scans of one table after the other, in an endless round.
#[derive(Debug, Default)]
pub(super) struct RoundRobin {
    scan: Option<TableScan>,
}

impl RoundRobin {
    /// The next keys; `None` when no table's rows are cached.
    pub(super) fn next_keys(&mut self, store: &Store, rows: usize) -> Option<(TableOid, Vec<Key>)> {
        let tables = store.shared.state.read().cached_tables();
        // The current table, each of the others, and this one again.
        for _ in 0..=tables.len() + 1 {
            if let Some(scan) = &mut self.scan
                && let Some(keys) = scan.next_keys(store, rows)
            {
                return Some((scan.table, keys));
            }
            let last = self.scan.as_ref().map(|scan| scan.table);
            let following = tables.iter().find(|table| last.is_none_or(|last| **table > last));
            let next = following.or(tables.first())?;
            self.scan = Some(TableScan::begin(store, *next));
        }
        None
    }
}

impl StoreState {
    /// The tables whose rows are cached.
    pub(super) fn cached_tables(&self) -> Vec<TableOid> {
        let cached = self.tables.iter().filter(|(_, table)| table.rows.is_some());
        cached.map(|(oid, _)| *oid).collect()
    }
}
