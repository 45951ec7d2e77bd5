//! The stage: what one open transaction has changed so far, kept small whatever its size.
//!
//! Pure. Changes are held in stream order until the commit. Two limits bound them:
//! [`StageLimits::max_changes`] distinct rows of a table and [`StageLimits::max_bytes`] for the whole
//! transaction. At a limit the table is no longer staged and will be reset by the commit: precision
//! is given up, never truth.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::change::{Change, Op, Reset, ResetReason};
use crate::key::Key;
use crate::table::TableOid;

/// Bounds of one transaction's stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StageLimits {
    /// Distinct rows of one table (`log.max_transaction_changes`).
    pub max_changes: usize,
    /// Bytes of all staged changes together (`log.max_transaction_bytes`).
    pub max_bytes: usize,
}

/// Changes of one open transaction.
#[derive(Debug)]
pub struct Stage {
    limits: StageLimits,
    changes: Vec<Change>,
    resets: Vec<Reset>,
    tables: HashMap<TableOid, Staged, hashbrown::DefaultHashBuilder>,
    /// The ordinal of the last row counted.
    ordinal: u32,
    bytes: usize,
}

/// What is staged of one table.
#[derive(Debug)]
struct Staged {
    changes: usize,
    bytes: usize,
    /// Merge changes of the same row when there are this many.
    merge_at: usize,
    /// The commit will reset the table; nothing of it is staged any more.
    reset: bool,
}

impl Staged {
    fn new(limits: StageLimits) -> Self {
        let merge_at = limits.max_changes.saturating_add(1);
        Self { changes: 0, bytes: 0, merge_at, reset: false }
    }
}

impl Stage {
    /// Beyond this many ordinals (two billion rows in one commit) tables are reset.
    const ORDINAL_MAX: u32 = u32::MAX - 2;

    /// An empty stage.
    pub fn new(limits: StageLimits) -> Self {
        Self {
            limits,
            changes: Vec::new(),
            resets: Vec::new(),
            tables: HashMap::default(),
            ordinal: 0,
            bytes: 0,
        }
    }

    /// Counts a row change, told or not. Every row takes two ordinals, the first for the old id of a
    /// changed key, so that every instance counts alike, whatever it knows of the table.
    pub fn next_row(&mut self) {
        self.ordinal = self.ordinal.saturating_add(2);
    }

    /// Adds what happened to the row just counted.
    pub fn push(&mut self, table: TableOid, op: Op, key: Key) {
        self.push_at(self.ordinal, table, op, key);
    }

    /// Adds that the row just counted has another key now: for clients two rows.
    pub fn push_key_change(&mut self, table: TableOid, old: Key, new: Key) {
        self.push_at(self.ordinal - 1, table, Op::Delete, old);
        self.push_at(self.ordinal, table, Op::Insert, new);
    }

    fn push_at(&mut self, ordinal: u32, table: TableOid, op: Op, key: Key) {
        if ordinal >= Self::ORDINAL_MAX {
            self.reset(table, ResetReason::LargeTransaction);
            return;
        }
        let limits = self.limits;
        let staged = self.tables.entry(table).or_insert_with(|| Staged::new(limits));
        if staged.reset {
            return;
        }
        let bytes = size_of::<Change>() + key.heap_bytes();
        staged.changes += 1;
        staged.bytes += bytes;
        self.bytes += bytes;
        let full = staged.changes >= staged.merge_at;
        self.changes.push(Change { table, key, op, ordinal });
        if full {
            self.merge(table);
        }
        if self.bytes > limits.max_bytes {
            self.shed();
        }
    }

    /// The commit will reset this table.
    pub fn reset(&mut self, table: TableOid, reason: ResetReason) {
        let limits = self.limits;
        let staged = self.tables.entry(table).or_insert_with(|| Staged::new(limits));
        if std::mem::replace(&mut staged.reset, true) {
            return;
        }
        self.bytes -= std::mem::take(&mut staged.bytes);
        if std::mem::take(&mut staged.changes) > 0 {
            self.changes.retain(|change| change.table != table);
        }
        self.resets.push(Reset { table, reason });
    }

