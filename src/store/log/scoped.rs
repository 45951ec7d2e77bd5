//! The log of a table's rows by scope: each combination of values of some scope columns is told what
//! concerns it, and nothing else is looked at for it.
//!
//! What is remembered of is an id *in a scope*. A row that moves from one scope to another is gone
//! from the first and comes to exist in the second, as if its key had changed, and everything that a
//! log knows of lifetimes holds for each of the two. Of one scope every id is told at most once.
//!
//! Beside the order of all changes, by which they are forgotten, every scope has the order of its own.
//! So an answer costs what it tells, however much happens in other scopes, and takes no longer for it.

use std::hash::BuildHasher;

use hashbrown::DefaultHashBuilder;

use super::entries::{Groups, LogKey};
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
    /// The scope's number while anything in it is remembered.
    scope: u32,
}

/// A table's log for callers who see the rows of one combination of scope columns' values.
#[derive(Debug)]
pub(crate) struct ScopedLog {
    /// Which of the table's scope columns count.
    columns: ScopeColumnSet,
    log: VersionLog<ScopedId>,
}

/// The scopes in which anything is remembered.
#[derive(Debug, Default)]
pub(crate) struct Scopes {
    numbered: Slab<ScopeLog>,
    /// By their values.
    index: Index,
    /// Seeded at random, as that of [`LogEntries`](super::Entries).
    hasher: DefaultHashBuilder,
    /// What scopes point to.
    heap_bytes: usize,
}

/// One scope.
#[derive(Debug)]
struct ScopeLog {
    values: ScopeValues,
    /// The last change of every id in it. The last place is always live.
    order: Order,
}

impl ScopedLog {
    /// An empty log that knows nothing of what was at or before `floor`.
    pub(crate) fn new(columns: ScopeColumnSet, floor: Position, floor_time: CommitTime) -> Self {
        Self { columns, log: VersionLog::new(floor, floor_time) }
    }

    /// Which of the table's scope columns count.
    pub(crate) fn columns(&self) -> ScopeColumnSet {
        self.columns
    }

    pub(crate) fn floor(&self) -> Position {
        self.log.floor()
    }

    /// Where the last reset was, or where the log began.
    pub(crate) fn reset_position(&self) -> Position {
        self.log.reset_position()
    }

    /// The newest change in a scope, or reset of the table.
    pub(crate) fn head(&self, values: &ScopeValues) -> Position {
        let scopes = &self.log.entries.groups;
        let scope = scopes.find(values).and_then(|number| scopes.numbered.get(number));
        let last = scope.and_then(|scope| scope.order.last());
        last.map_or(self.log.reset_position(), |place| {
            place.position().max(self.log.reset_position())
        })
    }

    /// Takes a change to a row, whose scope it knows.
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
            // The assembler tells the scope of whatever it tells.
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
        let scope = self.log.entries.groups.enter(values);
        let id = ScopedId { key: key.clone(), scope };
        self.log.apply(id, op, position, at, max_changes);
    }

    /// The last change of each id changed in a scope after `position`, as [`VersionLog::after`] tells them.
    pub(crate) fn after(
        &self,
        values: &ScopeValues,
        position: Position,
    ) -> impl Iterator<Item = LatestChange<'_>> {
        let entries = &self.log.entries;
        let scope = entries.groups.find(values).and_then(|n| entries.groups.numbered.get(n));
        let places = scope.into_iter().flat_map(move |scope| scope.order.after(position));
        places.filter_map(move |place| entries.told(place, position))
    }

    /// Forgets everything up to `floor`; hands out what was held.
    pub(crate) fn reset(&mut self, floor: Position, at: CommitTime) -> super::LogEntries<ScopedId> {
        self.log.reset(floor, at)
    }

    pub(crate) fn as_evict(&mut self) -> &mut dyn Evict {
        &mut self.log
    }

    pub(crate) fn bytes(&self) -> usize {
        self.log.bytes()
    }

    /// What is held, to be dropped where no lock is held.
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
        let is_it = |number| self.numbered.get(number).is_some_and(|scope| scope.values == *values);
        self.index.find(self.hash_of(values), is_it)
    }

    /// The number of the scope with these values, which something is about to be remembered of.
    fn enter(&mut self, values: ScopeValues) -> u32 {
        if let Some(known) = self.find(&values) {
            return known;
        }
        let hash = self.hash_of(&values);
        self.heap_bytes += values.heap_bytes();
        let number = self.numbered.insert(ScopeLog { values, order: Order::default() });
        self.index.insert(hash, number);
        number
    }

    /// Does something to a scope's order; a scope that is empty then is no more.
    fn with_order(&mut self, number: u32, act: impl FnOnce(&mut Order)) {
        let Some(scope) = self.numbered.get_mut(number) else { return };
        let before = scope.order.bytes();
        act(&mut scope.order);
        self.heap_bytes = self.heap_bytes + scope.order.bytes() - before;
        if scope.order.len() == 0 {
            self.leave(number);
        }
    }

    fn leave(&mut self, number: u32) {
        let Some(scope) = self.numbered.remove(number) else { return };
        self.heap_bytes -= scope.values.heap_bytes() + scope.order.bytes();
        self.index.remove(self.hash_of(&scope.values), number);
    }
}

impl Groups<ScopedId> for Scopes {
    fn touched(
        &mut self,
        id: &ScopedId,
        place: OrderEntry,
        again: bool,
        is_live: impl Fn(&OrderEntry) -> bool,
    ) {
        self.with_order(id.scope, |order| {
            order.push(place);
            if again {
                order.mark_superseded(is_live);
            }
        });
    }

    fn forget(&mut self, id: &ScopedId, is_live: impl Fn(&OrderEntry) -> bool) {
        self.with_order(id.scope, |order| {
            // The oldest of all is the oldest of its scope, too.
            order.skip_superseded(&is_live);
            order.pop_front();
            order.skip_superseded(is_live);
        });
    }

    fn rename(&mut self, id: &ScopedId, position: Position, to: u32) {
        self.with_order(id.scope, |order| order.rename(position, to));
    }

    fn bytes(&self) -> usize {
        self.numbered.bytes() + self.index.bytes() + self.heap_bytes
    }
}
