//! Tables with scopes: whether every change contains the scope of the old and the new row.

use super::finding::Finding;
use super::table_row::TableRow;
use crate::table::ScopeConfig;

pub(crate) fn findings(configured: &[ScopeConfig], tables: &[TableRow]) -> Vec<Finding> {
    let mut findings: Vec<Finding> =
        configured.iter().filter_map(|config| table(config, tables)).collect();
    if findings.is_empty() && !configured.is_empty() {
        findings.push(Finding::ok(
            "scopes",
            "every change contains the scope columns of the old and the new row",
        ));
    }
    findings
}

/// The first obstacle to reporting a table's changes by scope.
fn table(config: &ScopeConfig, tables: &[TableRow]) -> Option<Finding> {
    let name = &config.table;
    let topic = format!("scope of {name}");
    let Some(table) = tables.iter().find(|table| table.published && table.has_name(name)) else {
        let what = format!("{name} is not published, so its changes are not reported");
        return Some(Finding::warn(topic, what).why(
            "`highwater setup --tables` adds it to the publication; or remove its section from the configuration",
        ));
    };
    if let Some(unknown) = config.columns.iter().find(|column| !table.columns.contains(column)) {
        return Some(
            Finding::error(topic, format!("{name} has no column {unknown}"))
                .why(format!("its columns are {}", table.columns.join(", ")))
                .fix(format!("fix scope in [tables.\"{name}\"]")),
        );
    }
    let lacks_old_scope = |table: &&TableRow| {
        table.replica_identity != "f"
            && config.columns.iter().any(|column| !table.key_columns.contains(column))
    };
    // A change of a partitioned table carries the replica identity of its leaf.
    let root = format!("{}.{}", table.schema, table.name);
    let leaves = tables.iter().filter(|leaf| leaf.published_through.as_ref() == Some(&root));
    let incomplete: Vec<&TableRow> =
        std::iter::once(table).chain(leaves).filter(lacks_old_scope).collect();
    if incomplete.is_empty() {
        return None;
    }
    let found = Finding::error(
        topic,
        format!("changes of {name} do not contain the scope of the old row"),
    )
    .why(format!(
        "the scope columns ({}) must be part of the replica identity, or the replica identity \
             must be FULL; Highwater does not start otherwise",
        config.columns.join(", ")
    ));
    let fix =
        |table: &TableRow| format!("ALTER TABLE {} REPLICA IDENTITY FULL;", table.quoted_name());
    Some(incomplete.into_iter().map(fix).fold(found, Finding::fix))
}

#[cfg(test)]
mod tests {
    use super::super::finding::Severity;
    use super::super::fixtures::table as row;
    use super::*;

    fn found(tables: &[TableRow]) -> Finding {
        let config = ScopeConfig { table: "orders".into(), columns: vec!["owner_id".into()] };
        let mut found = findings(&[config], tables);
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    }

    #[test]
    fn scope_columns_must_be_in_the_replica_identity_unless_it_is_full() {
        let full = TableRow { replica_identity: "f".into(), ..row("orders") };
        assert_eq!(found(&[full]).severity, Severity::Ok);
        let key_columns = vec!["owner_id".into(), "id".into()];
        let by_key = TableRow { key_columns, ..row("orders") };
        assert_eq!(found(&[by_key]).severity, Severity::Ok);
        let incomplete = found(&[row("orders")]);
        assert_eq!(incomplete.severity, Severity::Error);
        assert_eq!(incomplete.fix, ["ALTER TABLE \"public\".\"orders\" REPLICA IDENTITY FULL;"]);
    }

    #[test]
    fn every_leaf_of_a_partitioned_table_is_checked() {
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
    fn unknown_columns_and_unpublished_tables_are_named() {
        let other = TableRow { columns: vec!["id".into()], ..row("orders") };
        assert!(found(&[other]).what.contains("no column owner_id"));
        let unpublished = TableRow { published: false, ..row("orders") };
        assert_eq!(found(&[unpublished]).severity, Severity::Warn);
    }
}