    /// Whether the transaction concerns no published table.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.resets.is_empty()
    }

    /// Hands out the transaction's changes and resets, and is empty again.
    pub fn take(&mut self) -> (Vec<Change>, Vec<Reset>) {
        self.tables.clear();
        self.ordinal = 0;
        self.bytes = 0;
        (std::mem::take(&mut self.changes), std::mem::take(&mut self.resets))
    }

    /// Merges the changes of each row of `table` into one, placed at its last change. When more rows
    /// than the limit remain, the table is reset instead.
    fn merge(&mut self, table: TableOid) {
        let mut merged = HashMap::<Key, Merged, hashbrown::DefaultHashBuilder>::default();
        for change in self.changes.iter().filter(|change| change.table == table) {
            match merged.entry(change.key.clone()) {
                Entry::Occupied(mut seen) => seen.get_mut().then(change),
                Entry::Vacant(place) => {
                    place.insert(Merged::first(change));
                }
            }
        }
        if merged.len() > self.limits.max_changes {
            self.reset(table, ResetReason::LargeTransaction);
            return;
        }
        let mut bytes = 0;
        let mut kept = 0;
        self.changes.retain_mut(|change| {
            if change.table != table {
                return true;
            }
            let last = merged.get(&change.key).filter(|m| m.ordinal == change.ordinal);
            let Some(op) = last.and_then(Merged::op) else { return false };
            change.op = op;
            kept += 1;
            bytes += size_of::<Change>() + change.key.heap_bytes();
            true
        });
        if let Some(staged) = self.tables.get_mut(&table) {
            self.bytes = self.bytes - staged.bytes + bytes;
            staged.bytes = bytes;
            staged.changes = kept;
            // Room to grow before the next merge, so that merging costs each change O(1).
            staged.merge_at = kept * 2 + self.limits.max_changes.div_ceil(2) + 1;
        }
    }

    /// Resets the table with the most staged bytes, until half of the limit is free.
    fn shed(&mut self) {
        while self.bytes > self.limits.max_bytes / 2 {
            let largest = self.tables.iter().max_by_key(|(oid, staged)| (staged.bytes, **oid));
            let Some(largest) = largest.map(|(oid, _)| *oid) else { return };
            self.reset(largest, ResetReason::LargeTransaction);
        }
    }

    /// Applies the row limit exactly: called once before the commit.
    pub fn settle(&mut self) {
        let over: Vec<TableOid> = self
            .tables
            .iter()
            .filter(|(_, staged)| staged.changes > self.limits.max_changes)
            .map(|(oid, _)| *oid)
            .collect();
        for table in over {
            self.merge(table);
        }
    }
}

/// The changes of one row inside a transaction, as seen from outside.
struct Merged {
    existed_before: bool,
    exists_after: bool,
    ordinal: u32,
}

impl Merged {
    fn first(change: &Change) -> Self {
        Self {
            existed_before: change.op != Op::Insert,
            exists_after: change.op != Op::Delete,
            ordinal: change.ordinal,
        }
    }

    fn then(&mut self, change: &Change) {
        self.exists_after = change.op != Op::Delete;
        self.ordinal = change.ordinal;
    }

