//! The statements that read rows.
//!
//! # Why the lock comes first
//!
//! PostgreSQL takes a transaction's snapshot at its first query, but a table's definition as it is
//! at the moment of each query. Between the two an `ALTER TABLE` may commit: the rows would then be
//! those of a rewritten table, which the snapshot can't see (it looks empty: rewrites "are not
//! MVCC-safe", manual: "Caveats"), while the catalog, read in the snapshot, still shows the table as
//! it was. `LOCK TABLE` takes no snapshot; so with the lock first, whatever the snapshot shows of the
//! table and its definition stays so until `COMMIT`. The lock is the weakest there is, `ACCESS SHARE`:
//! the one every query takes.

use crate::database::sql::{TABLE_DEFINITION, fill, literal, without_comments};
use crate::table::{Column, RowCachePlan, Table, quoted};

use super::shape::SelectList;

/// Ends a transaction.
pub(super) const COMMIT: &str = "COMMIT";

/// What can be seen, and where the WAL ends at least at every commit that can be: read in this
/// order, because the snapshot is taken before a query's values are computed.
pub(super) const SEEN: &str = "pg_catalog.pg_current_snapshot(), \
     CASE WHEN pg_catalog.pg_is_in_recovery() THEN NULL \
     ELSE pg_catalog.pg_current_wal_insert_lsn() END";

/// The statements that begin a transaction on the table, in which other statements may follow.
pub(super) fn transaction(table: &Table, held: &RowCachePlan) -> Vec<String> {
    vec![
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY".into(),
        format!("SET LOCAL search_path = {}", search_path(&held.key)),
        format!("LOCK TABLE {} IN ACCESS SHARE MODE", relation(table, held)),
        format!("SELECT {SEEN}, {}", is_as_described(table, held)),
    ]
}

/// Which of these statements tells what the transaction sees.
pub(super) const OPENING: usize = 3;
/// Where in its row it says whether the table is still the one it was.
pub(super) const IS_AS_DESCRIBED: usize = 2;

/// The schemas of the key's types: those of an extension have their operators there. Built-in types
/// have none that is shown, and nothing else is looked up by a bare name.
fn search_path(key: &[Column]) -> String {
    let schemas: Vec<&str> = key.iter().filter_map(|column| schema(&column.type_name)).collect();
    if schemas.is_empty() { "''".into() } else { schemas.join(", ") }
}

/// The schema of a type's name, quoted as it is there.
fn schema(type_name: &str) -> Option<&str> {
    let mut in_quotes = false;
    let dot = type_name.char_indices().find(|(_, letter)| {
        in_quotes ^= *letter == '"';
        *letter == '.' && !in_quotes
    });
    type_name.get(..dot?.0)
}

fn is_as_described(table: &Table, held: &RowCachePlan) -> String {
    let oid = table.oid.0.to_string();
    let definition = without_comments(&fill(TABLE_DEFINITION, &[("oid", &oid)]));
    format!(
        "pg_catalog.to_regclass({})::pg_catalog.oid = {oid} AND \
         (SELECT described.definition FROM ({}) AS described) = {}",
        literal(&qualified(table)),
        definition.trim().trim_end_matches(';'),
        literal(&held.definition)
    )
}

/// About how many rows the table has, as last counted by `VACUUM` or `ANALYZE`; 0 before that.
pub(super) fn rows_estimate(table: &Table) -> String {
    format!(
        "SELECT coalesce(sum(greatest(c.reltuples, 0)), 0)::bigint FROM pg_catalog.pg_class AS c \
         WHERE c.relkind <> 'p' AND (c.oid = {oid} OR c.oid IN \
         (SELECT t.relid FROM pg_catalog.pg_partition_tree({oid}) AS t))",
        oid = table.oid.0
    )
}

/// All rows, as a `COPY`.
pub(super) fn copy(table: &Table, held: &RowCachePlan, shape: &SelectList) -> String {
    let rows = select(table, held, &shape.selected().join(", "));
    format!("COPY ({rows}) TO STDOUT")
}

/// The rows of these keys: for each its number, the key's columns as the database writes the values
/// asked for, then the selected values (NULL where there is no row).
pub(super) fn rows_of(
    table: &Table,
    held: &RowCachePlan,
    shape: &SelectList,
    keys: &[(usize, &[String])],
) -> String {
    let values: Vec<String> = keys
        .iter()
        .map(|(number, texts)| format!("({number}, {})", casts(&held.key, texts).join(", ")))
        .collect();
    let named = |letter: char, count: usize| -> Vec<String> {
        (0..count).map(|place| format!("{letter}{place}")).collect()
    };
    let asked = named('k', held.key.len()).join(", ");
    let selected = named('v', shape.selected().len());
    let aliased: Vec<String> = shape
        .selected()
        .iter()
        .zip(&selected)
        .map(|(what, name)| format!("{what} AS {name}"))
        .collect();
    let condition: Vec<String> = shape
        .key_places()
        .enumerate()
        .map(|(index, place)| format!("held.v{place} = asked.k{index}"))
        .collect();
    format!(
        "SELECT number, {asked}, {} FROM (VALUES {}) AS asked (number, {asked}) \
         LEFT JOIN ({}) AS held ON {}",
        selected.join(", "),
        values.join(", "),
        select(table, held, &aliased.join(", ")),
        condition.join(" AND ")
    )
}

/// The values of a key's columns, each as a value of the column's type.
pub(super) fn casts(columns: &[Column], texts: &[String]) -> Vec<String> {
    let cast = |(column, text): (&Column, &String)| {
        format!("CAST({} AS {})", literal(text), column.type_name)
    };
    columns.iter().zip(texts).map(cast).collect()
}

fn select(table: &Table, held: &RowCachePlan, what: &str) -> String {
    let filter = held.filter.as_deref().unwrap_or("true");
    format!("SELECT {what} FROM {} WHERE {filter}", relation(table, held))
}

/// Children that inherit from a table are tables of their own; partitions are not.
fn relation(table: &Table, held: &RowCachePlan) -> String {
    let only = if held.partitioned { "" } else { "ONLY " };
    format!("{only}{}", qualified(table))
}

/// The table's name in SQL.
pub(super) fn qualified(table: &Table) -> String {
    format!("{}.{}", quoted(&table.name.schema), quoted(&table.name.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_are_looked_up_where_the_types_are() {
        let path = |types: &[&str]| {
            let column = |name: &&str| Column {
                name: "c".into(),
                type_oid: 0,
                type_name: (*name).into(),
                form: None,
            };
            search_path(&types.iter().map(column).collect::<Vec<_>>())
        };
        assert_eq!(path(&["integer", "timestamp with time zone"]), "''");
        assert_eq!(path(&["ext.citext", r#""a.""b".t"#, r#""x.y""#]), r#"ext, "a.""b""#);
    }
}
