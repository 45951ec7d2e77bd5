//! The publication's settings and tables.

use serde::Deserialize;

use super::finding::{Finding, some_of};
use super::table_row::TableRow;
use crate::table::quoted;

/// A row of `check_publication.sql`.
#[derive(Clone, Debug, Deserialize)]
#[allow(clippy::struct_excessive_bools, reason = "the columns of the catalog")]
pub(crate) struct PublicationRow {
    pub(crate) all_tables: bool,
    pub(crate) inserts: bool,
    pub(crate) updates: bool,
    pub(crate) deletes: bool,
    pub(crate) truncates: bool,
    pub(crate) via_partition_root: bool,
    pub(crate) owner: String,
    pub(crate) may_alter: bool,
}

/// The finding when the publication does not exist. `created`: `highwater run` will create it.
pub(crate) fn missing(name: &str, created: bool) -> Finding {
    let what = format!("publication {name} does not exist");
    if created {
        return Finding::note("publication", what)
            .why("postgres.setup is auto: `highwater run` creates it");
    }
    Finding::error("publication", what)
        .why("the publication determines which tables' changes are reported")
        .fix("highwater setup --apply")
        .fix(format!(
            "or: CREATE PUBLICATION {} FOR TABLE … WITH (publish_via_partition_root = true);",
            quoted(name)
        ))
}

pub(crate) fn findings(
    name: &str,
    publication: &PublicationRow,
    tables: &[TableRow],
) -> Vec<Finding> {
    let mut findings = vec![operations(name, publication)];
    findings.extend(partition_root(name, publication, tables));
    findings.push(published(name, publication, tables));
    if !publication.may_alter {
        findings.push(
            Finding::note(
                "publication",
                format!("publication {name} belongs to {}", publication.owner),
            )
            .why("this role can read its changes but cannot alter it"),
        );
    }
    findings
}

fn operations(name: &str, publication: &PublicationRow) -> Finding {
    let all = [
        ("insert", publication.inserts),
        ("update", publication.updates),
        ("delete", publication.deletes),
        ("truncate", publication.truncates),
    ];
    let missing: Vec<&str> =
        all.iter().filter(|(_, published)| !published).map(|(op, _)| *op).collect();
    if missing.is_empty() {
        return Finding::ok("publication", format!("publication {name} publishes every operation"));
    }
    let missing = missing.join(", ");
    Finding::warn("publication", format!("publication {name} does not publish {missing}"))
        .why("clients receive no changes for these operations, so their copies become wrong silently")
        .fix(format!(
            "ALTER PUBLICATION {} SET (publish = 'insert, update, delete, truncate');",
            quoted(name)
        ))
}

fn partition_root(
    name: &str,
    publication: &PublicationRow,
    tables: &[TableRow],
) -> Option<Finding> {
    let leaf = tables.iter().find(|table| table.published && table.is_partition)?;
    if publication.via_partition_root {
        return None;
    }
    Some(
        Finding::warn("publication", "publish_via_partition_root is off")
            .why(format!(
                "changes are reported under the names of partitions (such as {}), and the partitioned table itself is unknown",
                leaf.full_name()
            ))
            .fix(format!(
                "ALTER PUBLICATION {} SET (publish_via_partition_root = true);",
                quoted(name)
            )),
    )
}

fn published(name: &str, publication: &PublicationRow, tables: &[TableRow]) -> Finding {
    let count = tables.iter().filter(|table| table.published).count();
    if count == 0 {
        let finding = Finding::warn("publication", format!("publication {name} has no tables"))
            .why("there are no changes to report");
        return if publication.all_tables {
            finding
        } else {
            finding.fix(format!("ALTER PUBLICATION {} ADD TABLE …;", quoted(name)))
        };
    }
    let unpublished: Vec<String> = tables
        .iter()
        .filter(|table| !table.is_followed() && !table.is_partition && table.persistence == "p")
        // With publish_via_partition_root off its partitions are published in its place.
        .filter(|table| table.kind != "p" || publication.via_partition_root)
        .map(TableRow::full_name)
        .collect();
    let what =
        format!("publication {name} has {count} {}", if count == 1 { "table" } else { "tables" });
    if unpublished.is_empty() {
        return Finding::ok("publication", what);
    }
    let rest = match unpublished.len() {
        1 => "1 table of this database is".to_owned(),
        several => format!("{several} tables of this database are"),
    };
    Finding::note("publication", format!("{what}; {rest} not in it"))
        .why(format!("not published: {}", some_of(&unpublished)))
        .fix(format!("to add one: ALTER PUBLICATION {} ADD TABLE …;", quoted(name)))
}

#[cfg(test)]
mod tests {
    use super::super::finding::Severity;
    use super::super::fixtures::{complete_publication, table};
    use super::*;

    fn problems(publication: &PublicationRow, tables: &[TableRow]) -> Vec<Finding> {
        let mut found = findings("highwater", publication, tables);
        found.retain(|finding| finding.severity != Severity::Ok);
        found
    }

    #[test]
    fn a_complete_publication_has_no_findings() {
        assert_eq!(problems(&complete_publication(), &[table("items")]), []);
    }

    #[test]
    fn unpublished_operations_are_named() {
        let publication =
            PublicationRow { deletes: false, truncates: false, ..complete_publication() };
        let found = problems(&publication, &[table("items")]);
        assert_eq!(found[0].what, "publication highwater does not publish delete, truncate");
        assert!(found[0].fix[0].starts_with("ALTER PUBLICATION \"highwater\" SET (publish ="));
    }

    #[test]
    fn partitions_published_under_their_own_names_are_reported() {
        let publication = PublicationRow { via_partition_root: false, ..complete_publication() };
        assert_eq!(problems(&publication, &[table("items")]), []);
        let leaf = TableRow { is_partition: true, ..table("orders_2025") };
        let found = problems(&publication, std::slice::from_ref(&leaf));
        assert!(found[0].why.contains("orders_2025"), "{found:?}");
        assert_eq!(problems(&complete_publication(), &[leaf]), []);
    }

    #[test]
    fn unpublished_tables_are_a_note_and_an_empty_publication_a_warning() {
        let unpublished = TableRow { published: false, ..table("audit") };
        let found = problems(&complete_publication(), &[table("items"), unpublished.clone()]);
        assert_eq!(found[0].severity, Severity::Note);
        assert!(found[0].what.ends_with("; 1 table of this database is not in it"), "{found:?}");
        assert_eq!(found[0].why, "not published: audit");
        assert_eq!(problems(&complete_publication(), &[unpublished])[0].severity, Severity::Warn);
        let leaf = TableRow {
            published: false,
            is_partition: true,
            published_through: Some("public.orders".into()),
            ..table("orders_2025")
        };
        assert_eq!(problems(&complete_publication(), &[table("orders"), leaf]), []);
    }

    #[test]
    fn a_missing_publication_is_an_error_unless_run_creates_it() {
        assert_eq!(missing("p", false).severity, Severity::Error);
        assert_eq!(missing("p", true).severity, Severity::Note);
    }

    #[test]
    fn long_lists_are_abbreviated() {
        let names: Vec<String> = (0..12).map(|n| n.to_string()).collect();
        assert_eq!(some_of(&names), "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more");
    }
}
