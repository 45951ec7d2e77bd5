//! A merge of several tables' changes into one list, in commit order.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::iter::Peekable;
use std::sync::Arc;

use super::directory::Resource;
use super::log::LatestChange;
use super::state::StoredTable;
use crate::change::{CommitTime, Op};
use crate::key::Key;
use crate::version::Position;

/// The last change to one id, relative to the version that a query starts after.
#[derive(Clone, Debug)]
pub struct PollChange {
    /// The table.
    pub resource: Arc<Resource>,
    /// The row's id.
    pub key: Key,
    /// `insert` if the row exists and did not before, `update` if it did, `delete` if it is gone.
    pub op: Op,
    /// The change's position in commit order.
    pub position: Position,
    /// When it was committed, by the database server's clock.
    pub committed_at: CommitTime,
}

/// An iterator over the changes of several logs, by position.
pub(super) struct Merge<'a, I: Iterator<Item = LatestChange<'a>>> {
    logs: Vec<(&'a StoredTable, Peekable<I>)>,
    /// The next position of every log that has one, with the log's index.
    next: BinaryHeap<Reverse<(Position, usize)>>,
}

impl<'a, I: Iterator<Item = LatestChange<'a>>> Default for Merge<'a, I> {
    fn default() -> Self {
        Self { logs: Vec::new(), next: BinaryHeap::new() }
    }
}

impl<'a, I: Iterator<Item = LatestChange<'a>>> Merge<'a, I> {
    pub(super) fn add(&mut self, table: &'a StoredTable, changes: I) {
        let mut changes = changes.peekable();
        if let Some(first) = changes.peek() {
            self.next.push(Reverse((first.position, self.logs.len())));
            self.logs.push((table, changes));
        }
    }

    /// The position of the next change.
    pub(super) fn next_position(&self) -> Option<Position> {
        self.next.peek().map(|Reverse((position, _))| *position)
    }
}

impl<'a, I: Iterator<Item = LatestChange<'a>>> Iterator for Merge<'a, I> {
    type Item = PollChange;

    fn next(&mut self) -> Option<PollChange> {
        let Reverse((_, number)) = self.next.pop()?;
        let (table, changes) = self.logs.get_mut(number)?;
        let latest = changes.next()?;
        if let Some(following) = changes.peek() {
            self.next.push(Reverse((following.position, number)));
        }
        Some(PollChange {
            resource: table.resource.clone(),
            key: latest.key.clone(),
            op: latest.op,
            position: latest.position,
            committed_at: latest.committed_at,
        })
    }
}
