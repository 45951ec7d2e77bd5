//! What can be done with any session: ask, and leave.

use super::channel::Message;
use super::error::WireError;
use super::login::Session;
use super::message::ProtocolError;
use super::server_error::ServerError;
use super::target::SessionAttrs;

/// A row of a simple query: every value as text.
pub(crate) type TextRow = Vec<Option<String>>;

impl Session {
    /// Runs SQL (or, on a walsender, a replication command) and collects all rows.
    pub(crate) async fn simple_query(&mut self, sql: &str) -> Result<Vec<TextRow>, WireError> {
        self.send_query(sql).await?;
        let mut rows = Vec::new();
        let mut failure = None;
        loop {
            let message = self.channel.next_message().await?;
            match message.tag {
                b'D' => rows.push(parse_row(&message)?),
                b'E' => failure = Some(fatal_or_later(&message)?),
                b'Z' => break,
                b'S' => self.note_parameter(&message),
                // RowDescription, CommandComplete, EmptyQueryResponse, notices and notifications.
                b'T' | b'C' | b'I' | b'N' | b'A' => {}
                tag => {
                    return Err(
                        ProtocolError::Unexpected { tag, length: message.body.len() }.into()
                    );
                }
            }
        }
        failure.map_or(Ok(rows), |error| Err(error.into()))
    }

    /// Sends a query and waits for nothing.
    pub(crate) async fn send_query(&mut self, sql: &str) -> Result<(), WireError> {
        let length = u32::try_from(4 + sql.len() + 1).ok().filter(|_| !sql.contains('\0'));
        let length =
            length.ok_or(WireError::Unexpected("a query that is too long or holds a zero byte"))?;
        let out = &mut self.channel.unsent;
        out.push(b'Q');
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(sql.as_bytes());
        out.push(0);
        Ok(self.channel.flush().await?)
    }

    fn note_parameter(&mut self, message: &Message) {
        if let Some((name, value)) = super::login::parse_parameter(&message.body) {
            self.parameters.insert(name, value);
        }
    }

    /// Whether the server is of the kind `target_session_attrs` asks for.
    pub(crate) async fn satisfies(&mut self, wanted: SessionAttrs) -> Result<bool, WireError> {
        Ok(match wanted {
            SessionAttrs::Any | SessionAttrs::PreferStandby => true,
            SessionAttrs::Primary => !self.is_standby().await?,
            SessionAttrs::Standby => self.is_standby().await?,
            SessionAttrs::ReadWrite => !self.is_read_only().await?,
            SessionAttrs::ReadOnly => self.is_read_only().await?,
        })
    }

    async fn is_read_only(&mut self) -> Result<bool, WireError> {
        let by_default = "SHOW transaction_read_only";
        let setting = self.reported_or_asked("default_transaction_read_only", by_default).await?;
        Ok(setting || self.is_standby().await?)
    }

    async fn is_standby(&mut self) -> Result<bool, WireError> {
        self.reported_or_asked("in_hot_standby", "SELECT pg_catalog.pg_is_in_recovery()").await
    }

    /// Servers report these two since PostgreSQL 14; poolers may not.
    async fn reported_or_asked(&mut self, parameter: &str, sql: &str) -> Result<bool, WireError> {
        if let Some(value) = self.parameters.get(parameter) {
            return Ok(value == "on");
        }
        let rows = self.simple_query(sql).await?;
        let value = rows.first().and_then(|row| row.first()).and_then(Option::as_deref);
        Ok(matches!(value, Some("t" | "on")))
    }

    /// Ends the session politely; nobody waits for an answer.
    pub(crate) async fn leave(mut self) {
        self.channel.unsent.extend_from_slice(b"X\0\0\0\x04");
        let _ = self.channel.flush().await;
    }
}

/// After an ERROR the server is ready again; after a FATAL one it is gone.
fn fatal_or_later(message: &Message) -> Result<ServerError, WireError> {
    let error = ServerError::parse(&message.body);
    if error.severity == "ERROR" { Ok(error) } else { Err(error.into()) }
}

fn parse_row(message: &Message) -> Result<TextRow, ProtocolError> {
    let cut_short = ProtocolError::CutShort { tag: message.tag, length: message.body.len() };
    read_row(&message.body).ok_or(cut_short)
}

fn read_row(body: &[u8]) -> Option<TextRow> {
    let (count, mut rest) = body.split_first_chunk()?;
    let mut row = Vec::new();
    for _ in 0..u16::from_be_bytes(*count) {
        let (length, after) = rest.split_first_chunk()?;
        rest = after;
        // -1 is NULL.
        let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
            row.push(None);
            continue;
        };
        let (value, after) = rest.split_at_checked(length)?;
        row.push(Some(String::from_utf8_lossy(value).into_owned()));
        rest = after;
    }
    Some(row)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rows_are_read() {
        let body = b"\0\x03\0\0\0\x02ab\xff\xff\xff\xff\0\0\0\0";
        assert_eq!(read_row(body), Some(vec![Some("ab".into()), None, Some(String::new())]));
        for end in 0..body.len() {
            assert_eq!(read_row(&body[..end]), None);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = read_row(&bytes);
        }
    }
}
