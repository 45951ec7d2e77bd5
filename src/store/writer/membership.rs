//! Which tables there are: at a start, and when the publication or a definition changes.
//!
//! A reset that comes between two commits takes the position [`beyond`] the applied one, and
//! the applied position moves there: see its documentation for why that is needed and true.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::{PostCommit, Writer};
use crate::change::{CommitTime, Reset, ResetReason, Started};
use crate::scope::ScopeColumnSet;
use crate::store::directory::{Directory, Resource};
use crate::store::log::{ScopedLog, VersionLog};
use crate::store::meters::{self, TableMetrics};
use crate::store::resets::{LastReset, Resets};
use crate::store::rows::TableRows;
use crate::store::signals::reset_after;
use crate::store::state::{StoreState, StoredTable};
use crate::table::{Table, TableOid};
use crate::version::Position;

/// What becomes of the tables when a new list arrives.
#[derive(Default)]
struct MembershipPlan {
    /// Tables that begin here, under a definition that was not known.
    joining: Vec<(Table, Option<ResetReason>)>,
    /// Tables that stay but begin anew.
    restarting: Vec<(TableOid, ResetReason)>,
    /// Tables that are gone, or were defined differently.
    leaving: Vec<StoredTable>,
}

impl Writer {
    pub(super) fn start(
        &self,
        state: &mut StoreState,
        started: Started,
        aftermath: &mut PostCommit,
    ) {
        state.server = Some(started.server);
        let (Some(held), Some(applied)) = (state.history.clone(), state.version()) else {
            return self.begin_history(state, started, aftermath);
        };
        if held.epoch() == started.history.epoch() {
            let loads = state.loads.get_mut();
            for rows in state.tables.values_mut().filter_map(|table| table.rows.as_mut()) {
                rows.mark_for_reload(applied.position.lsn, loads);
            }
        } else {
            self.leave_history(state, aftermath);
        }
        if started.history.position_of(applied).is_some() {
            let history = started.history.continuing(&held);
            self.carry_on(state, Started { history, ..started }, aftermath);
        } else {
            let history = started.history.without_ancestors();
            let broken = started.broken.or(Some(ResetReason::NewHistory));
            self.begin_history(state, Started { history, broken, ..started }, aftermath);
        }
    }

    /// Another history takes over, perhaps one that goes on with the logs. The rows never do: a
    /// query sees commits before the stream tells of them, so any of them may hold one that was
    /// lost with the old server. All are asked for again.
    fn leave_history(&self, state: &mut StoreState, aftermath: &mut PostCommit) {
        self.shared.signals.leave_history();
        for rows in state.tables.values_mut().filter_map(|table| table.rows.as_mut()) {
            aftermath.dropped_rows.extend(rows.invalidate_all(state.applied.lsn));
        }
    }

    /// The first start, or another history than the one that is held: nothing of it means anything
    /// there.
    ///
    /// Where it is one that the held one was an ancestor of, we told of commits that it lacks. Others
    /// may have read such rows as well, whatever version they were given: none of before is believed.
    fn begin_history(&self, state: &mut StoreState, started: Started, aftermath: &mut PostCommit) {
        state.loads.get_mut().leave_history();
        state.history = Some(started.history);
        state.applied = Position::after_commit(started.from);
        state.newest = state.applied;
        let plan = MembershipPlan {
            joining: started.tables.into_iter().map(|table| (table, started.broken)).collect(),
            leaving: std::mem::take(&mut state.tables).into_values().collect(),
            ..MembershipPlan::default()
        };
        self.enact(state, plan, aftermath);
    }

    /// The stream begins again, perhaps on another timeline that shares everything held. Where it
    /// can't continue what is held, every table is reset.
    fn carry_on(&self, state: &mut StoreState, started: Started, aftermath: &mut PostCommit) {
        let from = Position::after_commit(started.from);
        // What was committed between the applied position and a later beginning is never sent.
        let gap = (from > state.applied).then_some(ResetReason::SlotLost);
        state.applied = state.applied.max(from);
        state.history = Some(started.history);
        let resets: Vec<Reset> = match started.broken.or(gap) {
            Some(reason) => {
                started.tables.iter().map(|table| Reset { table: table.oid, reason }).collect()
            }
            None => Vec::new(),
        };
        self.replace_tables(state, started.tables, &resets, aftermath);
    }

