//! The SQL statements of the loader.
//!
//! # Why the lock comes first
//!
//! PostgreSQL takes a transaction's snapshot at its first query, but reads a table's definition anew
//! at every query. An `ALTER TABLE` may commit in between: the rows would then be those of a rewritten
//! table, which the snapshot can't see (the table looks empty: rewrites "are not MVCC-safe", manual:
//! "Caveats"), while the catalog, read in the snapshot, still shows the old definition. `LOCK TABLE`
//! takes no snapshot. With the lock first, what the snapshot shows of the table and its definition is
//! valid until `COMMIT`. The lock is the weakest one, `ACCESS SHARE`, which every query takes.

use crate::database::sql::{TABLE_DEFINITION, fill, literal, without_comments};
use crate::table::{Column, RowCachePlan, Table, quoted};

use super::select_list::SelectList;

/// Ends a transaction, whether or not it wrote.
pub(super) const COMMIT: &str = "COMMIT";

/// The expressions of a read point: the snapshot, and a WAL position at or after every commit that it
/// sees (NULL on a standby). The position is read second, because a query takes its snapshot before it
/// computes any value.
pub(super) const READ_POINT: &str = "pg_catalog.pg_current_snapshot(), \
     CASE WHEN pg_catalog.pg_is_in_recovery() THEN NULL \
     ELSE pg_catalog.pg_current_wal_insert_lsn() END";

/// The statements that begin a transaction on the table; further statements may follow.
pub(super) fn transaction(table: &Table, plan: &RowCachePlan) -> Vec<String> {
    vec![
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY".into(),
        format!("SET LOCAL search_path = {}", search_path(&plan.key)),
        format!("LOCK TABLE {} IN ACCESS SHARE MODE", relation(table, plan)),
        format!("SELECT {READ_POINT}, {}", is_as_described(table, plan)),
    ]
}

/// The index of the statement among them that returns the read point.
pub(super) const OPENING: usize = 3;
/// The index of its column that is true if the table's definition is unchanged.
pub(super) const IS_AS_DESCRIBED: usize = 2;

/// The schemas of the key's types, as the operators of an extension's types are in its schema. Names of
/// built-in types have no schema, and the statements use no other unqualified names.
fn search_path(key: &[Column]) -> String {
    let schemas: Vec<&str> = key.iter().filter_map(|column| schema(&column.type_name)).collect();
    if schemas.is_empty() { "''".into() } else { schemas.join(", ") }
}

/// The schema part of a type's name, quoted as in the name; `None` for built-in types.
fn schema(type_name: &str) -> Option<&str> {
    let mut in_quotes = false;
    let dot = type_name.char_indices().find(|(_, letter)| {
        in_quotes ^= *letter == '"';
        *letter == '.' && !in_quotes
    });
    type_name.get(..dot?.0)
}

fn is_as_described(table: &Table, plan: &RowCachePlan) -> String {
    let oid = table.oid.0.to_string();
    let definition = without_comments(&fill(TABLE_DEFINITION, &[("oid", &oid)]));
    format!(
        "pg_catalog.to_regclass({})::pg_catalog.oid = {oid} AND \
         (SELECT described.definition FROM ({}) AS described) = {}",
        literal(&qualified(table)),
        definition.trim().trim_end_matches(';'),
        literal(&plan.definition)
    )
}

/// The estimated number of rows, from the last `VACUUM` or `ANALYZE`; 0 before the first.
pub(super) fn rows_estimate(table: &Table) -> String {
    format!(
        "SELECT coalesce(sum(greatest(c.reltuples, 0)), 0)::bigint FROM pg_catalog.pg_class AS c \
         WHERE c.relkind <> 'p' AND (c.oid = {oid} OR c.oid IN \
         (SELECT t.relid FROM pg_catalog.pg_partition_tree({oid}) AS t))",
        oid = table.oid.0
    )
}

/// A `COPY` of all rows.
pub(super) fn copy(table: &Table, plan: &RowCachePlan, select: &SelectList) -> String {
    let rows = select_from(table, plan, &select.selected().join(", "));
    format!("COPY ({rows}) TO STDOUT")
}

/// The rows of these keys, one result row per key: its number, the key's columns as the database writes
/// the requested values, then the selected values (NULL if the row does not exist).
pub(super) fn rows_of(
    table: &Table,
    plan: &RowCachePlan,
    select: &SelectList,
    keys: &[(usize, &[String])],
) -> String {
    let values: Vec<String> = keys
        .iter()
        .map(|(number, texts)| format!("({number}, {})", casts(&plan.key, texts).join(", ")))
        .collect();
    let named = |letter: char, count: usize| -> Vec<String> {
        (0..count).map(|place| format!("{letter}{place}")).collect()
    };
    let key_columns = named('k', plan.key.len()).join(", ");
    let selected = named('v', select.selected().len());
    let aliased: Vec<String> = select
        .selected()
        .iter()
        .zip(&selected)
        .map(|(what, name)| format!("{what} AS {name}"))
        .collect();
    let condition: Vec<String> = select
        .key_indexes()
        .enumerate()
        .map(|(index, place)| format!("stored.v{place} = requested.k{index}"))
        .collect();
    format!(
        "SELECT number, {key_columns}, {} FROM (VALUES {}) AS requested (number, {key_columns}) \
         LEFT JOIN ({}) AS stored ON {}",
        selected.join(", "),
        values.join(", "),
        select_from(table, plan, &aliased.join(", ")),
        condition.join(" AND ")
    )
}

/// The expressions that cast the texts of a key to the types of its columns.
pub(super) fn casts(columns: &[Column], texts: &[String]) -> Vec<String> {
    let cast = |(column, text): (&Column, &String)| {
        format!("CAST({} AS {})", literal(text), column.type_name)
    };
    columns.iter().zip(texts).map(cast).collect()
}

fn select_from(table: &Table, plan: &RowCachePlan, what: &str) -> String {
    let filter = plan.filter.as_deref().unwrap_or("true");
    format!("SELECT {what} FROM {} WHERE {filter}", relation(table, plan))
}

/// The table with its partitions, but without tables that inherit from it, which are separate tables.
fn relation(table: &Table, plan: &RowCachePlan) -> String {
    let only = if plan.partitioned { "" } else { "ONLY " };
    format!("{only}{}", qualified(table))
}

/// The table's quoted, qualified name for SQL.
pub(super) fn qualified(table: &Table) -> String {
    format!("{}.{}", quoted(&table.name.schema), quoted(&table.name.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_path_contains_the_schemas_of_the_keys_types() {
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
