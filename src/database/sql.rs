//! The statements of `sql/`; [`fill`] replaces their placeholders.

pub(crate) use crate::sql_text::without_comments;
pub use crate::sql_text::{fill, literal};

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

#[cfg(test)]
mod tests {
    use super::*;

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
