//! The log of a table's rows by scope: the changes for each combination of values of some scope
//! columns, found without reading those of others.
//!
//! An entry is an id *in a scope*. A row that moves from one scope to another is deleted from the
//! first and inserted into the second, as if its key had changed, and the log's rules for lifetimes
//! apply to each of the two. In one scope every id has at most one entry.
//!
//! Beside the order of all changes, by which they are evicted, every scope has an order of its own.
//! So a query costs time for the changes it returns, however many there are in other scopes, and
//! its duration reveals nothing of them.

use std::hash::BuildHasher;

use hashbrown::DefaultHashBuilder;

use super::entries::{LogKey, Partitions};
use super::index::Index;
use super::order::{Order, OrderEntry};
use super::slab::Slab;
use super::{Evict, LatestChange, VersionLog};
use crate::change::{CommitTime, Op, ScopeTransition};
use crate::key::Key;
use crate::scope::{ScopeColumnSet, ScopeValues};
use crate::version::Position;

/// An id in one scope.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct ScopedId {
    key: Key,
    /// The scope's number; assigned while the scope has entries.
    scope: u32,
}

/// A table's log for callers whose scope is a combination of values of the same scope columns.
#[derive(Debug)]
pub(crate) struct ScopedLog {
    /// The scope columns whose values distinguish its scopes.
    columns: ScopeColumnSet,
    log: VersionLog<ScopedId>,
}

/// The scopes that have entries.
#[derive(Debug, Default)]
pub(crate) struct Scopes {
    by_number: Slab<ScopeOrder>,
    /// The scopes by their values.
    index: Index,
    /// Seeded at random, like that of [`LogEntries`](super::LogEntries).
    hasher: DefaultHashBuilder,
    /// Memory that scopes have on the heap.
    heap_bytes: usize,
}

/// One scope, with the order of its changes.
#[derive(Debug)]
struct ScopeOrder {
    values: ScopeValues,
    /// The last change of every id in it. The last entry is never superseded.
    order: Order,
}

impl ScopedLog {
    /// An empty log; no change at or before `floor` is known.
    pub(crate) fn new(columns: ScopeColumnSet, floor: Position, floor_time: CommitTime) -> Self {
        Self { columns, log: VersionLog::new(floor, floor_time) }
    }

    /// The scope columns whose values distinguish its scopes.
    pub(crate) fn columns(&self) -> ScopeColumnSet {
        self.columns
    }

    pub(crate) fn floor(&self) -> Position {
        self.log.floor()
    }

    /// The position of the last reset, or of the log's begin.
    pub(crate) fn reset_position(&self) -> Position {
        self.log.reset_position()
    }

    /// The position of the newest change in a scope, or reset of the table.
    pub(crate) fn head(&self, values: &ScopeValues) -> Position {
        let scopes = &self.log.entries.partitions;
        let scope = scopes.find(values).and_then(|number| scopes.by_number.get(number));
        let last = scope.and_then(|scope| scope.order.last());
        last.map_or(self.log.reset_position(), |entry| {
            entry.position().max(self.log.reset_position())
        })
    }

    /// Adds a change to a row in the scopes it had before and after.
    pub(crate) fn apply(
        &mut self,
        key: &Key,
        op: Op,
        scope: &ScopeTransition,
        (position, at): (Position, CommitTime),
        max_changes: usize,
    ) {
        let before = scope.before.as_ref().map(|values| values.picked(self.columns));
        let after = scope.after.as_ref().map(|values| values.picked(self.columns));
        match (op, before, after) {
            (Op::Update, Some(before), Some(after)) if before != after => {
                let left = Position { ordinal: position.ordinal - 1, ..position };
                self.put(key, Op::Delete, before, (left, at), max_changes);
                self.put(key, Op::Insert, after, (position, at), max_changes);
            }
            (Op::Insert | Op::Update, _, Some(values)) | (Op::Delete, Some(values), _) => {
                self.put(key, op, values, (position, at), max_changes);
            }
            // Every change to a table with scope columns carries its scope.
            _ => debug_assert!(false, "a change without its scope"),
        }
    }

