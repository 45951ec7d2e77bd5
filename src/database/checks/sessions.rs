//! Open transactions that a new slot has to wait for.

use serde::Deserialize;

use super::finding::Finding;
use crate::database::sql::literal;

/// A row of `check_sessions.sql`: an open transaction that has written.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct SessionRow {
    /// `session` or `prepared`.
    pub(crate) kind: String,
    /// The process id, or the prepared transaction's identifier.
    pub(crate) name: String,
    pub(crate) application: String,
    pub(crate) role: Option<String>,
    pub(crate) database: Option<String>,
    pub(crate) state: Option<String>,
    pub(crate) open_seconds: Option<i64>,
}

/// Open transactions matter only until the slot exists.
pub(crate) fn findings(sessions: &[SessionRow], slot_exists: bool) -> Vec<Finding> {
    if slot_exists {
        return Vec::new();
    }
    sessions.iter().map(blocker).collect()
}

fn blocker(session: &SessionRow) -> Finding {
    let open = session.open_seconds.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(0);
    let open = humantime::format_duration(std::time::Duration::from_secs(open));
    let of = [
        ("application ", Some(session.application.as_str())),
        ("role ", session.role.as_deref()),
        ("database ", session.database.as_deref()),
        ("", session.state.as_deref()),
    ];
    let of: Vec<String> = of
        .iter()
        .filter_map(|(label, value)| value.filter(|v| !v.is_empty()).map(|v| format!("{label}{v}")))
        .collect();
    let (what, fix) = if session.kind == "prepared" {
        let name = literal(&session.name);
        let fix = format!("COMMIT PREPARED {0}; or ROLLBACK PREPARED {0};", name.trim());
        (format!("prepared transaction {}", session.name), fix)
    } else {
        let fix = format!("end it, or: SELECT pg_terminate_backend({});", session.name);
        (format!("the transaction of the session with PID {}", session.name), fix)
    };
    Finding::warn("open transaction", format!("{what} has been open for {open} ({})", of.join(", ")))
        .why("a new slot is ready only when every transaction that was open at its creation has ended; until then `highwater run` waits")
        .fix(fix)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> SessionRow {
        SessionRow {
            kind: "session".into(),
            name: "42".into(),
            application: "psql".into(),
            role: Some("app".into()),
            database: Some("shop".into()),
            state: Some("idle in transaction".into()),
            open_seconds: Some(90),
        }
    }

    #[test]
    fn a_blocking_session_is_reported() {
        let found = findings(&[session()], false);
        assert_eq!(
            found[0].what,
            "the transaction of the session with PID 42 has been open for 1m 30s (application psql, \
             role app, database shop, idle in transaction)"
        );
        assert_eq!(found[0].fix, ["end it, or: SELECT pg_terminate_backend(42);"]);
        assert_eq!(findings(&[session()], true), []);
    }

    #[test]
    fn a_prepared_transaction_is_reported_by_its_identifier() {
        let prepared = SessionRow { kind: "prepared".into(), name: "it's".into(), ..session() };
        let found = findings(&[prepared], false);
        assert_eq!(found[0].fix, ["COMMIT PREPARED 'it''s'; or ROLLBACK PREPARED 'it''s';"]);
    }
}
