//! A walsender connection before streaming: SQL and replication commands.

use std::fmt::Write;

use tokio::time::timeout;

use super::conn_options::ConnectOptions;
use super::connect::connect;
use super::copy::CopyBoth;
use super::error::{ConnectError, ConnectErrorKind, WireError};
use super::login::{LoggedIn, SessionPurpose};
use super::message::ProtocolError;
use super::receive_window::limit_receive_window;
use super::server_error::ServerError;
use super::session::TextRow;
use super::timeline;
use crate::history::TimelineSwitch;
use crate::lsn::Lsn;
use crate::table::quoted;

/// The identity of the database cluster and the end of its WAL (`IDENTIFY_SYSTEM`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemIdentity {
    /// Shared only by a cluster and its physical copies.
    pub system_identifier: u64,
    /// Number of the current timeline.
    pub timeline: u32,
    /// End of the flushed WAL.
    pub xlogpos: Lsn,
    /// Name of the connection's database.
    pub database: String,
}

/// A connection with `replication=database`, which accepts SQL and replication commands.
///
/// Its session prints values in the form that `render` expects: `DateStyle=ISO`, `TimeZone=UTC`,
/// `IntervalStyle=postgres`, `extra_float_digits=1`, `bytea_output=hex`, in UTF-8.
pub struct WalsenderConnection {
    session: LoggedIn,
}

impl WalsenderConnection {
    /// Connects, authenticates, and verifies that the other end is a walsender.
    pub async fn connect(target: &ConnectOptions) -> Result<Self, ConnectError> {
        let session = Box::pin(connect(target, SessionPurpose::Replication)).await?;
        let mut connection = Self { session };
        let limit = target.connect_timeout;
        let kind = match timeout(limit, connection.identify_system()).await {
            Ok(Ok(_)) => return Ok(connection),
            Ok(Err(error)) => not_a_walsender(error),
            Err(_) => ConnectErrorKind::Timeout { seconds: limit.as_secs() },
        };
        Err(ConnectError::new(target.display_name(), kind))
    }

    /// Connects an ordinary session instead of a walsender, for SQL only, with the same settings.
    pub async fn connect_sql(target: &ConnectOptions) -> Result<Self, ConnectError> {
        Ok(Self { session: Box::pin(connect(target, SessionPurpose::Sql)).await? })
    }

    /// A parameter that the server has reported, such as `server_version`.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.session.parameters.get(name).map(String::as_str)
    }

    /// The walsender's process id on the server.
    pub fn backend_pid(&self) -> i32 {
        self.session.backend_pid
    }

    /// Runs SQL or a replication command and collects all rows, values as text. The connection stays usable
    /// after an error of the server. Not cancel safe: drop the connection instead.
    pub async fn simple_query(&mut self, sql: &str) -> Result<Vec<TextRow>, WireError> {
        self.session.simple_query(sql).await
    }

    /// Runs `IDENTIFY_SYSTEM`.
    pub async fn identify_system(&mut self) -> Result<SystemIdentity, WireError> {
        let rows = self.simple_query("IDENTIFY_SYSTEM").await?;
        let identity = rows.first().and_then(parse_identity);
        identity.ok_or(WireError::Unexpected("IDENTIFY_SYSTEM"))
    }

    /// Runs `TIMELINE_HISTORY`: the switches that led to a timeline, oldest first. The first timeline has no
    /// history; the file of a later one may be missing on the server (SQLSTATE 58P01).
    pub async fn timeline_history(
        &mut self,
        timeline: u32,
    ) -> Result<Vec<TimelineSwitch>, WireError> {
        let rows = self.simple_query(&format!("TIMELINE_HISTORY {timeline}")).await?;
        let switches = rows.first().and_then(timeline::parse);
        switches.ok_or(WireError::Unexpected("TIMELINE_HISTORY"))
    }

    /// Starts streaming from `slot` at the position `from`, with the output plugin's `options`.
    /// [`Lsn::ZERO`] means the slot's confirmed position; the server treats an earlier position likewise,
    /// without an error.
    pub async fn start_replication(
        mut self,
        slot: &str,
        from: Lsn,
        options: &[(&str, &str)],
    ) -> Result<CopyBoth, WireError> {
        // Before the first bytes arrive: shrinking the window later may make the kernel drop bytes that it
        // has already promised to accept.
        let window_is_limited = limit_receive_window(&self.session.channel.transport);
        self.session.send_query(&start_command(slot, from, options)).await?;
        loop {
            let message = self.session.channel.next_message().await?;
            match message.tag {
                // CopyBothResponse
                b'W' => return Ok(CopyBoth::new(self.session.channel, window_is_limited)),
                b'E' => return Err(ServerError::parse(&message.body).into()),
                b'N' | b'S' | b'A' => {}
                tag => {
                    return Err(
                        ProtocolError::Unexpected { tag, length: message.body.len() }.into()
                    );
                }
            }
        }
    }

    /// Ends the session.
    pub async fn close(self) {
        self.session.terminate().await;
    }
}

/// Some poolers accept the startup parameter `replication`, ignore it, and pass the command on as SQL: a
/// syntax error (42601).
fn not_a_walsender(error: WireError) -> ConnectErrorKind {
    match error {
        WireError::Server(error) if error.sqlstate == "42601" => ConnectErrorKind::Pooler(error),
        other => other.into(),
    }
}

fn parse_identity(row: &TextRow) -> Option<SystemIdentity> {
    let [Some(system), Some(timeline), Some(xlogpos), Some(database)] = row.as_slice() else {
        return None;
    };
    Some(SystemIdentity {
        system_identifier: system.parse().ok()?,
        timeline: timeline.parse().ok()?,
        xlogpos: xlogpos.parse().ok()?,
        database: database.clone(),
    })
}

fn start_command(slot: &str, from: Lsn, options: &[(&str, &str)]) -> String {
    let mut command = format!("START_REPLICATION SLOT {} LOGICAL {from}", quoted(slot));
    let mut separator = " (";
    for (name, value) in options {
        // The replication grammar has no backslash escapes.
        let value = value.replace('\'', "''");
        let _ = write!(command, "{separator}{} '{value}'", quoted(name));
        separator = ", ";
    }
    if !options.is_empty() {
        command.push(')');
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_quotes_names_and_values() {
        assert_eq!(start_command("hw", Lsn(0), &[]), r#"START_REPLICATION SLOT "hw" LOGICAL 0/0"#);
        let options = [("proto_version", "1"), ("publication_names", r#""it's""#)];
        assert_eq!(
            start_command("hw", Lsn(0x1_0000_00AB), &options),
            r#"START_REPLICATION SLOT "hw" LOGICAL 1/AB ("proto_version" '1', "publication_names" '"it''s"')"#
        );
    }

    #[test]
    fn an_identity_is_complete_or_none() {
        let row = |timeline: Option<&str>| {
            let texts = [Some("7312345678901234567"), timeline, Some("0/16B3748"), Some("app")];
            texts.map(|text| text.map(str::to_owned)).to_vec()
        };
        let identity = parse_identity(&row(Some("3"))).unwrap();
        assert_eq!((identity.timeline, identity.xlogpos), (3, Lsn(0x16B_3748)));
        assert_eq!(parse_identity(&row(None)), None);
        assert_eq!(parse_identity(&row(Some("x"))), None);
        assert_eq!(parse_identity(&Vec::new()), None);
    }
}
