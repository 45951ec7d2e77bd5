//! What is known of one published table: by the last look, and by the newest Relation message.

use crate::change::ResetReason;
use crate::replication::catalog::CatalogTable;
use crate::replication::relation::Relation;

/// A published table.
pub(super) struct TableState {
    pub(super) catalog: CatalogTable,
    /// From the newest Relation message; `None` before the first.
    pub(super) relation: Option<Relation>,
}

impl TableState {
    /// Whether its rows are told as well as its ids.
    pub(super) fn holds_rows(&self) -> bool {
        self.catalog.table.rows.held().is_some()
    }

    /// Whether rows look as `before` said.
    pub(super) fn has_columns_of(&self, before: &Relation) -> bool {
        self.relation.as_ref().is_some_and(|now| now.same_columns(before))
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

    /// Takes a newer look.
    pub(super) fn look_again(&mut self, now: CatalogTable) {
        let before = std::mem::replace(&mut self.catalog, now);
        let now = &self.catalog;
        let is_same = before.key == now.key
            && before.scope == now.scope
            && before.published == now.published
            && before.table.rows == now.table.rows;
        if is_same {
            return;
        }
        if let Some(relation) = &mut self.relation {
            relation.look_again(now);
        }
        // Outdated: the server will say before the table's next change what it looks like now.
        let holds_rows = self.holds_rows();
        self.relation.take_if(|relation| holds_rows && !relation.is_known());
    }
}