    fn op(&self) -> Option<Op> {
        match (self.existed_before, self.exists_after) {
            (false, true) => Some(Op::Insert),
            (true, true) => Some(Op::Update),
            (true, false) => Some(Op::Delete),
            (false, false) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: TableOid = TableOid(1);
    const U: TableOid = TableOid(2);

    fn stage(max_changes: usize) -> Stage {
        Stage::new(StageLimits { max_changes, max_bytes: 1 << 20 })
    }

    fn push(stage: &mut Stage, table: TableOid, op: Op, key: Key) {
        stage.next_row();
        stage.push(table, op, key);
    }

    fn ops(changes: &[Change]) -> Vec<(u32, Op, String)> {
        changes.iter().map(|c| (c.ordinal, c.op, format!("{:?}", c.key))).collect()
    }

    #[test]
    fn keeps_stream_order_and_counts_from_one() {
        let mut stage = stage(10);
        push(&mut stage, T, Op::Insert, Key::integer(7));
        push(&mut stage, U, Op::Delete, Key::integer(8));
        stage.settle();
        let (changes, resets) = stage.take();
        assert_eq!(ops(&changes), [(2, Op::Insert, "7".into()), (4, Op::Delete, "8".into())]);
        assert!(resets.is_empty() && stage.is_empty());
        push(&mut stage, T, Op::Update, Key::integer(7));
        assert_eq!(stage.take().0[0].ordinal, 2);
    }

    #[test]
    fn exactly_the_limit_is_told_and_one_more_row_resets() {
        for (rows, is_reset) in [(5, false), (6, true)] {
            let mut stage = stage(5);
            for id in 0..rows {
                push(&mut stage, T, Op::Insert, Key::integer(id));
                push(&mut stage, U, Op::Update, Key::integer(0));
            }
            stage.settle();
            let (changes, resets) = stage.take();
            assert_eq!(resets.iter().any(|r| r.table == T), is_reset, "{rows} rows");
            assert!(changes.iter().any(|c| c.table == U), "other tables are told");
            assert_eq!(changes.iter().any(|c| c.table == T), !is_reset);
        }
    }

    #[test]
    fn a_few_rows_changed_often_are_told_however_often() {
        let mut stage = stage(5);
        for round in 0..10_000 {
            push(&mut stage, T, Op::Update, Key::integer(round % 5));
            assert!(stage.changes.len() <= 16, "{} staged", stage.changes.len());
        }
        stage.settle();
        let (changes, resets) = stage.take();
        assert!(resets.is_empty());
        let mut told: Vec<_> = changes.iter().map(|c| format!("{:?}", c.key)).collect();
        told.sort();
        told.dedup();
        assert_eq!(told, ["0", "1", "2", "3", "4"]);
    }

    #[test]
    fn merging_tells_what_is_true_of_the_whole_commit() {
        let mut stage = stage(4);
        let rows = [
            (Op::Insert, 1),
            (Op::Update, 1), // insert
            (Op::Delete, 2),
            (Op::Insert, 2), // update
            (Op::Insert, 3),
            (Op::Delete, 3), // nothing
            (Op::Update, 4),
            (Op::Delete, 4), // delete
        ];
        for (op, id) in rows {
            push(&mut stage, T, op, Key::integer(id));
        }
        stage.merge(T);
        let (changes, _) = stage.take();
        let expected = [
            (4, Op::Insert, "1".into()),
            (8, Op::Update, "2".into()),
            (16, Op::Delete, "4".into()),
        ];
        assert_eq!(ops(&changes), expected);
    }

    #[test]
    fn wide_keys_are_bounded_by_bytes() {
        let mut stage = Stage::new(StageLimits { max_changes: 1_000_000, max_bytes: 100_000 });
        push(&mut stage, U, Op::Update, Key::integer(1));
        for id in 0..100_u8 {
            push(&mut stage, T, Op::Insert, Key::json(&[id; 8_000]));
            assert!(stage.bytes <= 100_000 + 9_000);
        }
        let (changes, resets) = stage.take();
        assert_eq!(resets, [Reset { table: T, reason: ResetReason::LargeTransaction }]);
        assert_eq!(changes.len(), 1);
    }

    #[test]
    fn a_reset_table_is_not_staged_again() {
        let mut stage = stage(10);
        push(&mut stage, T, Op::Insert, Key::integer(1));
        stage.reset(T, ResetReason::Truncate);
        push(&mut stage, T, Op::Insert, Key::integer(2));
        stage.reset(T, ResetReason::NoKey);
        let (changes, resets) = stage.take();
        assert!(changes.is_empty());
        assert_eq!(resets, [Reset { table: T, reason: ResetReason::Truncate }]);
    }

    #[test]
    fn a_changed_key_is_two_rows_with_ordinals_of_their_own() {
        let mut stage = stage(10);
        push(&mut stage, T, Op::Insert, Key::integer(1));
        stage.next_row();
        stage.push_key_change(T, Key::integer(1), Key::integer(2));
        let (changes, _) = stage.take();
        let expected =
            [(2, Op::Insert, "1".into()), (3, Op::Delete, "1".into()), (4, Op::Insert, "2".into())];
        assert_eq!(ops(&changes), expected);
    }
}
