//! What a refusal means: by SQLSTATE and, where one SQLSTATE means several things, by the name of
//! the server's function, which no translation changes.

use super::Purpose;
use crate::wire::error::Trouble;
use crate::wire::server_error::ServerError;
use crate::wire::target::Target;

/// The trouble behind the server's refusal of a session.
pub(super) fn verdict(error: Box<ServerError>, target: &Target, purpose: Purpose) -> Trouble {
    let user = || target.user.clone();
    let database = || target.database.clone();
    match error.sqlstate.as_str() {
        "28P01" => Trouble::WrongPassword { user: user(), error },
        // invalid_authorization_specification
        "28000" if error.raised_by("ClientAuthentication") => {
            Trouble::HbaRejected { user: user(), database: database(), error }
        }
        "28000" if error.raised_by("InitializeSessionUserId") => {
            Trouble::RoleRefused { user: user(), error }
        }
        "3D000" => Trouble::NoSuchDatabase(error),
        // insufficient_privilege: the right to replicate is checked before the database is looked at.
        "42501" if purpose == Purpose::Replication && !error.raised_by("CheckMyDatabase") => {
            Trouble::NoReplicationPrivilege { user: user(), error }
        }
        "42501" => Trouble::NoConnectPrivilege { user: user(), database: database(), error },
        "53300" => Trouble::TooManyConnections { error, remedy: remedy(purpose) },
        "57P03" => Trouble::NotAccepting(error),
        _ if is_a_poolers(&error) => Trouble::Pooler(error),
        _ => Trouble::Refused(error),
    }
}

fn remedy(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Replication => "raise max_wal_senders or max_connections, or the role's limit",
        Purpose::Sql => "raise max_connections, or the role's or database's limit",
    }
}

/// PgBouncer's words for a start-up parameter it doesn't carry. PostgreSQL itself names a routine in
/// every error, poolers don't.
fn is_a_poolers(error: &ServerError) -> bool {
    error.routine.is_none() && error.message.contains("unsupported startup parameter")
}
