//! What is known of one published table: by the last look, and by the newest Relation message.

use std::sync::Arc;

use crate::change::ResetReason;
use crate::replication::catalog::CatalogTable;
use crate::replication::relation::Relation;

/// A published table.
pub(super) struct TableState {
    pub(super) catalog: CatalogTable,
    /// From the newest Relation message; `None` before the first.
    pub(super) relation: Option<Said>,
}

/// A Relation message, shared where several transactions were told the same.
#[derive(Clone)]
pub(super) struct Said {
    /// Which message of this stream about any table it was.
    pub(super) number: u64,
    pub(super) relation: Arc<Relation>,
}

impl Said {
    /// Matches it with a newer look.
    pub(super) fn look_again(&mut self, now: &CatalogTable) {
        Arc::make_mut(&mut self.relation).look_again(now);
    }
}

impl TableState {
    /// Whether its rows are told as well as its ids.
    pub(super) fn holds_rows(&self) -> bool {
        self.catalog.table.rows.held().is_some()
    }

    /// Why a newer look resets it.
    pub(super) fn difference(&self, now: &CatalogTable) -> Option<ResetReason> {
        if self.catalog.membership != now.membership {
            Some(ResetReason::Membership)
        } else if self.catalog.definition != now.definition {
            Some(ResetReason::Schema)
        } else {
            None
        }
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
    pub(super) fn look_again(&mut self, now: CatalogTable) {
        let is_same = self.is_read_as(&now);
        self.catalog = now;
        if is_same {
            return;
        }
        if let Some(said) = &mut self.relation {
            said.look_again(&self.catalog);
        }
        // Outdated: the server will say before the table's next change what it looks like now.
        let holds_rows = self.holds_rows();
        self.relation.take_if(|said| holds_rows && !said.relation.is_known());
    }
}
