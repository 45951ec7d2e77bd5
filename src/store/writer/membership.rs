//! The set of published tables: at a start, and when the publication or a definition changes.
//!
//! A reset that comes between two commits takes the position [`reset_after`] the applied one, and
//! the applied position moves there: see its documentation for why that is needed and correct.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::{PostCommit, Writer};
use crate::change::{CommitTime, Reset, ResetReason, Started};
use crate::scope::ScopeColumnSet;
use crate::store::directory::{Directory, Resource};
use crate::store::log::{ScopedLog, VersionLog};
use crate::store::metrics::{self, TableMetrics};
use crate::store::notifications::reset_after;
use crate::store::resets::{LastReset, Resets};
use crate::store::rows::TableRows;
use crate::store::state::{StoreState, StoredTable};
use crate::table::{Table, TableOid};
use crate::version::Position;

/// The difference between the tables and a new list of them.
#[derive(Default)]
struct MembershipPlan {
    /// Tables that begin here, with a new definition.
    joining: Vec<(Table, Option<ResetReason>)>,
    /// Tables that stay and get a reset.
    restarting: Vec<(TableOid, ResetReason)>,
    /// Tables that are gone, or were defined differently.
    leaving: Vec<StoredTable>,
}

impl Writer {
    pub(super) fn start(
        &self,
        state: &mut StoreState,
        started: Started,
        post_commit: &mut PostCommit,
    ) {
        state.server = Some(started.server);
        let (Some(followed), Some(applied)) = (state.history.clone(), state.version()) else {
            return self.begin_history(state, started, post_commit);
        };
        if followed.epoch() == started.history.epoch() {
            let loads = state.loads.get_mut();
            for rows in state.tables.values_mut().filter_map(|table| table.rows.as_mut()) {
                rows.mark_for_reload(applied.position.lsn, loads);
            }
        } else {
            self.leave_history(state, post_commit);
        }
        if started.history.position_of(applied).is_some() {
            let history = started.history.continuing(&followed);
            self.continue_history(state, Started { history, ..started }, post_commit);
        } else {
            let history = started.history.without_ancestors();
            let broken = started.broken.or(Some(ResetReason::NewHistory));
            self.begin_history(state, Started { history, broken, ..started }, post_commit);
        }
    }

    /// Drops all rows, because another history takes over. Even if it continues the logs it does not
    /// continue the rows: a query sees commits before the stream delivers them, so any row may hold
    /// one that was lost with the old server.
    fn leave_history(&self, state: &mut StoreState, post_commit: &mut PostCommit) {
        self.shared.notifications.leave_history();
        for rows in state.tables.values_mut().filter_map(|table| table.rows.as_mut()) {
            post_commit.dropped_rows.extend(rows.invalidate_all(state.applied.lsn));
        }
    }

    /// Begins with empty logs, at the first start or in a history that does not continue the followed
    /// one.
    ///
    /// The new history may branch off the followed one before the applied position. Then commits were
    /// reported that it lacks, and other clients may have read such rows as well, whatever their
    /// version: so no earlier version is accepted.
    fn begin_history(
        &self,
        state: &mut StoreState,
        started: Started,
        post_commit: &mut PostCommit,
    ) {
        state.loads.get_mut().leave_history();
        state.history = Some(started.history);
        state.applied = Position::after_commit(started.from);
        state.newest = state.applied;
        let plan = MembershipPlan {
            joining: started.tables.into_iter().map(|table| (table, started.broken)).collect(),
            leaving: std::mem::take(&mut state.tables).into_values().collect(),
            ..MembershipPlan::default()
        };
        self.apply_plan(state, plan, post_commit);
    }

    /// Continues the logs when the stream begins again, perhaps on another timeline that shares all of
    /// them. If it starts too late or can't continue them, every table is reset.
    fn continue_history(
        &self,
        state: &mut StoreState,
        started: Started,
        post_commit: &mut PostCommit,
    ) {
        let from = Position::after_commit(started.from);
        // The commits between the applied position and a later start are never sent.
        let gap = (from > state.applied).then_some(ResetReason::SlotLost);
        state.applied = state.applied.max(from);
        state.history = Some(started.history);
        let resets: Vec<Reset> = match started.broken.or(gap) {
            Some(reason) => {
                started.tables.iter().map(|table| Reset { table: table.oid, reason }).collect()
            }
            None => Vec::new(),
        };
        self.replace_tables(state, started.tables, &resets, post_commit);
    }

