//! The statements of `sql/`; [`fill`] replaces their placeholders.

pub(crate) use crate::sql_text::without_comments;
pub use crate::sql_text::{fill, literal};

/// Creates the role Highwater connects as. Placeholders: role, database.
pub const ROLE: &str = include_str!("../../sql/role.sql");
/// Creates that role on Amazon RDS, where membership in `rds_replication` replaces REPLICATION.
pub const ROLE_RDS: &str = include_str!("../../sql/role_rds.sql");
/// Creates the publication. Placeholders: publication, scope.
pub const PUBLICATION: &str = include_str!("../../sql/publication.sql");
/// Adds tables to the publication. Placeholders: publication, scope (without `FOR`).
pub const PUBLICATION_ADD: &str = include_str!("../../sql/publication_add.sql");
/// Creates the slot, which must be younger than the publication. Placeholder: slot.
pub const SLOT: &str = include_str!("../../sql/slot.sql");
/// Grants a role `SELECT` on a table whose rows are cached.
pub(crate) const GRANT_ROWS: &str = include_str!("../../sql/grant_rows.sql");
/// Creates the event triggers that announce changed definitions in the change stream.
pub const EVENT_TRIGGER: &str = include_str!("../../sql/event_trigger.sql");
/// Drops those event triggers and their functions.
pub const DROP_EVENT_TRIGGER: &str = include_str!("../../sql/drop_event_trigger.sql");
/// Drops the slot; fails while it is in use. Placeholder: slot.
pub const DROP_SLOT: &str = include_str!("../../sql/drop_slot.sql");
/// Drops the publication if it exists. Placeholder: publication.
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
            // A colon may also be a literal: concat_ws(':', …).
            let others = filled.replace("':'", "");
            assert!(!others.contains(":\"") && !others.contains(":'"), "{filled}");
            assert!(filled.trim_end().ends_with(';'), "{filled}");
        }
    }
}
