//! What is known of one published table: by the last look, and by the newest Relation message.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use crate::change::ResetReason;
use crate::replication::catalog::CatalogTable;
use crate::replication::relation::TrackedRelation;
use crate::snapshot::Snapshot;

/// A published table.
pub(super) struct TrackedTable {
    pub(super) catalog: CatalogTable,
    /// From the newest Relation message; `None` before the first.
    pub(super) relation: Option<SeenRelation>,
    /// The look that showed that it had joined, as long as transactions of then may be open. What they
    /// wrote before the table joined is never sent, and they commit after the reset that told of it.
    pub(super) joined: Option<Snapshot>,
}

/// A Relation message, shared where several transactions were told the same.
#[derive(Clone)]
pub(super) struct SeenRelation {
    /// Which message of this stream about any table it was.
    pub(super) number: u64,
    pub(super) relation: Arc<TrackedRelation>,
}

impl SeenRelation {
    /// Matches it with a newer look.
    pub(super) fn update_catalog(&mut self, now: &CatalogTable) {
        Arc::make_mut(&mut self.relation).update_catalog(now);
    }
}

impl TrackedTable {
    /// Whether its rows are told as well as its ids.
    pub(super) fn holds_rows(&self) -> bool {
        self.catalog.table.rows.held().is_some()
    }

    /// What is known of a table from its first look.
    pub(super) fn new(catalog: CatalogTable) -> Self {
        Self { catalog, relation: None, joined: None }
    }

    /// Why a newer look resets it.
    pub(super) fn difference(
        &mut self,
        now: &CatalogTable,
        snapshot: &Snapshot,
    ) -> Option<ResetReason> {
        if self.catalog.membership != now.membership {
            self.joins(snapshot);
            Some(ResetReason::Membership)
        } else if self.joined.take_if(|joined| snapshot.ended_all_of(joined)).is_some() {
            Some(ResetReason::Membership)
        } else if self.catalog.definition != now.definition || self.catalog.table != now.table {
            Some(ResetReason::Schema)
        } else {
            None
        }
    }

    /// It joined the publication before a look with this snapshot.
    pub(super) fn joins(&mut self, snapshot: &Snapshot) {
        self.joined = snapshot.has_open().then(|| snapshot.clone());
    }

    /// Of the name and definition in effect, and of whether everything is told that was written before the table
    /// joined: as good as different for different ones, and the same for all instances of a release.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        let CatalogTable { table, membership, definition, .. } = &self.catalog;
        (&table.name, membership, definition, self.joined.is_none()).hash(&mut hasher);
        hasher.finish()
    }

    /// Whether what is told of it is read as before.
    pub(super) fn is_read_as(&self, now: &CatalogTable) -> bool {
        let before = &self.catalog;
        before.key == now.key
            && before.scope == now.scope
            && before.published == now.published
            && before.table.rows == now.table.rows
    }

    /// Takes a newer look.
    pub(super) fn update_catalog(&mut self, now: CatalogTable) {
        let is_same = self.is_read_as(&now);
        self.catalog = now;
        if is_same {
            return;
        }
        if let Some(said) = &mut self.relation {
            said.update_catalog(&self.catalog);
        }
        // Outdated: the server will say before the table's next change what it looks like now.
        let holds_rows = self.holds_rows();
        self.relation.take_if(|said| holds_rows && !said.relation.is_known());
    }
}