    /// Replaces the set of tables. Those that are new, defined differently or named in `resets`
    /// begin here; those that are missing are gone; the others stay as they are.
    pub(super) fn replace_tables(
        &self,
        state: &mut StoreState,
        tables: Vec<Table>,
        resets: &[Reset],
        aftermath: &mut PostCommit,
    ) {
        let plan = plan(state, tables, resets);
        if !plan.joining.is_empty() || !plan.restarting.is_empty() {
            state.applied = reset_after(state.applied);
            state.newest = state.applied;
        }
        self.enact(state, plan, aftermath);
    }

    fn enact(&self, state: &mut StoreState, plan: MembershipPlan, aftermath: &mut PostCommit) {
        let now = CommitTime::from_timestamp(Timestamp::now());
        for (oid, reason) in plan.restarting {
            if let Some(table) = state.tables.get_mut(&oid) {
                let lost =
                    table.rows.as_mut().and_then(|rows| rows.invalidate_all(state.applied.lsn));
                aftermath.dropped_rows.extend(lost);
                self.reset(table, state.applied, now, reason, aftermath);
            }
        }
        let is_same = plan.joining.is_empty() && plan.leaving.is_empty();
        let left: BTreeMap<String, Resets> =
            plan.leaving.into_iter().map(|table| leave(table, aftermath)).collect();
        for (table, reason) in plan.joining {
            let before = left.get(&table.name.to_string()).copied().unwrap_or_default();
            self.join(state, table, reason, before, now, aftermath);
        }
        if is_same {
            return;
        }
        let names: BTreeSet<&str> =
            state.tables.values().map(|table| table.published.name.as_str()).collect();
        for name in left.keys().filter(|name| !names.contains(name.as_str())) {
            meters::remove_table(&self.metrics, name);
        }
        let tables = state.tables.values().map(|table| table.published.clone()).collect();
        *self.shared.directory.write() = Arc::new(Directory::new(tables));
    }

    /// Adds a table whose changes can be told from the applied position on; `resets` are those of
    /// its name before.
    fn join(
        &self,
        state: &mut StoreState,
        table: Table,
        reason: Option<ResetReason>,
        resets: Resets,
        now: CommitTime,
        aftermath: &mut PostCommit,
    ) {
        let published = Arc::new(Resource::new(table, &self.metrics));
        published.mark.set(state.applied);
        aftermath.work += 1;
        aftermath.touched.push(published.clone());
        let meters = TableMetrics::new(&self.metrics, &published.name);
        let log = VersionLog::new(state.applied, now);
        let scoped = ScopeColumnSet::all(published.table.scope.len())
            .map(|columns| ScopedLog::new(columns, state.applied, now))
            .collect();
        let rows = TableRows::new(&published, &self.shared.limits, state.applied.lsn);
        let newest = state.applied;
        let mut table =
            StoredTable { published, log, scoped, rows, newest, meters, resets, touched: false };
        if let Some(reason) = reason {
            self.count_reset(&mut table, LastReset { reason, at: now, position: newest });
        }
        state.tables.insert(table.published.oid(), table);
    }
}

fn plan(state: &mut StoreState, tables: Vec<Table>, resets: &[Reset]) -> MembershipPlan {
    let reasons: BTreeMap<TableOid, ResetReason> =
        resets.iter().map(|reset| (reset.table, reset.reason)).collect();
    let mut before = std::mem::take(&mut state.tables);
    let mut plan = MembershipPlan::default();
    for table in tables {
        let reason = reasons.get(&table.oid).copied();
        match before.remove(&table.oid) {
            Some(known) if *known.published.table == table => {
                plan.restarting.extend(reason.map(|reason| (table.oid, reason)));
                state.tables.insert(table.oid, known);
            }
            Some(known) => {
                plan.leaving.push(known);
                plan.joining.push((table, reason.or(Some(ResetReason::Schema))));
            }
            None => plan.joining.push((table, reason)),
        }
    }
    plan.leaving.extend(before.into_values());
    plan
}

/// Whoever waits for this table is woken: its signals never move again. Tells its name and resets.
fn leave(table: StoredTable, aftermath: &mut PostCommit) -> (String, Resets) {
    table.published.mark.close();
    table.published.show_generation(0);
    let name = table.published.name.clone();
    aftermath.touched.push(table.published);
    aftermath.dropped.push(Box::new(table.log.into_entries()));
    for log in table.scoped {
        aftermath.dropped.push(Box::new(log.into_entries()));
    }
    (name, table.resets)
}
