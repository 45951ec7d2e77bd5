//! The published tables: whether their rows can be identified, and whether all rows and columns are published.

use super::finding::{Finding, some_of};
use super::publication::PublicationRow;
use super::table_row::{TableIdentity, TableRow};

pub(crate) fn findings(publication: &PublicationRow, tables: &[TableRow]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for table in tables.iter().filter(|table| table.is_followed()) {
        // A partitioned table has no rows of its own: the replica identity of its leaves decides.
        if table.kind != "p" {
            findings.extend(identity(publication, table));
        }
        findings.extend(partial_publication(table));
    }
    findings.extend(unlogged(publication, tables));
    if findings.is_empty() && tables.iter().any(TableRow::is_followed) {
        findings.push(Finding::ok("tables", "every published table has a key"));
    }
    findings
}

fn identity(publication: &PublicationRow, table: &TableRow) -> Option<Finding> {
    let (name, topic) = (table.full_name(), format!("table {}", table.full_name()));
    let finding = match table.identity() {
        TableIdentity::Key => return None,
        TableIdentity::None if publication.updates || publication.deletes => {
            Finding::error(topic, format!("the application's UPDATE and DELETE on {name} FAIL"))
                .why(format!(
                    "{}, and the server rejects changes of published rows that it cannot identify",
                    why_no_identity(table)
                ))
        }
        TableIdentity::None | TableIdentity::WholeRow => Finding::note(
            topic,
            format!("{name} has no key: clients learn that it changed, not which rows"),
        )
        .why("every commit that changes it resets it for all clients"),
    };
    // REPLICA IDENTITY FULL is no fix where it is set already.
    let fixes = table.identity_fix().into_iter();
    let fixes =
        fixes.filter(|fix| table.identity() == TableIdentity::None || !fix.ends_with("FULL;"));
    Some(fixes.fold(finding, Finding::fix))
}

fn why_no_identity(table: &TableRow) -> &'static str {
    match table.replica_identity.as_str() {
        "n" => "its replica identity is NOTHING",
        "i" => "the index that was its replica identity is gone",
        _ => "it has no primary key (a deferrable one does not count)",
    }
}

fn partial_publication(table: &TableRow) -> Vec<Finding> {
    let (name, topic) = (table.full_name(), format!("table {}", table.full_name()));
    let mut findings = Vec::new();
    if let Some(filter) = &table.row_filter {
        findings.push(
            Finding::note(
                &*topic,
                format!("only some rows of {name} are published: WHERE {filter}"),
            )
            .why("a row that starts to match is reported as an insert, a row that stops matching as a delete"),
        );
    }
    if table.has_column_list {
        findings.push(
            Finding::note(topic, format!("only some columns of {name} are published"))
                .why("a change of any other column is reported, too, as an update of the row"),
        );
    }
    findings
}

fn unlogged(publication: &PublicationRow, tables: &[TableRow]) -> Option<Finding> {
    let unlogged: Vec<String> =
        tables.iter().filter(|table| table.persistence == "u").map(TableRow::full_name).collect();
    // Worth a note only where the publication claims to contain every table.
    if unlogged.is_empty() || !publication.all_tables {
        return None;
    }
    Some(
        Finding::note(
            "tables",
            format!("unlogged tables are never published: {}", some_of(&unlogged)),
        )
        .why("their changes are not in the WAL")
        .fix("ALTER TABLE … SET LOGGED;"),
    )
}

#[cfg(test)]
mod tests {
    use super::super::finding::Severity;
    use super::super::fixtures::{complete_publication, table};
    use super::*;

    fn publication(updates: bool) -> PublicationRow {
        PublicationRow { all_tables: true, updates, deletes: updates, ..complete_publication() }
    }

    fn without_key() -> TableRow {
        TableRow { has_primary_key: false, ..table("Log") }
    }

    fn only(updates: bool, table: TableRow) -> Finding {
        let mut found = findings(&publication(updates), &[table]);
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    }

    #[test]
    fn a_table_with_a_key_passes() {
        assert_eq!(only(true, table("items")).severity, Severity::Ok);
        let by_index = TableRow {
            replica_identity: "i".into(),
            has_identity_index: true,
            has_primary_key: false,
            ..table("items")
        };
        assert_eq!(only(true, by_index).severity, Severity::Ok);
        let full = TableRow { replica_identity: "f".into(), ..table("items") };
        assert_eq!(only(true, full).severity, Severity::Ok);
    }

    #[test]
    fn a_table_whose_updates_fail_is_an_error() {
        let found = only(true, without_key());
        assert_eq!(found.severity, Severity::Error);
        assert_eq!(found.what, "the application's UPDATE and DELETE on Log FAIL");
        assert_eq!(
            found.fix,
            [
                "ALTER TABLE \"public\".\"Log\" ADD PRIMARY KEY (…);",
                "or, without a key: ALTER TABLE \"public\".\"Log\" REPLICA IDENTITY FULL;",
            ]
        );
        let nothing = TableRow { replica_identity: "n".into(), ..table("Log") };
        assert_eq!(
            only(true, nothing).fix,
            ["ALTER TABLE \"public\".\"Log\" REPLICA IDENTITY DEFAULT;"]
        );
        let unique = TableRow { candidate_index: Some("log_at".into()), ..without_key() };
        assert_eq!(
            only(true, unique).fix,
            ["ALTER TABLE \"public\".\"Log\" REPLICA IDENTITY USING INDEX \"log_at\";"]
        );
        let dropped = TableRow { replica_identity: "i".into(), ..without_key() };
        assert!(
            only(true, dropped).why.starts_with("the index that was its replica identity is gone")
        );
    }

    #[test]
    fn a_missing_key_is_a_note_where_updates_are_not_published() {
        assert_eq!(only(false, without_key()).severity, Severity::Note);
    }

    #[test]
    fn a_full_replica_identity_without_a_key_is_a_note() {
        let full = TableRow { replica_identity: "f".into(), ..without_key() };
        let found = only(true, full);
        assert_eq!(found.severity, Severity::Note);
        assert_eq!(found.fix, ["ALTER TABLE \"public\".\"Log\" ADD PRIMARY KEY (…);"]);
    }

    #[test]
    fn the_leaves_of_a_partitioned_table_are_checked_and_not_the_root() {
        let root = TableRow { kind: "p".into(), replica_identity: "n".into(), ..table("orders") };
        assert_eq!(only(true, root).severity, Severity::Ok);
        let leaf = TableRow {
            published: false,
            is_partition: true,
            published_through: Some("public.orders".into()),
            replica_identity: "n".into(),
            ..table("orders_1")
        };
        assert_eq!(only(true, leaf).severity, Severity::Error);
    }

    #[test]
    fn unpublished_tables_are_not_checked() {
        let other = TableRow { published: false, ..without_key() };
        assert_eq!(findings(&publication(true), &[other]), []);
    }

    #[test]
    fn filters_column_lists_and_unlogged_tables_are_notes() {
        let part = TableRow {
            row_filter: Some("(a > 1)".into()),
            has_column_list: true,
            ..table("items")
        };
        let unlogged = TableRow { persistence: "u".into(), published: false, ..table("sessions") };
        let found = findings(&publication(true), &[part, unlogged]);
        assert_eq!(found.len(), 3);
        assert!(found[0].what.ends_with("WHERE (a > 1)"));
        assert!(found[2].what.ends_with("never published: sessions"));
        assert!(found.iter().all(|finding| finding.severity == Severity::Note));
    }
}
