//! Bounded caches joined with the change stream by snapshot visibility.
//!
//! A [`CachedSet`] holds values by key (rows of a table) that are read from the database on request
//! and kept current from the change stream. All sets share one [`SharedCache`], which bounds their
//! memory, one [`LoadQueue`] and the [`RecentCommits`] in it.
//!
//! # The life of a key
//!
//! 1. *Requested*: the key enters the set's [`PendingLoads`] and the queue. From now on the changes
//!    to it are recorded ([`PendingChanges`]). The [`RequiredXids`] say which recent commits the
//!    query's snapshot has to contain to be of use.
//! 2. *Loaded*: the query's result comes with its snapshot. The recorded changes that the snapshot
//!    does not contain are applied to it, the others are skipped. The waiters ([`LoadWaiter`]) get
//!    the value.
//! 3. *Held back* while the snapshot is ahead of the applied position, or while a reader of several
//!    values pins it.
//! 4. *Admitted* to the cache, and evicted some day as the least recently used.
//!
//! # What the owner supplies
//!
//! The types of key and value with their sizes ([`SetKey`], [`SetValue`]), how a change acts on a
//! value ([`ValueChange`]), and the query: [`PendingLoads::begin`] before it, then
//! [`PendingLoads::complete`] with its values and read point, or [`PendingLoads::fail`].
//!
//! # Locks
//!
//! The writer changes everything under the exclusive lock of the whole state. Readers and load
//! workers hold that lock shared and take a set's pending loads first, then the queue. Values in
//! the [`SharedCache`] are found without any lock.

mod join;
mod load_queue;
mod load_waiter;
mod pending;
mod pending_changes;
mod presence;
mod recent_commits;
mod set;
mod shared_cache;

use std::fmt::Debug;
use std::hash::Hash;

pub(super) use join::{LoadRequest, StreamJoin};
pub(super) use load_queue::LoadQueue;
pub(super) use load_waiter::{LoadReply, LoadWaiter, Retention};
pub(super) use pending::{LoadDisposition, PendingLoads, PendingState};
pub(super) use pending_changes::PendingChanges;
pub(super) use presence::{Lookup, Presence};
pub(super) use recent_commits::{RecentCommits, RequiredXids};
pub(super) use set::{CachedSet, ChangeEffect};
pub(super) use shared_cache::{CachedKey, SharedCache};

/// A key of a cached set.
pub(super) trait SetKey: Clone + Debug + Eq + Hash + Send + Sync + 'static {
    /// Memory on the heap, in bytes.
    fn heap_bytes(&self) -> usize;
}

/// A value of a cached set.
pub(super) trait SetValue: Clone + Debug + Send + Sync + 'static {
    /// What the change stream says about the value under one key.
    type Change: ValueChange<Self>;
    /// Why a value could not be loaded.
    type Error: LoadFailure;

    /// Memory on the heap, in bytes.
    fn heap_bytes(&self) -> usize;
}

/// A change to the value under one key, by one transaction.
pub(super) trait ValueChange<V>: Clone + Debug + Send + Sync + 'static {
    /// The change after which the value has to be read again, whatever it was before.
    const INVALIDATE: Self;

    /// The change after which there is no value.
    const DELETE: Self;

    /// Whether the result depends on the value before. If not, the change replaces all earlier ones.
    fn needs_previous(&self) -> bool;

    /// The value after the change: another one (replace), [`Presence::Unknown`] (invalidate), or the
    /// one before (keep).
    fn apply(&self, before: Presence<V>) -> Presence<V>;

    /// Memory on the heap, in bytes.
    fn heap_bytes(&self) -> usize;
}

/// Why a value could not be loaded.
pub(super) trait LoadFailure: Clone + Debug + Send + Sync + 'static {
    /// Whether it concerns one key only and stays until the value changes.
    fn is_of_one_key(&self) -> bool;
}
