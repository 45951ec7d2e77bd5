//! State of one published table: its last refresh, and its newest Relation message.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use crate::change::ResetReason;
use crate::snapshot::Snapshot;
use crate::source::postgres::catalog::CatalogTable;
use crate::source::postgres::relation::TrackedRelation;

pub(super) struct TrackedTable {
    pub(super) catalog: CatalogTable,
    /// The newest Relation message; `None` before the first.
    pub(super) relation: Option<SeenRelation>,
    /// Snapshot of the refresh that showed that it had joined, as long as transactions open then
    /// may still be open. What they wrote before the table joined is never sent, and they commit
    /// after the reset for the join.
    pub(super) joined: Option<Snapshot>,
}

/// A Relation message, shared if several transactions received the same.
#[derive(Clone)]
pub(super) struct SeenRelation {
    /// Number of the message among all Relation messages of this stream.
    pub(super) number: u64,
    pub(super) relation: Arc<TrackedRelation>,
}

impl SeenRelation {
    /// Matches it with a newer refresh.
    pub(super) fn update_catalog(&mut self, now: &CatalogTable) {
        Arc::make_mut(&mut self.relation).update_catalog(now);
    }
}

impl TrackedTable {
    /// Whether its rows are cached.
    pub(super) fn caches_rows(&self) -> bool {
        self.catalog.table.rows.held().is_some()
    }

    /// A table from its first refresh.
    pub(super) fn new(catalog: CatalogTable) -> Self {
        Self { catalog, relation: None, joined: None }
    }

    /// Why a newer refresh resets it.
    pub(super) fn difference(
        &mut self,
        now: &CatalogTable,
        snapshot: &Snapshot,
    ) -> Option<ResetReason> {
        if self.catalog.membership != now.membership {
            self.mark_joined(snapshot);
            Some(ResetReason::Membership)
        } else if self.joined.take_if(|joined| snapshot.ended_all_of(joined)).is_some() {
            Some(ResetReason::Membership)
        } else if self.catalog.definition != now.definition || self.catalog.table != now.table {
            Some(ResetReason::Schema)
        } else {
            None
        }
    }

    /// Notes that it joined the publication before a refresh with this snapshot.
    pub(super) fn mark_joined(&mut self, snapshot: &Snapshot) {
        self.joined = snapshot.has_open().then(|| snapshot.clone());
    }

    /// Hash of the name and definition in effect, and of whether everything written before the
    /// table joined is reported. Practically unique, and the same on all instances of a release.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        let CatalogTable { table, membership, definition, .. } = &self.catalog;
        (&table.name, membership, definition, self.joined.is_none()).hash(&mut hasher);
        hasher.finish()
    }

    /// Whether its changes are decoded as before.
    pub(super) fn is_read_like(&self, now: &CatalogTable) -> bool {
        let before = &self.catalog;
        before.key == now.key
            && before.scope == now.scope
            && before.published == now.published
            && before.table.rows == now.table.rows
    }

    /// Accepts a newer refresh.
    pub(super) fn update_catalog(&mut self, now: CatalogTable) {
        let is_same = self.is_read_like(&now);
        self.catalog = now;
        if is_same {
            return;
        }
        if let Some(seen) = &mut self.relation {
            seen.update_catalog(&self.catalog);
        }
        // Outdated: the server sends a new message before the table's next change.
        let caches_rows = self.caches_rows();
        self.relation.take_if(|seen| caches_rows && !seen.relation.is_known());
    }
}
