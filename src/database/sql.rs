//! The statements of `sql/`, and how their placeholders are filled.
//!
//! The files are written for psql: `:"name"` is an identifier, `:'name'` a literal, `:name` text
//! taken as it stands (`psql -v name=value -f file.sql` runs them unchanged). Here the same is done
//! in Rust, in one pass, so that a value is never looked at again and comments stay untouched.

use crate::table::quoted;

/// The role Highwater connects as.
pub const ROLE: &str = include_str!("../../sql/role.sql");
/// The same on Amazon RDS.
pub const ROLE_RDS: &str = include_str!("../../sql/role_rds.sql");
/// Creates the publication.
pub const PUBLICATION: &str = include_str!("../../sql/publication.sql");
/// Adds to the publication.
pub const PUBLICATION_ADD: &str = include_str!("../../sql/publication_add.sql");
/// Creates the slot.
pub const SLOT: &str = include_str!("../../sql/slot.sql");
/// Lets a role read a table.
pub(crate) const GRANT_ROWS: &str = include_str!("../../sql/grant_rows.sql");
/// Makes changed definitions announce themselves in the change stream.
pub const EVENT_TRIGGER: &str = include_str!("../../sql/event_trigger.sql");
/// Takes that back.
pub const DROP_EVENT_TRIGGER: &str = include_str!("../../sql/drop_event_trigger.sql");
/// Drops the slot.
pub const DROP_SLOT: &str = include_str!("../../sql/drop_slot.sql");
/// Drops the publication.
pub const DROP_PUBLICATION: &str = include_str!("../../sql/drop_publication.sql");
pub(crate) const CHECK_EVENT_TRIGGER: &str = include_str!("../../sql/check_event_trigger.sql");
pub(crate) const CHECK_SETTINGS: &str = include_str!("../../sql/check_settings.sql");
pub(crate) const CHECK_ROLE: &str = include_str!("../../sql/check_role.sql");
pub(crate) const CHECK_ROLE_NAMED: &str = include_str!("../../sql/check_role_named.sql");
pub(crate) const CHECK_PUBLICATION: &str = include_str!("../../sql/check_publication.sql");
pub(crate) const CHECK_TABLES: &str = include_str!("../../sql/check_tables.sql");
pub(crate) const CHECK_SLOT: &str = include_str!("../../sql/check_slot.sql");
pub(crate) const CHECK_SESSIONS: &str = include_str!("../../sql/check_sessions.sql");
pub(crate) const TABLE_DEFINITION: &str = include_str!("../../sql/table_definition.sql");
pub(crate) const CHECK_POOLER: &str = include_str!("../../sql/check_pooler.sql");

/// `text` as a string literal, whatever `standard_conforming_strings` says.
pub fn literal(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    if doubled.contains('\\') {
        format!(" E'{}'", doubled.replace('\\', "\\\\"))
    } else {
        format!("'{doubled}'")
    }
}

/// The statement with every placeholder filled. Its comments are kept, up to the paragraph that
/// explains the placeholders: there are none any more.
///
/// A placeholder without a value is left as it stands, which no server accepts.
pub fn fill(statement: &str, values: &[(&str, &str)]) -> String {
    let mut filled = String::with_capacity(statement.len());
    let mut explaining = false;
    for line in statement.split_inclusive('\n') {
        let comment = line.trim_start().starts_with("--");
        explaining = comment && (explaining || line.starts_with("-- Placeholders:"));
        if !comment {
            fill_line(line, values, &mut filled);
        } else if !explaining {
            filled.push_str(line);
        }
    }
    filled
}

/// The statement without its comments, as it is sent.
pub(crate) fn without_comments(statement: &str) -> String {
    statement
        .lines()
        .filter(|line| !line.trim_start().starts_with("--"))
        .collect::<Vec<_>>()
        .join("\n")
}

fn fill_line(line: &str, values: &[(&str, &str)], filled: &mut String) {
    let mut rest = line;
    while let Some(at) = rest.find(':') {
        let (before, from_colon) = rest.split_at(at);
        filled.push_str(before);
        // A cast (`::text`) and an array slice (`[0:n]`) are no placeholders.
        let found = values.iter().find_map(|(name, value)| placeholder(from_colon, name, value));
        rest = if let Some((value, after)) = found {
            filled.push_str(&value);
            after
        } else {
            let skipped = if from_colon.starts_with("::") { 2 } else { 1 };
            let (colons, after) = from_colon.split_at(skipped);
            filled.push_str(colons);
            after
        };
    }
    filled.push_str(rest);
}

/// The value in place of the placeholder that `text` starts with, and what follows it.
fn placeholder<'a>(text: &'a str, name: &str, value: &str) -> Option<(String, &'a str)> {
    let rest = text.strip_prefix(':')?;
    if let Some(after) = rest.strip_prefix(&*format!("\"{name}\"")) {
        return Some((quoted(value), after));
    }
    if let Some(after) = rest.strip_prefix(&*format!("'{name}'")) {
        return Some((literal(value), after));
    }
    let after = rest.strip_prefix(name)?;
    let ends = !after.starts_with(|c: char| c.is_alphanumeric() || c == '_');
    ends.then(|| (value.to_owned(), after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_quoted_as_psql_would() {
        let filled = fill("SELECT :\"a\", :'a', :a, x::a, y[0:b];", &[("a", "o'n\"e")]);
        assert_eq!(filled, "SELECT \"o'n\"\"e\", 'o''n\"e', o'n\"e, x::a, y[0:b];");
        assert_eq!(fill(":'a' :a_b", &[("a", r"\x")]), r" E'\\x' :a_b");
    }

    #[test]
    fn a_value_is_never_filled_again_and_comments_are_left_alone() {
        let filled = fill("-- :\"a\"\n:\"a\" :\"b\"", &[("a", ":\"b\""), ("b", "x\n")]);
        assert_eq!(filled, "-- :\"a\"\n\":\"\"b\"\"\" \"x\n\"");
        let filled =
            fill("-- Why.\n-- Placeholders: a, one of\n--   b\nSELECT :a;\n-- End.", &[("a", "1")]);
        assert_eq!(filled, "-- Why.\nSELECT 1;\n-- End.");
        assert_eq!(without_comments("-- why\nSELECT 1;\n"), "SELECT 1;");
    }

    #[test]
    fn every_placeholder_of_every_file_has_a_value_somewhere() {
        let values: Vec<(&str, &str)> =
            ["role", "database", "publication", "slot", "scope", "oid", "schema", "table"]
                .map(|name| (name, "x"))
                .into();
        for statement in [
            ROLE,
            ROLE_RDS,
            PUBLICATION,
            PUBLICATION_ADD,
            SLOT,
            DROP_SLOT,
            DROP_PUBLICATION,
            EVENT_TRIGGER,
            DROP_EVENT_TRIGGER,
            CHECK_EVENT_TRIGGER,
            CHECK_SETTINGS,
            CHECK_ROLE,
            CHECK_ROLE_NAMED,
            CHECK_PUBLICATION,
            CHECK_TABLES,
            CHECK_SLOT,
            CHECK_SESSIONS,
            CHECK_POOLER,
            TABLE_DEFINITION,
            GRANT_ROWS,
        ] {
            let filled = without_comments(&fill(statement, &values));
            // A colon may be a value, too: concat_ws(':', …).
            let others = filled.replace("':'", "");
            assert!(!others.contains(":\"") && !others.contains(":'"), "{filled}");
            assert!(filled.trim_end().ends_with(';'), "{filled}");
        }
    }
}
