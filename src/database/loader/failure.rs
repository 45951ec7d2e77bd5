//! The failures of a load, and the errors that the caller receives for them.

use std::time::Duration;

use crate::key::Key;
use crate::load::LoadError;
use crate::render::Unrenderable;
use crate::table::{Table, quoted};
use crate::wire::{ConnectError, ProtocolError, ServerError, WireError};

use super::query::qualified;

/// The reason why a query failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadFailure {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("the server has sent nothing for {} s", .0.as_secs())]
    Silent(Duration),
    #[error("all {0} connections for loading rows are busy")]
    Busy(usize),
    #[error("the server's response is not of the expected form")]
    Unexpected,
    #[error(transparent)]
    Unrenderable(#[from] Unrenderable),
    /// Already an error for the caller.
    #[error(transparent)]
    Load(#[from] LoadError),
}

impl From<ProtocolError> for LoadFailure {
    fn from(error: ProtocolError) -> Self {
        Self::Wire(error.into())
    }
}

impl LoadFailure {
    /// The server's error about a statement, after which the session can still be used.
    pub(super) fn statement_error(&self) -> Option<&ServerError> {
        match self {
            Self::Wire(error) => error.server_error().filter(|error| error.severity == "ERROR"),
            _ => None,
        }
    }

    /// Whether the session can no longer be used.
    pub(super) fn ends_session(&self) -> bool {
        match self {
            Self::Wire(_) => self.statement_error().is_none(),
            Self::Silent(_) | Self::Unexpected => true,
            _ => false,
        }
    }

    /// Whether the server rejected a value, possibly that of a key that is not valid for its type.
    pub(super) fn blames_a_value(&self) -> bool {
        self.statement_error().is_some_and(|error| is_about_values(&error.sqlstate))
    }

    /// The error for the caller that requested rows of the table. `role` is the session's role.
    pub(super) fn into_load_error(self, table: &Table, role: &str) -> LoadError {
        if let Some(error) = self.statement_error() {
            return refusal(error, table, role);
        }
        match self {
            Self::Load(error) => error,
            Self::Unrenderable(_) => LoadError::Refused(format!(
                "table {}: a key can't be rendered as JSON exactly; give the table a key of another \
                 type",
                table.name
            )),
            other => LoadError::Unavailable(other.to_string()),
        }
    }
}

/// The reason why one row can't be served: the database can't convert it to JSON and returned `error`.
pub(super) fn unencodable(table: &Table, key: &Key, error: &LoadFailure) -> String {
    format!(
        "the row {key:?} of table {} can't be written as JSON ({error}); change that value, or leave \
         its column out with columns = [...]",
        table.name
    )
}

/// Data exceptions (class 22), and a violated `CHECK` of a domain.
fn is_about_values(sqlstate: &str) -> bool {
    sqlstate.starts_with("22") || sqlstate == "23514"
}

/// The meaning of a server error for the caller (manual: "PostgreSQL Error Codes").
fn refusal(error: &ServerError, table: &Table, role: &str) -> LoadError {
    match error.sqlstate.as_str() {
        "42501" if error.raised_by("check_enable_rls") => LoadError::Refused(format!(
            "row-level security would hide rows of table {name} from role \"{role}\"; run \
             ALTER ROLE {quoted_role} BYPASSRLS, or ALTER TABLE {table} DISABLE ROW LEVEL SECURITY",
            name = table.name,
            quoted_role = quoted(role),
            table = qualified(table),
        )),
        "42501" => LoadError::Refused(format!(
            "role \"{role}\" may not read table {name} ({error}); run GRANT USAGE ON SCHEMA \
             {schema} TO {quoted_role}; GRANT SELECT ON {table} TO {quoted_role}",
            name = table.name,
            schema = quoted(&table.name.schema),
            quoted_role = quoted(role),
            table = qualified(table),
        )),
        // A schema, table, column, type or operator does not exist, or the name is not a table's any more.
        "3F000" | "42P01" | "42703" | "42704" | "42883" | "42809" => LoadError::Outdated,
        "55P03" => LoadError::Unavailable(format!(
            "table {} is locked by another session that changes its definition",
            table.name
        )),
        state if is_about_values(state) || state.starts_with("42") || state.starts_with("0A") => {
            LoadError::Refused(format!("rows of table {} can't be read: {error}", table.name))
        }
        _ => LoadError::Unavailable(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{RowCaching, TableName, TableOid, Tracking};

    fn load_error(severity: &str, sqlstate: &str, routine: &str) -> LoadError {
        let table = Table {
            oid: TableOid(1),
            name: TableName::new("shop", "items"),
            key_columns: vec!["id".into()],
            tracking: Tracking::Ids,
            rows: RowCaching::Disabled,
            scope: vec![],
        };
        let error = ServerError {
            severity: severity.into(),
            sqlstate: sqlstate.into(),
            message: "no".into(),
            routine: Some(routine.into()),
            ..ServerError::default()
        };
        LoadFailure::Wire(error.into()).into_load_error(&table, "hw")
    }

    #[test]
    fn temporary_and_permanent_errors_are_distinguished() {
        for (sqlstate, expected) in [
            ("42P01", "the table's definition has just changed"),
            ("55P03", "rows can't be read from the database now: table shop.items is locked"),
            ("57014", "rows can't be read from the database now: no"),
            ("53300", "rows can't be read from the database now: no"),
            ("22P05", "rows of table shop.items can't be read: no"),
        ] {
            let text = load_error("ERROR", sqlstate, "x").to_string();
            assert!(text.starts_with(expected), "{sqlstate}: {text}");
        }
        assert!(matches!(load_error("FATAL", "42P01", "x"), LoadError::Unavailable(_)));
    }

    #[test]
    fn missing_privileges_are_reported_with_the_grant() {
        let text = load_error("ERROR", "42501", "aclcheck_error").to_string();
        assert!(text.ends_with(r#"GRANT SELECT ON "shop"."items" TO "hw""#), "{text}");
        let text = load_error("ERROR", "42501", "check_enable_rls").to_string();
        assert!(text.contains(r#"ALTER ROLE "hw" BYPASSRLS"#), "{text}");
    }
}
