//! Tables whose rows are to be cached: whether they have a key, and whether the role can read them.

use super::finding::Finding;
use super::role::RoleRow;
use super::table_row::{TableIdentity, TableRow};
use crate::database::sql::{self, fill};
use crate::table::{RowsConfig, quoted};

pub(crate) fn findings(
    configured: &[RowsConfig],
    tables: &[TableRow],
    role: &RoleRow,
) -> Vec<Finding> {
    let mut findings: Vec<Finding> =
        configured.iter().filter_map(|config| table(config, tables, role)).collect();
    if findings.is_empty() && !configured.is_empty() {
        findings.push(Finding::ok("rows", "every table whose rows are to be cached can be read"));
    }
    findings
}

/// The first obstacle to caching a table's rows.
fn table(config: &RowsConfig, tables: &[TableRow], role: &RoleRow) -> Option<Finding> {
    let topic = format!("rows of {}", config.table);
    let Some(table) = tables.iter().find(|table| table.published && table.has_name(&config.table))
    else {
        let what = format!("{} is not published, so its rows are not cached", config.table);
        return Some(Finding::warn(topic, what).why(
            "`highwater setup --tables` adds it to the publication; or remove its section from the configuration",
        ));
    };
    if table.identity() != TableIdentity::Key && table.kind != "p" {
        let found =
            Finding::error(topic, format!("{} has no key that identifies its rows", config.table))
                .why("cached rows are looked up by key");
        return Some(table.identity_fix().into_iter().fold(found, Finding::fix));
    }
    if !table.readable {
        let found = Finding::error(
            topic,
            format!("role {} is not permitted to read {}", role.name, config.table),
        )
        .why("rows are loaded from the table itself");
        return Some(grants(&role.name, table).into_iter().fold(found, Finding::fix));
    }
    table.row_security.then(|| {
        Finding::error(
            topic,
            format!("row level security hides rows of {} from role {}", config.table, role.name),
        )
        .why("the change stream contains all rows, so loads must return all of them, too")
        .fix(format!("ALTER ROLE {} BYPASSRLS;", quoted(&role.name)))
    })
}

/// The statements that permit `role` to read `table`.
pub(crate) fn grants(role: &str, table: &TableRow) -> Vec<String> {
    let values = [("role", role), ("schema", &*table.schema), ("table", &*table.name)];
    let statements = sql::without_comments(&fill(sql::GRANT_ROWS, &values));
    statements.lines().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::super::finding::Severity;
    use super::super::fixtures::{plain_role, table};
    use super::*;
    use crate::table::RowMode;

    fn found(name: &str, table: TableRow) -> Finding {
        let config = RowsConfig { table: name.into(), mode: RowMode::Lazy, columns: None };
        let mut found = findings(&[config], &[table], &plain_role());
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    }

    #[test]
    fn a_published_readable_table_with_a_key_passes() {
        assert_eq!(found("public.items", table("items")).severity, Severity::Ok);
        assert_eq!(findings(&[], &[], &plain_role()), []);
    }

    #[test]
    fn an_unpublished_table_is_named() {
        let other = TableRow { published: false, ..table("items") };
        assert!(found("items", other).what.starts_with("items is not published"));
    }

    #[test]
    fn an_unreadable_table_is_reported_with_its_grants() {
        let found = found("items", TableRow { readable: false, ..table("items") });
        assert_eq!(found.severity, Severity::Error);
        assert_eq!(
            found.fix,
            [
                "GRANT USAGE ON SCHEMA \"public\" TO \"App\";",
                "GRANT SELECT ON TABLE \"public\".\"items\" TO \"App\";"
            ]
        );
    }

    #[test]
    fn hidden_rows_and_missing_keys_are_errors() {
        let hidden = found("items", TableRow { row_security: true, ..table("items") });
        assert_eq!(hidden.fix, ["ALTER ROLE \"App\" BYPASSRLS;"]);
        let keyless = found("items", TableRow { has_primary_key: false, ..table("items") });
        assert_eq!(keyless.severity, Severity::Error);
    }
}
