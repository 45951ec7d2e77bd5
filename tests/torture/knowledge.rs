//! What a mirror knows, and which answers it can't believe.

use std::collections::{BTreeMap, BTreeSet};

use highwater::lsn::Lsn;
use serde_json::Value;

use super::answer::{PollAnswer, epoch};
use super::schema::{RowSet, rows_of};
use crate::support::is_same_json;

/// A copy of some tables: the ids, and the rows where it was told them.
#[derive(Default)]
pub(crate) struct Knowledge {
    tables: BTreeMap<String, BTreeMap<String, Option<Value>>>,
    pub(crate) version: Option<String>,
    /// Tables to be read again before anything else.
    pub(crate) stale: BTreeSet<String>,
    /// It knows what was true at its version and nothing newer, so that an answer's operations, and
    /// the counters of its rows, can be held against it.
    is_exact: bool,
    /// It has been told everything up to its version. While there is more, it may not know of a row
    /// that came before its version and changed after it, and the operation is that of its version.
    pub(crate) is_complete: bool,
    /// Partitions come and go unannounced, and tables leave and join: it is told seconds later.
    is_told_late: bool,
}

impl Knowledge {
    /// Knows nothing yet.
    pub(crate) fn new(is_exact: bool, is_told_late: bool) -> Self {
        Self { is_exact, is_told_late, ..Self::default() }
    }

    /// The LSN of its version.
    pub(crate) fn position(&self) -> Lsn {
        self.version.as_deref().map_or(Lsn::ZERO, |v| Lsn(crate::support::position(v)))
    }

    /// Everything has to be read again.
    pub(crate) fn forget(&mut self) {
        self.version = None;
    }

    /// Goes on from a version; it must not be older than the one before.
    pub(crate) fn advance(&mut self, version: &str) -> Result<(), String> {
        let before = self.version.as_deref().unwrap_or_default();
        if epoch(before) == epoch(version) && version < before {
            return Err(format!("version {version} after {before}"));
        }
        self.version = Some(version.to_owned());
        Ok(())
    }

    /// Believes an answer. `wants_rows`: rows were asked for.
    pub(crate) fn believe(&mut self, answer: &PollAnswer, wants_rows: bool) -> Result<(), String> {
        let before = self.version.clone().unwrap_or_default();
        self.advance(&answer.version)?;
        let is_complete = std::mem::replace(&mut self.is_complete, !answer.more);
        if epoch(&before) != epoch(&answer.version) {
            // What was known of these may have been lost with the other history.
            answer.reset.iter().for_each(|table| drop(self.tables.remove(table)));
        }
        self.stale.extend(answer.reset.iter().cloned());
        let mut seen = BTreeSet::new();
        for change in &answer.changes {
            let (table, id, op) = (&change.table, &change.id, change.op.as_str());
            if !seen.insert((table, id)) {
                return Err(format!("{table} {id} comes twice in one answer"));
            }
            if answer.reset.contains(table) {
                return Err(format!("{table} is reset, and {id} told"));
            }
            let is_certain = !(self.is_told_late && ["parts", "joins"].contains(&table.as_str()));
            let has_row = rows_of(table) != RowSet::Off && op != "delete";
            if wants_rows && is_certain && has_row && change.row.is_none() {
                return Err(format!("{op} {table} {id} comes without its row"));
            }
            if self.is_exact && is_certain && !self.stale.contains(table) {
                let row = change.row.as_ref();
                self.check(table, id, op, row, is_complete)
                    .map_err(|what| format!("{what} (after {before}: {})", answer.version))?;
            }
            let rows = self.tables.entry(table.clone()).or_default();
            match op {
                "insert" | "update" => drop(rows.insert(id.clone(), change.row.clone())),
                "delete" => drop(rows.remove(id)),
                _ => return Err(format!("{op} is no operation")),
            }
        }
        Ok(())
    }

    /// Whether the operation is true relative to what was known, and the row no older.
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
            ("insert", Some(_)) if is_complete => {
                Err(format!("insert {table} {id}, which was there"))
            }
            ("update", None) if is_complete => {
                Err(format!("update {table} {id}, which was not there"))
            }
            (_, Some(Some(known))) => newer(table, known, row),
            _ => Ok(()),
        }
    }

    /// A table as it was read.
    pub(crate) fn learn(
        &mut self,
        table: &str,
        rows: BTreeMap<String, Option<Value>>,
        same_history: bool,
    ) -> Result<(), String> {
        self.stale.remove(table);
        let before = self.tables.insert(table.to_owned(), rows).unwrap_or_default();
        if self.is_exact && same_history {
            let now = &self.tables[table];
            for (id, known) in &before {
                if let (Some(known), Some(row)) = (known, now.get(id)) {
                    newer(table, known, row.as_ref())?;
                }
            }
        }
        Ok(())
    }

    /// A table that is no more.
    pub(crate) fn drop_table(&mut self, table: &str) {
        self.stale.remove(table);
        self.tables.remove(table);
    }

    /// The rows of a table.
    pub(crate) fn table(&self, table: &str) -> Option<&BTreeMap<String, Option<Value>>> {
        self.tables.get(table)
    }

    /// The difference to the truth about one table, and how many rows were compared.
    pub(crate) fn compare(
        &self,
        table: &str,
        truth: &super::truth::Rows,
        rows: bool,
    ) -> Result<usize, String> {
        let Some(known) = self.tables.get(table) else {
            return Err(format!("{table} was never told"));
        };
        let missing: Vec<_> = truth.keys().filter(|id| !known.contains_key(*id)).take(5).collect();
        let surplus: Vec<_> = known.keys().filter(|id| !truth.contains_key(*id)).take(5).collect();
        if !missing.is_empty() || !surplus.is_empty() {
            let (is, was) = (truth.len(), known.len());
            return Err(format!(
                "{table}: {is} rows, {was} mirrored; not told of {missing:?}, not told that {surplus:?} are gone"
            ));
        }
        for (id, row) in truth.iter().filter(|_| rows) {
            let ours = known[id].as_ref().map(Value::to_string).unwrap_or_default();
            if ours.is_empty() || !is_same_json(&ours, row) {
                return Err(format!("{table} {id} is {row}, mirrored as {ours}"));
            }
        }
        Ok(truth.len())
    }
}

/// Rows carry a counter that only rises.
pub(crate) fn newer(table: &str, known: &Value, row: Option<&Value>) -> Result<(), String> {
    let count = |row: &Value| row["n"].as_i64().unwrap_or(i64::MIN);
    match row {
        Some(row) if count(row) < count(known) => {
            Err(format!("{table}: {row} comes after {known}"))
        }
        _ => Ok(()),
    }
}
