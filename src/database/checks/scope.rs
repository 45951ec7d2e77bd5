//! The tables of which callers see some rows only, and whether each change tells whose row it is.

use super::finding::Finding;
use super::table_row::TableRow;
use crate::table::ScopeConfig;

pub(crate) fn findings(wanted: &[ScopeConfig], tables: &[TableRow]) -> Vec<Finding> {
    let mut findings: Vec<Finding> =
        wanted.iter().filter_map(|wanted| table(wanted, tables)).collect();
    if findings.is_empty() && !wanted.is_empty() {
        findings.push(Finding::ok("scopes", "every change tells in which scope a row was and is"));
    }
    findings
}

/// What stands in the way of telling a table's rows by scope: the first thing there is.
fn table(wanted: &ScopeConfig, tables: &[TableRow]) -> Option<Finding> {
    let name = &wanted.table;
    let topic = format!("scope of {name}");
    let Some(table) = tables.iter().find(|table| table.published && table.is_called(name)) else {
        let what = format!("{name} is not published, so nobody is told of its rows");
        return Some(Finding::warn(topic, what).why(
            "`highwater setup --tables` adds it to the publication; or take its section out of the configuration",
        ));
    };
    if let Some(unknown) = wanted.columns.iter().find(|column| !table.columns.contains(column)) {
        return Some(
            Finding::error(topic, format!("{name} has no column {unknown}"))
                .why(format!("its columns are {}", table.columns.join(", ")))
                .fix(format!("mend scope in [tables.\"{name}\"]")),
        );
    }
    let is_silent = |table: &&TableRow| {
        table.replica_identity != "f"
            && wanted.columns.iter().any(|column| !table.key_columns.contains(column))
    };
    // Of a partitioned table its leaves count, too.
    let root = format!("{}.{}", table.schema, table.name);
    let leaves = tables.iter().filter(|leaf| leaf.published_through.as_ref() == Some(&root));
    let silent: Vec<&TableRow> = std::iter::once(table).chain(leaves).filter(is_silent).collect();
    if silent.is_empty() {
        return None;
    }
    let found = Finding::error(topic, format!("changes of {name} do not tell whose row it was"))
        .why(format!(
            "the scope columns ({}) must be part of the replica identity, or that must be FULL; \
             Highwater does not start before",
            wanted.columns.join(", ")
        ));
    let fix =
        |table: &TableRow| format!("ALTER TABLE {} REPLICA IDENTITY FULL;", table.quoted_name());
    Some(silent.into_iter().map(fix).fold(found, Finding::fix))
}

#[cfg(test)]
mod tests {
    use super::super::finding::Severity;
    use super::super::testing::table as row;
    use super::*;

    fn found(tables: &[TableRow]) -> Finding {
        let wanted = ScopeConfig { table: "orders".into(), columns: vec!["owner_id".into()] };
        let mut found = findings(&[wanted], tables);
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    }

    #[test]
    fn scope_columns_are_part_of_the_identity_or_it_is_full() {
        let full = TableRow { replica_identity: "f".into(), ..row("orders") };
        assert_eq!(found(&[full]).severity, Severity::Ok);
        let key_columns = vec!["owner_id".into(), "id".into()];
        let by_key = TableRow { key_columns, ..row("orders") };
        assert_eq!(found(&[by_key]).severity, Severity::Ok);
        let silent = found(&[row("orders")]);
        assert_eq!(silent.severity, Severity::Error);
        assert_eq!(silent.fix, ["ALTER TABLE \"public\".\"orders\" REPLICA IDENTITY FULL;"]);
    }

    #[test]
    fn every_leaf_of_a_partitioned_table_counts() {
        let full = |name| TableRow { replica_identity: "f".into(), kind: "p".into(), ..row(name) };
        let leaf = TableRow {
            published: false,
            published_through: Some("public.orders".into()),
            ..row("orders_1")
        };
        let found = found(&[full("orders"), leaf]);
        assert_eq!(found.fix, ["ALTER TABLE \"public\".\"orders_1\" REPLICA IDENTITY FULL;"]);
    }

    #[test]
    fn columns_that_are_not_there_and_tables_that_are_not_published_are_named() {
        let other = TableRow { columns: vec!["id".into()], ..row("orders") };
        assert!(found(&[other]).what.contains("no column owner_id"));
        let unpublished = TableRow { published: false, ..row("orders") };
        assert_eq!(found(&[unpublished]).severity, Severity::Warn);
    }
}