    fn put(
        &mut self,
        key: &Key,
        op: Op,
        values: ScopeValues,
        (position, at): (Position, CommitTime),
        max_changes: usize,
    ) {
        let scope = self.log.entries.partitions.enter(values);
        let id = ScopedId { key: key.clone(), scope };
        self.log.apply(id, op, position, at, max_changes);
    }

    /// The last change of each id changed in a scope after `position`, like [`VersionLog::after`].
    pub(crate) fn after(
        &self,
        values: &ScopeValues,
        position: Position,
    ) -> impl Iterator<Item = LatestChange<'_>> {
        let entries = &self.log.entries;
        let scope =
            entries.partitions.find(values).and_then(|n| entries.partitions.by_number.get(n));
        let changes = scope.into_iter().flat_map(move |scope| scope.order.after(position));
        changes.filter_map(move |entry| entries.latest(entry, position))
    }

    /// Removes everything up to `floor`; returns the entries to be dropped where no lock is held.
    pub(crate) fn reset(&mut self, floor: Position, at: CommitTime) -> super::LogEntries<ScopedId> {
        self.log.reset(floor, at)
    }

    pub(crate) fn as_evict(&mut self) -> &mut dyn Evict {
        &mut self.log
    }

    pub(crate) fn bytes(&self) -> usize {
        self.log.bytes()
    }

    /// The entries, to be dropped where no lock is held.
    pub(crate) fn into_entries(self) -> super::LogEntries<ScopedId> {
        self.log.into_entries()
    }
}

impl LogKey for ScopedId {
    type Partitions = Scopes;

    fn key(&self) -> &Key {
        &self.key
    }

    fn heap_bytes(&self) -> usize {
        self.key.heap_bytes()
    }
}

impl Scopes {
    fn hash_of(&self, values: &ScopeValues) -> u32 {
        (self.hasher.hash_one(values) >> u32::BITS) as u32
    }

    fn find(&self, values: &ScopeValues) -> Option<u32> {
        let is_it =
            |number| self.by_number.get(number).is_some_and(|scope| scope.values == *values);
        self.index.find(self.hash_of(values), is_it)
    }

    /// The number of the scope with these values, which is about to have an entry.
    fn enter(&mut self, values: ScopeValues) -> u32 {
        if let Some(known) = self.find(&values) {
            return known;
        }
        let hash = self.hash_of(&values);
        self.heap_bytes += values.heap_bytes();
        let number = self.by_number.insert(ScopeOrder { values, order: Order::default() });
        self.index.insert(hash, number);
        number
    }

    /// Does something to a scope's order, and removes the scope if that is empty then.
    fn with_order(&mut self, number: u32, act: impl FnOnce(&mut Order)) {
        let Some(scope) = self.by_number.get_mut(number) else { return };
        let before = scope.order.bytes();
        act(&mut scope.order);
        self.heap_bytes = self.heap_bytes + scope.order.bytes() - before;
        if scope.order.len() == 0 {
            self.leave(number);
        }
    }

    fn leave(&mut self, number: u32) {
        let Some(scope) = self.by_number.remove(number) else { return };
        self.heap_bytes -= scope.values.heap_bytes() + scope.order.bytes();
        self.index.remove(self.hash_of(&scope.values), number);
    }
}

impl Partitions<ScopedId> for Scopes {
    fn add(
        &mut self,
        id: &ScopedId,
        entry: OrderEntry,
        again: bool,
        is_live: impl Fn(&OrderEntry) -> bool,
    ) {
        self.with_order(id.scope, |order| {
            order.push(entry);
            if again {
                order.mark_superseded(is_live);
            }
        });
    }

    fn evict(&mut self, id: &ScopedId, is_live: impl Fn(&OrderEntry) -> bool) {
        self.with_order(id.scope, |order| {
            // The oldest change of all is the oldest of its scope, too.
            order.skip_superseded(&is_live);
            order.pop_front();
            order.skip_superseded(is_live);
        });
    }

    fn rename(&mut self, id: &ScopedId, position: Position, to: u32) {
        self.with_order(id.scope, |order| order.rename(position, to));
    }

    fn bytes(&self) -> usize {
        self.by_number.bytes() + self.index.bytes() + self.heap_bytes
    }
}
