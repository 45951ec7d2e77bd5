//! The loader's SQL session.

use std::time::Duration;

use tokio::time::timeout;

use crate::source_status::PostmasterId;
use crate::wire::{self, ConnectOptions, LoggedIn, QueryResponse, SessionPurpose};

use super::failure::LoadFailure;
use super::read_point::ServerFacts;
use super::text_values::TextValues;

/// The rows of each statement of a query string, in order.
pub(super) type ResponseRows = Vec<Vec<TextValues>>;

/// The options of a session.
#[derive(Clone, Debug)]
pub(super) struct SqlSessionOptions {
    pub(super) target: ConnectOptions,
    /// `statement_timeout`.
    pub(super) statement_timeout: Duration,
    /// `lock_timeout`.
    pub(super) lock_timeout: Duration,
    /// The time without data from the server after which the session is abandoned.
    pub(super) silence_timeout: Duration,
}

/// An SQL session with read-only settings.
pub(super) struct SqlSession {
    session: LoggedIn,
    silence_timeout: Duration,
    pub(super) server: ServerFacts,
    in_transaction: bool,
}

impl SqlSession {
    pub(super) async fn open(options: &SqlSessionOptions) -> Result<Self, LoadFailure> {
        let session = Box::pin(wire::connect(&options.target, SessionPurpose::Sql)).await?;
        let mut opened = Self {
            session,
            silence_timeout: options.silence_timeout,
            server: ServerFacts::default(),
            in_transaction: false,
        };
        opened.server = opened.set_up(options).await?;
        Ok(opened)
    }

    async fn set_up(&mut self, options: &SqlSessionOptions) -> Result<ServerFacts, LoadFailure> {
        let answers = self.query(&settings(options)).await?;
        let facts = answers.last().and_then(|rows| rows.first()).ok_or(LoadFailure::Unexpected)?;
        let bytes = |index| facts.text(index)?.parse().ok();
        let postmaster = facts.text(2).and_then(|text| text.parse().ok());
        let (wal_page_bytes, wal_segment_bytes) =
            bytes(0).zip(bytes(1)).ok_or(LoadFailure::Unexpected)?;
        let postmaster = postmaster.ok_or(LoadFailure::Unexpected)?;
        Ok(ServerFacts { postmaster, wal_page_bytes, wal_segment_bytes })
    }

    /// Runs statements and collects their rows. When one fails, the previous ones have run.
    ///
    /// Not cancel safe: drop the session after a cancellation.
    pub(super) async fn query(&mut self, sql: &str) -> Result<ResponseRows, LoadFailure> {
        self.send(sql).await?;
        let mut answers = vec![Vec::new()];
        let mut failure = None;
        loop {
            match self.session.next_response()? {
                None => self.fill().await?,
                Some(QueryResponse::Row(fields)) => {
                    let record = TextValues::of_fields(fields)?;
                    if let Some(rows) = answers.last_mut() {
                        rows.push(record);
                    }
                }
                Some(QueryResponse::Complete) => answers.push(Vec::new()),
                Some(QueryResponse::Failed(error)) => failure = Some(error),
                Some(QueryResponse::Copied(_)) => {}
                Some(QueryResponse::Ready { in_transaction }) => {
                    self.in_transaction = in_transaction;
                    break;
                }
            }
        }
        // The list that was begun after the last statement.
        answers.pop();
        failure.map_or(Ok(answers), |error| Err(LoadFailure::Wire(error.into())))
    }

    /// Runs a `COPY … TO STDOUT` and calls `on_line` for each line.
    ///
    /// Not cancel safe: drop the session after a cancellation or an error of `on_line`.
    pub(super) async fn copy_out(
        &mut self,
        sql: &str,
        mut on_line: impl FnMut(&[u8]) -> Result<(), LoadFailure> + Send,
    ) -> Result<(), LoadFailure> {
        self.send(sql).await?;
        let mut failure = None;
        loop {
            match self.session.next_response()? {
                None => self.fill().await?,
                Some(QueryResponse::Copied(line)) => on_line(line)?,
                Some(QueryResponse::Failed(error)) => failure = Some(error),
                Some(QueryResponse::Row(_) | QueryResponse::Complete) => {}
                Some(QueryResponse::Ready { .. }) => break,
            }
        }
        failure.map_or(Ok(()), |error| Err(LoadFailure::Wire(error.into())))
    }

    /// Rolls back the transaction that a failed statement left open, if any.
    pub(super) async fn rollback_if_open(&mut self) -> Result<(), LoadFailure> {
        if self.in_transaction {
            self.query("ROLLBACK").await?;
        }
        Ok(())
    }

    /// Sends Terminate and closes the connection.
    pub(super) async fn close(self) {
        // A failure means that the connection is closed already.
        let _ = timeout(self.silence_timeout, self.session.terminate()).await;
    }

    async fn send(&mut self, sql: &str) -> Result<(), LoadFailure> {
        let silent = LoadFailure::Silent(self.silence_timeout);
        Ok(timeout(self.silence_timeout, self.session.send_query(sql))
            .await
            .map_err(|_| silent)??)
    }

    async fn fill(&mut self) -> Result<(), LoadFailure> {
        let silent = LoadFailure::Silent(self.silence_timeout);
        Ok(timeout(self.silence_timeout, self.session.fill()).await.map_err(|_| silent)??)
    }
}

/// The settings of every session, which override those of role and database.
///
/// With `row_security = off`, rows that row-level security would hide are an error instead of missing.
/// Rows are found by key through an index: without statistics of the table, or with misleading ones,
/// PostgreSQL might scan the whole table to join it with the keys, so hash and merge joins are disabled.
fn settings(options: &SqlSessionOptions) -> String {
    let milliseconds = |time: Duration| time.as_millis().to_string();
    let settings = [
        ("row_security", "off".to_owned()),
        ("default_transaction_read_only", "on".to_owned()),
        ("statement_timeout", milliseconds(options.statement_timeout)),
        ("lock_timeout", milliseconds(options.lock_timeout)),
        ("idle_in_transaction_session_timeout", milliseconds(options.silence_timeout)),
        ("search_path", "''".to_owned()),
        ("jit", "off".to_owned()),
        ("max_parallel_workers_per_gather", "0".to_owned()),
        ("enable_hashjoin", "off".to_owned()),
        ("enable_mergejoin", "off".to_owned()),
    ];
    let mut sql = settings.map(|(name, value)| format!("SET {name} = {value}; ")).concat();
    sql += "SELECT pg_catalog.current_setting('wal_block_size'), \
           pg_catalog.pg_size_bytes(pg_catalog.current_setting('wal_segment_size')), ";
    sql + PostmasterId::EXPRESSION
}