    /// Replaces the set of tables. Those that are new, defined differently or named in `resets`
    /// begin here; those that are missing are removed; the others stay as they are.
    pub(super) fn replace_tables(
        &self,
        state: &mut StoreState,
        tables: Vec<Table>,
        resets: &[Reset],
        post_commit: &mut PostCommit,
    ) {
        let plan = plan(state, tables, resets);
        if !plan.joining.is_empty() || !plan.restarting.is_empty() {
            state.applied = reset_after(state.applied);
            state.newest = state.applied;
        }
        self.apply_plan(state, plan, post_commit);
    }

    fn apply_plan(
        &self,
        state: &mut StoreState,
        plan: MembershipPlan,
        post_commit: &mut PostCommit,
    ) {
        let now = CommitTime::from_timestamp(Timestamp::now());
        for (oid, reason) in plan.restarting {
            if let Some(table) = state.tables.get_mut(&oid) {
                let dropped =
                    table.rows.as_mut().and_then(|rows| rows.invalidate_all(state.applied.lsn));
                post_commit.dropped_rows.extend(dropped);
                self.reset(table, state.applied, now, reason, post_commit);
            }
        }
        let is_same = plan.joining.is_empty() && plan.leaving.is_empty();
        let left: BTreeMap<String, Resets> =
            plan.leaving.into_iter().map(|table| leave(table, post_commit)).collect();
        for (table, reason) in plan.joining {
            let before = left.get(&table.name.to_string()).copied().unwrap_or_default();
            self.join(state, table, reason, before, now, post_commit);
        }
        if is_same {
            return;
        }
        let names: BTreeSet<&str> =
            state.tables.values().map(|table| table.resource.name.as_str()).collect();
        for name in left.keys().filter(|name| !names.contains(name.as_str())) {
            metrics::remove_table(&self.metrics, name);
        }
        let tables = state.tables.values().map(|table| table.resource.clone()).collect();
        *self.shared.directory.write() = Arc::new(Directory::new(tables));
    }

    /// Adds a table whose changes are known from the applied position on; `resets` are those under the
    /// same name before.
    fn join(
        &self,
        state: &mut StoreState,
        table: Table,
        reason: Option<ResetReason>,
        resets: Resets,
        now: CommitTime,
        post_commit: &mut PostCommit,
    ) {
        let resource = Arc::new(Resource::new(table, &self.metrics));
        resource.newest.set(state.applied);
        post_commit.work += 1;
        post_commit.touched.push(resource.clone());
        let metrics = TableMetrics::new(&self.metrics, &resource.name);
        let log = VersionLog::new(state.applied, now);
        let scoped = ScopeColumnSet::all(resource.scope_columns().len())
            .map(|columns| ScopedLog::new(columns, state.applied, now))
            .collect();
        let (cache, limits) = (&self.shared.cache, &self.shared.limits);
        let rows = TableRows::new(&resource, cache, limits, state.applied.lsn);
        let newest = state.applied;
        let mut table =
            StoredTable { resource, log, scoped, rows, newest, metrics, resets, touched: false };
        if let Some(reason) = reason {
            self.count_reset(&mut table, LastReset { reason, at: now, position: newest });
        }
        state.tables.insert(table.resource.oid(), table);
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
            Some(known) if **known.resource.table() == table => {
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

/// Closes a table's resource, so that its waiters are woken. Returns its name and resets.
fn leave(table: StoredTable, post_commit: &mut PostCommit) -> (String, Resets) {
    table.resource.close();
    let name = table.resource.name.clone();
    post_commit.touched.push(table.resource);
    post_commit.dropped.push(Box::new(table.log.into_entries()));
    for log in table.scoped {
        post_commit.dropped.push(Box::new(log.into_entries()));
    }
    (name, table.resets)
}
