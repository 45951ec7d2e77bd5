//! Relation messages: the server's description of a table before its changes.

use std::sync::Arc;

use super::relation_tracker::SeenRelation;
use super::{Assembler, CurrentTransaction};
use crate::change::ResetReason;
use crate::pgoutput;
use crate::source::postgres::relation::TrackedRelation;
use crate::table::{TableOid, Tracking};

/// Bound of the Relation messages kept for tables that no refresh has shown. A further table that
/// joins is reset by every commit until the server describes it again; a further partition that
/// comes and goes between two refreshes is not noticed.
const UNKNOWN_RELATIONS_MAX: usize = 10_000;

impl Assembler {
    pub(super) fn relation(&mut self, message: &pgoutput::Relation<'_>) {
        if matches!(self.current, CurrentTransaction::Streamed(_)) {
            self.block_relation(message);
            return;
        }
        let oid = message.oid;
        let Some(state) = self.tables.get(&oid) else {
            // A leaf that is sent as its root, or a table that has just joined: if a change of it
            // arrives, the catalog is refreshed. The message may not be repeated after that.
            let seen = self.relation_seen(TrackedRelation::unmatched(message), None);
            self.keep_unknown_relation(oid, seen);
            return;
        };
        let seen = self.relation_seen(TrackedRelation::new(message, &state.catalog), None);
        let now = seen.relation.clone();
        let before = self.tables.get_mut(&oid).and_then(|state| state.relation.replace(seen));
        self.compare(oid, before.as_ref().map(|before| &*before.relation), &now);
    }

    /// Numbers a Relation message; shares memory with another one of the same content.
    pub(super) fn relation_seen(
        &mut self,
        relation: TrackedRelation,
        other: Option<Arc<TrackedRelation>>,
    ) -> SeenRelation {
        self.relation_count += 1;
        let same = other.filter(|other| other.is_same_message(&relation));
        SeenRelation {
            number: self.relation_count,
            relation: same.unwrap_or_else(|| Arc::new(relation)),
        }
    }

    pub(super) fn keep_unknown_relation(&mut self, oid: TableOid, seen: SeenRelation) {
        let known = self.unknown_relations.get(&oid);
        let is_newer = known.is_none_or(|known| known.number < seen.number);
        if is_newer && (known.is_some() || self.unknown_relations.len() < UNKNOWN_RELATIONS_MAX) {
            self.unknown_relations.insert(oid, seen);
            self.unresolved_oids.insert(oid, self.position);
        }
    }

    /// Requests a refresh, and resets the table, as far as the difference between two Relation
    /// messages of it requires.
    pub(super) fn compare(
        &mut self,
        oid: TableOid,
        before: Option<&TrackedRelation>,
        now: &TrackedRelation,
    ) {
        let Some(state) = self.tables.get(&oid) else { return };
        let (is_known, caches_rows) = (now.is_known(), state.caches_rows());
        let tracked = state.catalog.table.tracking == Tracking::Ids;
        let reshaped = before.is_some_and(|before| !now.same_columns(before));
        // Repeated: something happened to the table that its columns don't show.
        let hidden = caches_rows && before.is_some();
        if (tracked && !is_known) || reshaped || hidden {
            self.request_refresh();
        }
        // Rows look different although no row changed.
        if reshaped || (caches_rows && !is_known) {
            self.reset(oid, ResetReason::Schema);
        }
    }
}
