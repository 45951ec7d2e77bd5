//! What the server says of a table before its changes.

use std::sync::Arc;

use super::relation_tracker::SeenRelation;
use super::{Assembler, CurrentTransaction};
use crate::change::ResetReason;
use crate::pgoutput;
use crate::replication::relation::TrackedRelation;
use crate::table::{TableOid, Tracking};

/// Relation messages kept of tables that no look has shown. Of a table beyond them that joins every
/// commit is told as a reset until the server describes it again; a partition beyond them that comes and
/// goes between two looks is not noticed.
const UNKNOWN_RELATIONS_MAX: usize = 10_000;

impl Assembler {
    pub(super) fn relation(&mut self, message: &pgoutput::Relation<'_>) {
        if matches!(self.arriving, CurrentTransaction::Streamed(_)) {
            self.relation_of_block(message);
            return;
        }
        let oid = message.oid;
        let Some(state) = self.tables.get(&oid) else {
            // A leaf that is told as its root, or a table that has just joined: if a change of it
            // comes, the catalog is looked at. The message need not come again after that.
            let said = self.relation_seen(TrackedRelation::unmatched(message), None);
            self.keep_unknown_relation(oid, said);
            return;
        };
        let said = self.relation_seen(TrackedRelation::new(message, &state.catalog), None);
        let now = said.relation.clone();
        let before = self.tables.get_mut(&oid).and_then(|state| state.relation.replace(said));
        self.compare(oid, before.as_ref().map(|before| &*before.relation), &now);
    }

    /// A Relation message, sharing memory with another one that says the same.
    pub(super) fn relation_seen(
        &mut self,
        relation: TrackedRelation,
        other: Option<Arc<TrackedRelation>>,
    ) -> SeenRelation {
        self.said += 1;
        let same = other.filter(|other| other.says_the_same(&relation));
        SeenRelation { number: self.said, relation: same.unwrap_or_else(|| Arc::new(relation)) }
    }

    pub(super) fn keep_unknown_relation(&mut self, oid: TableOid, said: SeenRelation) {
        let known = self.strangers.get(&oid);
        let is_newer = known.is_none_or(|known| known.number < said.number);
        if is_newer && (known.is_some() || self.strangers.len() < UNKNOWN_RELATIONS_MAX) {
            self.strangers.insert(oid, said);
            self.unexplained.insert(oid, self.position);
        }
    }

    /// What it means that a table was as `before`, and now it is as `now`.
    pub(super) fn compare(
        &mut self,
        oid: TableOid,
        before: Option<&TrackedRelation>,
        now: &TrackedRelation,
    ) {
        let Some(state) = self.tables.get(&oid) else { return };
        let (is_known, holds_rows) = (now.is_known(), state.holds_rows());
        let tracked = state.catalog.table.tracking == Tracking::Ids;
        let reshaped = before.is_some_and(|before| !now.same_columns(before));
        // Said again: something happened to the table that its columns don't show.
        let hidden = holds_rows && before.is_some();
        if (tracked && !is_known) || reshaped || hidden {
            self.request_refresh();
        }
        // Rows look different although no row changed.
        if reshaped || (holds_rows && !is_known) {
            self.reset(oid, ResetReason::Schema);
        }
    }
}
