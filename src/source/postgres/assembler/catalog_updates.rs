//! Catalog refreshes take effect.

use std::collections::HashSet;

use super::relation_tracker::TrackedTable;
use super::{Assembler, CurrentTransaction};
use crate::change::{Event, Reset, ResetReason};
use crate::source::postgres::catalog::Catalog;
use crate::table::{Table, TableOid};

impl Assembler {
    /// Applies the refreshes whose position the stream has passed.
    pub(super) fn apply_catalogs(&mut self, out: &mut Vec<Event>) {
        while matches!(self.current, CurrentTransaction::None)
            && let Some(catalog) =
                self.catalogs.pop_front_if(|catalog| catalog.as_of <= self.position)
        {
            let snapshot_before = catalog.snapshot_before.clone();
            let names_before = self.published();
            let resets = self.adopt(catalog);
            self.collect_delta(&resets);
            self.pending_announcements.retain(|(xid, _)| !snapshot_before.sees(*xid));
            self.needs_refresh |= self.is_awaiting_refresh();
            let tables = self.published();
            if !resets.is_empty() || tables != names_before {
                out.push(Event::Tables { tables, resets });
            }
        }
    }

    /// Replaces the known tables by those of a refresh; returns those whose readers start over.
    fn adopt(&mut self, refreshed: Catalog) -> Vec<Reset> {
        let mut resets = Vec::new();
        let has_vanished = self.take_vanished(&refreshed);
        let published: HashSet<TableOid> = refreshed.tables.iter().map(|t| t.table.oid).collect();
        let (streams, known) = (&mut self.streams, self.tables.len());
        self.tables.retain(|oid, _| {
            let stays = published.contains(oid);
            if !stays {
                for open in streams.values_mut() {
                    open.buffer.forget(*oid);
                }
            }
            stays
        });
        let has_left = self.tables.len() < known;
        for catalog in refreshed.tables {
            let oid = catalog.table.oid;
            let mut state = self.tables.get_mut(&oid);
            let reason = match &mut state {
                Some(state) => state.difference(&catalog, &refreshed.snapshot),
                None => Some(ResetReason::Membership),
            };
            resets.extend(reason.map(|reason| Reset { table: oid, reason }));
            if reason.is_some() || state.as_ref().is_some_and(|state| !state.is_read_like(&catalog))
            {
                for open in streams.values_mut() {
                    open.update_catalog(&catalog, reason);
                }
            }
            if let Some(state) = state {
                state.update_catalog(catalog);
                continue;
            }
            let relation = self.unknown_relations.remove(&oid).map(|mut seen| {
                seen.update_catalog(&catalog);
                seen
            });
            let mut state = TrackedTable { relation, ..TrackedTable::new(catalog) };
            state.mark_joined(&refreshed.snapshot);
            self.tables.insert(oid, state);
        }
        let affected = if has_vanished { self.roots() } else { Vec::new() };
        for table in affected {
            if resets.iter().all(|reset| reset.table != table) {
                resets.push(Reset { table, reason: ResetReason::Membership });
            }
        }
        let joins = |reset: &Reset| reset.reason == ResetReason::Membership;
        self.membership_changed |= has_left || resets.iter().any(joins);
        resets
    }

    /// Whether the stream named a table that neither this refresh nor the one before explains:
    /// possibly a partition that was attached, sent as its root, and detached or dropped again.
    /// Reported once.
    fn take_vanished(&mut self, catalog: &Catalog) -> bool {
        if self.unresolved_oids.is_empty() {
            return false;
        }
        let before = self.tables.values().map(|state| &state.catalog);
        let known: HashSet<TableOid> = before
            .chain(&catalog.tables)
            .flat_map(|catalog| catalog.leaves.iter().copied().chain([catalog.table.oid]))
            .collect();
        self.unresolved_oids.retain(|oid, _| !known.contains(oid));
        let expired = self.unresolved_oids.extract_if(|_, named_at| *named_at < catalog.as_of);
        expired.count() > 0
    }

    pub(super) fn published(&self) -> Vec<Table> {
        let mut tables: Vec<Table> =
            self.tables.values().map(|state| state.catalog.table.clone()).collect();
        tables.sort_by(|a, b| a.name.cmp(&b.name));
        tables
    }
}
