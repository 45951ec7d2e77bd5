//! The state of one client: what it has received, and which responses contradict that.

use std::collections::{BTreeMap, BTreeSet};

use highwater::lsn::Lsn;
use serde_json::Value;

use super::poll::{PollResponse, epoch};
use super::schema::{RowSet, rows_of};
use crate::support::is_same_json;

/// A copy of some tables: the ids, and the rows where responses contained them.
#[derive(Default)]
pub(crate) struct ClientModel {
    tables: BTreeMap<String, BTreeMap<String, Option<Value>>>,
    pub(crate) version: Option<String>,
    /// Tables to be read again before anything else.
    pub(crate) stale: BTreeSet<String>,
    /// The copy is exactly the state at its version, so that the operations of a response, and the
    /// counters of its rows, can be checked against it.
    is_exact: bool,
    /// It has received everything up to its version. While there is more, it may lack a row that was
    /// inserted before its version and changed after it; the operation is relative to its version.
    pub(crate) is_complete: bool,
    /// Without the event trigger, attached partitions and publication changes are reported seconds late.
    has_late_catalog: bool,
}

impl ClientModel {
    pub(crate) fn new(is_exact: bool, has_late_catalog: bool) -> Self {
        Self { is_exact, has_late_catalog, ..Self::default() }
    }

    /// The LSN of its version.
    pub(crate) fn position(&self) -> Lsn {
        self.version.as_deref().map_or(Lsn::ZERO, |v| Lsn(crate::support::position(v)))
    }

    /// Discards the version: everything has to be read again.
    pub(crate) fn clear(&mut self) {
        self.version = None;
    }

    /// Moves to a version, which must not be older than the one before.
    pub(crate) fn advance(&mut self, version: &str) -> Result<(), String> {
        let before = self.version.as_deref().unwrap_or_default();
        if epoch(before) == epoch(version) && version < before {
            return Err(format!("version {version} after {before}"));
        }
        self.version = Some(version.to_owned());
        Ok(())
    }

    /// Applies a response; an error if it contradicts itself or the copy. `with_rows`: rows were requested.
    pub(crate) fn apply(&mut self, response: &PollResponse, with_rows: bool) -> Result<(), String> {
        let before = self.version.clone().unwrap_or_default();
        self.advance(&response.version)?;
        let is_complete = std::mem::replace(&mut self.is_complete, !response.more);
        if epoch(&before) != epoch(&response.version) {
            // Rows of these tables may have been lost with the other timeline.
            response.reset.iter().for_each(|table| drop(self.tables.remove(table)));
        }
        self.stale.extend(response.reset.iter().cloned());
        let mut seen = BTreeSet::new();
        for change in &response.changes {
            let (table, id, op) = (&change.table, &change.id, change.op.as_str());
            if !seen.insert((table, id)) {
                return Err(format!("{table} {id} occurs twice in one response"));
            }
            if response.reset.contains(table) {
                return Err(format!("{table} is reset, yet {id} is in the response"));
            }
            let is_certain =
                !(self.has_late_catalog && ["parts", "joins"].contains(&table.as_str()));
            let has_row = rows_of(table) != RowSet::Off && op != "delete";
            if with_rows && is_certain && has_row && change.row.is_none() {
                return Err(format!("{op} {table} {id} has no row"));
            }
            if self.is_exact && is_certain && !self.stale.contains(table) {
                let row = change.row.as_ref();
                self.check(table, id, op, row, is_complete).map_err(|problem| {
                    format!("{problem} (after {before}: {})", response.version)
                })?;
            }
            let rows = self.tables.entry(table.clone()).or_default();
            match op {
                "insert" | "update" => drop(rows.insert(id.clone(), change.row.clone())),
                "delete" => drop(rows.remove(id)),
                _ => return Err(format!("{op} is not an operation")),
            }
        }
        Ok(())
    }

    /// An error if the operation does not fit the copy, or the row is older than the copy's.
    fn check(
        &self,
        table: &str,
        id: &str,
        op: &str,
        row: Option<&Value>,
        is_complete: bool,
    ) -> Result<(), String> {
        let known = self.tables.get(table).and_then(|rows| rows.get(id));
        match (op, known) {
            ("insert", Some(_)) if is_complete => Err(format!("insert {table} {id}, which exists")),
            ("update", None) if is_complete => {
                Err(format!("update {table} {id}, which does not exist"))
            }
            (_, Some(Some(known))) => check_not_older(table, known, row),
            _ => Ok(()),
        }
    }

    /// Replaces a table with rows that were read in full.
    pub(crate) fn replace_table(
        &mut self,
        table: &str,
        rows: BTreeMap<String, Option<Value>>,
        same_timeline: bool,
    ) -> Result<(), String> {
        self.stale.remove(table);
        let before = self.tables.insert(table.to_owned(), rows).unwrap_or_default();
        if self.is_exact && same_timeline {
            let now = &self.tables[table];
            for (id, known) in &before {
                if let (Some(known), Some(row)) = (known, now.get(id)) {
                    check_not_older(table, known, row.as_ref())?;
                }
            }
        }
        Ok(())
    }

    /// Removes a table that no longer exists.
    pub(crate) fn drop_table(&mut self, table: &str) {
        self.stale.remove(table);
        self.tables.remove(table);
    }

    /// Rows by id; `None` unless the table was read or changed.
    pub(crate) fn table(&self, table: &str) -> Option<&BTreeMap<String, Option<Value>>> {
        self.tables.get(table)
    }

    /// Compares one table with the database; returns the number of rows, or the difference.
    pub(crate) fn compare(
        &self,
        table: &str,
        expected: &super::oracle::Rows,
        with_rows: bool,
    ) -> Result<usize, String> {
        let Some(known) = self.tables.get(table) else {
            return Err(format!("{table} was never reported"));
        };
        let missing: Vec<_> =
            expected.keys().filter(|id| !known.contains_key(*id)).take(5).collect();
        let surplus: Vec<_> =
            known.keys().filter(|id| !expected.contains_key(*id)).take(5).collect();
        if !missing.is_empty() || !surplus.is_empty() {
            let (is, was) = (expected.len(), known.len());
            return Err(format!(
                "{table}: {is} rows in the database, {was} at the client; missing {missing:?}, surplus {surplus:?}"
            ));
        }
        for (id, row) in expected.iter().filter(|_| with_rows) {
            let copy = known[id].as_ref().map(Value::to_string).unwrap_or_default();
            if copy.is_empty() || !is_same_json(&copy, row) {
                return Err(format!("{table} {id} is {row}, at the client {copy}"));
            }
        }
        Ok(expected.len())
    }
}

/// An error if a row is older than the known one: its counter `n` only rises.
pub(crate) fn check_not_older(
    table: &str,
    known: &Value,
    row: Option<&Value>,
) -> Result<(), String> {
    let count = |row: &Value| row["n"].as_i64().unwrap_or(i64::MIN);
    match row {
        Some(row) if count(row) < count(known) => Err(format!("{table}: {row} follows {known}")),
        _ => Ok(()),
    }
}
