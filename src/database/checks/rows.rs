//! The tables whose rows are to be held, and whether the role may read them.

use super::finding::Finding;
use super::role::RoleRow;
use super::table_row::{TableIdentity, TableRow};
use crate::database::sql::{self, fill};
use crate::table::{RowsConfig, quoted};

pub(crate) fn findings(wanted: &[RowsConfig], tables: &[TableRow], role: &RoleRow) -> Vec<Finding> {
    let mut findings: Vec<Finding> =
        wanted.iter().filter_map(|wanted| table(wanted, tables, role)).collect();
    if findings.is_empty() && !wanted.is_empty() {
        findings.push(Finding::ok("rows", "every table whose rows are to be held can be read"));
    }
    findings
}

/// What stands in the way of holding a table's rows: the first thing there is.
fn table(wanted: &RowsConfig, tables: &[TableRow], role: &RoleRow) -> Option<Finding> {
    let topic = format!("rows of {}", wanted.table);
    let Some(table) = tables.iter().find(|table| table.published && table.is_called(&wanted.table))
    else {
        let what = format!("{} is not published, so its rows are not held", wanted.table);
        return Some(Finding::warn(topic, what).why(
            "`highwater setup --tables` adds it to the publication; or take its section out of the configuration",
        ));
    };
    if table.identity() != TableIdentity::Key && table.kind != "p" {
        let found =
            Finding::error(topic, format!("{} has no key to find its rows by", wanted.table))
                .why("rows are held by the values of their key");
        return Some(table.identity_fix().into_iter().fold(found, Finding::fix));
    }
    if !table.readable {
        let found =
            Finding::error(topic, format!("role {} may not read {}", role.name, wanted.table))
                .why("rows are loaded from the table itself");
        return Some(grants(&role.name, table).into_iter().fold(found, Finding::fix));
    }
    table.row_security.then(|| {
        Finding::error(
            topic,
            format!("row level security hides rows of {} from role {}", wanted.table, role.name),
        )
        .why("the change stream tells all rows; what is loaded must hold all of them, too")
        .fix(format!("ALTER ROLE {} BYPASSRLS;", quoted(&role.name)))
    })
}

/// The statements that let `role` read `table`.
pub(crate) fn grants(role: &str, table: &TableRow) -> Vec<String> {
    let values = [("role", role), ("schema", &*table.schema), ("table", &*table.name)];
    let statements = sql::without_comments(&fill(sql::GRANT_ROWS, &values));
    statements.lines().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::super::finding::Severity;
    use super::super::testing::{plain_role, table};
    use super::*;
    use crate::table::RowMode;

    fn found(name: &str, table: TableRow) -> Finding {
        let wanted = RowsConfig { table: name.into(), mode: RowMode::Lazy, columns: None };
        let mut found = findings(&[wanted], &[table], &plain_role());
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    }

    #[test]
    fn a_published_readable_table_with_a_key_is_fine() {
        assert_eq!(found("public.items", table("items")).severity, Severity::Ok);
        assert_eq!(findings(&[], &[], &plain_role()), []);
    }

    #[test]
    fn a_table_that_is_not_published_is_named() {
        let other = TableRow { published: false, ..table("items") };
        assert!(found("items", other).what.starts_with("items is not published"));
    }

    #[test]
    fn a_table_that_may_not_be_read_comes_with_its_grants() {
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
