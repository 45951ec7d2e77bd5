//! The meaning of a rejected login: by SQLSTATE and, where one SQLSTATE has several meanings, by the name
//! of the server's function, which does not depend on the server's language.

use super::SessionPurpose;
use crate::wire::conn_options::ConnectOptions;
use crate::wire::error::ConnectErrorKind;
use crate::wire::server_error::ServerError;

/// Classifies the error with which the server rejected a session.
pub(super) fn classify(
    error: Box<ServerError>,
    target: &ConnectOptions,
    purpose: SessionPurpose,
) -> ConnectErrorKind {
    let user = || target.user.clone();
    let database = || target.database.clone();
    match error.sqlstate.as_str() {
        "28P01" => ConnectErrorKind::WrongPassword { user: user(), error },
        // invalid_authorization_specification
        "28000" if error.raised_by("ClientAuthentication") => {
            ConnectErrorKind::HbaRejected { user: user(), database: database(), error }
        }
        "28000" if error.raised_by("InitializeSessionUserId") => {
            ConnectErrorKind::RoleRefused { user: user(), error }
        }
        "3D000" => ConnectErrorKind::NoSuchDatabase(error),
        // insufficient_privilege: the privilege to replicate is checked before the database.
        "42501"
            if purpose == SessionPurpose::Replication && !error.raised_by("CheckMyDatabase") =>
        {
            ConnectErrorKind::NoReplicationPrivilege { user: user(), error }
        }
        "42501" => {
            ConnectErrorKind::NoConnectPrivilege { user: user(), database: database(), error }
        }
        "53300" => ConnectErrorKind::TooManyConnections { error, remedy: remedy(purpose) },
        "57P03" => ConnectErrorKind::NotAccepting(error),
        _ if is_from_pooler(&error) => ConnectErrorKind::Pooler(error),
        _ => ConnectErrorKind::Rejected(error),
    }
}

fn remedy(purpose: SessionPurpose) -> &'static str {
    match purpose {
        SessionPurpose::Replication => {
            "raise max_wal_senders or max_connections, or the role's limit"
        }
        SessionPurpose::Sql => "raise max_connections, or the role's or database's limit",
    }
}

/// Whether it is PgBouncer's error about a startup parameter that it does not support. PostgreSQL itself
/// names a routine in every error, poolers don't.
fn is_from_pooler(error: &ServerError) -> bool {
    error.routine.is_none() && error.message.contains("unsupported startup parameter")
}
