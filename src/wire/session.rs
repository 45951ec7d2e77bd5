//! Operations of any session: simple queries, `target_session_attrs`, termination.

use super::conn_options::SessionAttrs;
use super::error::WireError;
use super::login::LoggedIn;
use super::message::ProtocolError;
use super::query_response::{Fields, QueryResponse};

/// A row of a simple query: every value as text.
pub(crate) type TextRow = Vec<Option<String>>;

impl LoggedIn {
    /// Runs SQL (or, on a walsender, a replication command) and collects all rows.
    pub(crate) async fn simple_query(&mut self, sql: &str) -> Result<Vec<TextRow>, WireError> {
        self.send_query(sql).await?;
        let mut rows = Vec::new();
        let mut failure = None;
        loop {
            match self.next_response()? {
                None => self.fill().await?,
                Some(QueryResponse::Row(fields)) => rows.push(text_row(fields)?),
                Some(QueryResponse::Failed(error)) => failure = Some(error),
                Some(QueryResponse::Ready { .. }) => break,
                Some(QueryResponse::Complete | QueryResponse::Copied(_)) => {}
            }
        }
        failure.map_or(Ok(rows), |error| Err(error.into()))
    }

    /// Sends a query without waiting for the response.
    pub(crate) async fn send_query(&mut self, sql: &str) -> Result<(), WireError> {
        let length = u32::try_from(4 + sql.len() + 1).ok().filter(|_| !sql.contains('\0'));
        let length = length
            .ok_or(WireError::Unexpected("a query that is too long or contains a zero byte"))?;
        let out = &mut self.channel.unsent;
        out.push(b'Q');
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(sql.as_bytes());
        out.push(0);
        Ok(self.channel.flush().await?)
    }

    /// Whether the server is of the kind that `target_session_attrs` requires.
    pub(crate) async fn satisfies(&mut self, attrs: SessionAttrs) -> Result<bool, WireError> {
        Ok(match attrs {
            SessionAttrs::Any | SessionAttrs::PreferStandby => true,
            SessionAttrs::Primary => !self.is_standby().await?,
            SessionAttrs::Standby => self.is_standby().await?,
            SessionAttrs::ReadWrite => !self.is_read_only().await?,
            SessionAttrs::ReadOnly => self.is_read_only().await?,
        })
    }

    async fn is_read_only(&mut self) -> Result<bool, WireError> {
        let query = "SHOW transaction_read_only";
        let setting = self.reported_or_queried("default_transaction_read_only", query).await?;
        Ok(setting || self.is_standby().await?)
    }

    async fn is_standby(&mut self) -> Result<bool, WireError> {
        self.reported_or_queried("in_hot_standby", "SELECT pg_catalog.pg_is_in_recovery()").await
    }

    /// The value of a parameter, queried if the server has not reported it: PostgreSQL does so since 14,
    /// poolers may not.
    async fn reported_or_queried(&mut self, parameter: &str, sql: &str) -> Result<bool, WireError> {
        if let Some(value) = self.parameters.get(parameter) {
            return Ok(value == "on");
        }
        let rows = self.simple_query(sql).await?;
        let value = rows.first().and_then(|row| row.first()).and_then(Option::as_deref);
        Ok(matches!(value, Some("t" | "on")))
    }

    /// Sends Terminate, to which the server does not respond.
    pub(crate) async fn terminate(mut self) {
        self.channel.unsent.extend_from_slice(b"X\0\0\0\x04");
        let _ = self.channel.flush().await;
    }
}

fn text_row(fields: Fields<'_>) -> Result<TextRow, ProtocolError> {
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    fields.map(|value| Ok(value?.map(text))).collect()
}
