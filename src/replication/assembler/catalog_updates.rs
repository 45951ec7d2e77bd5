//! Looks at the catalog come into effect.

use std::collections::HashSet;

use super::relation_tracker::TrackedTable;
use super::{Assembler, CurrentTransaction};
use crate::change::{Event, Reset, ResetReason};
use crate::replication::catalog::Catalog;
use crate::table::{Table, TableOid};

impl Assembler {
    /// Puts into effect the looks that the stream has passed.
    pub(super) fn apply_catalogs(&mut self, out: &mut Vec<Event>) {
        while matches!(self.arriving, CurrentTransaction::None)
            && let Some(look) = self.looks.pop_front_if(|look| look.seen_at <= self.position)
        {
            let began = look.began.clone();
            let names_before = self.published();
            let resets = self.adopt(look);
            self.find(&resets);
            self.unshown.retain(|(xid, _)| !began.sees(*xid));
            self.wants_look |= self.is_awaiting_refresh();
            let tables = self.published();
            if !resets.is_empty() || tables != names_before {
                out.push(Event::Tables { tables, resets });
            }
        }
    }

    /// Replaces the known tables by those of a look; answers with those whose readers start again.
    fn adopt(&mut self, look: Catalog) -> Vec<Reset> {
        let mut resets = Vec::new();
        let came_and_went = self.take_came_and_went(&look);
        let published: HashSet<TableOid> = look.tables.iter().map(|t| t.table.oid).collect();
        let (streams, known) = (&mut self.streams, self.tables.len());
        self.tables.retain(|oid, _| {
            let stays = published.contains(oid);
            if !stays {
                for open in streams.values_mut() {
                    open.stage.forget(*oid);
                }
            }
            stays
        });
        let leave = self.tables.len() < known;
        for catalog in look.tables {
            let oid = catalog.table.oid;
            let mut state = self.tables.get_mut(&oid);
            let why = match &mut state {
                Some(state) => state.difference(&catalog, &look.snapshot),
                None => Some(ResetReason::Membership),
            };
            resets.extend(why.map(|reason| Reset { table: oid, reason }));
            if why.is_some() || state.as_ref().is_some_and(|state| !state.is_read_as(&catalog)) {
                for open in streams.values_mut() {
                    open.update_catalog(&catalog, why);
                }
            }
            if let Some(state) = state {
                state.update_catalog(catalog);
                continue;
            }
            let relation = self.strangers.remove(&oid).map(|mut said| {
                said.update_catalog(&catalog);
                said
            });
            let mut state = TrackedTable { relation, ..TrackedTable::new(catalog) };
            state.joins(&look.snapshot);
            self.tables.insert(oid, state);
        }
        let suspects = if came_and_went { self.roots() } else { Vec::new() };
        for table in suspects {
            if resets.iter().all(|reset| reset.table != table) {
                resets.push(Reset { table, reason: ResetReason::Membership });
            }
        }
        let joins = |reset: &Reset| reset.reason == ResetReason::Membership;
        self.membership_changed |= leave || resets.iter().any(joins);
        resets
    }

    /// Whether the stream named a table that neither this look nor the one before explains: perhaps a
    /// partition that was attached, told of as its root, and detached or dropped again. Answered once.
    fn take_came_and_went(&mut self, look: &Catalog) -> bool {
        if self.unexplained.is_empty() {
            return false;
        }
        let before = self.tables.values().map(|state| &state.catalog);
        let known: HashSet<TableOid> = before
            .chain(&look.tables)
            .flat_map(|catalog| catalog.leaves.iter().copied().chain([catalog.table.oid]))
            .collect();
        self.unexplained.retain(|oid, _| !known.contains(oid));
        let judged = self.unexplained.extract_if(|_, named_at| *named_at < look.seen_at);
        judged.count() > 0
    }

    pub(super) fn published(&self) -> Vec<Table> {
        let mut tables: Vec<Table> =
            self.tables.values().map(|state| state.catalog.table.clone()).collect();
        tables.sort_by(|a, b| a.name.cmp(&b.name));
        tables
    }
}
