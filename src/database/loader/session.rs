//! An SQL session that reads rows.

use std::time::Duration;

use tokio::time::timeout;

use crate::source_status::PostmasterId;
use crate::wire::{self, ConnectOptions, LoggedIn, QueryResponse, SessionPurpose};

use super::failure::LoadFailure;
use super::read_point::ServerFacts;
use super::record::TextValues;

/// The rows of each statement of a string, in order.
pub(super) type ResponseRows = Vec<Vec<TextValues>>;

/// How a session is opened.
#[derive(Clone, Debug)]
pub(super) struct SqlSessionOptions {
    pub(super) target: ConnectOptions,
    /// `statement_timeout`.
    pub(super) statement_time_max: Duration,
    /// `lock_timeout`.
    pub(super) lock_time_max: Duration,
    /// When the server sends nothing for so long the session is given up.
    pub(super) silence_max: Duration,
}

/// A session.
pub(super) struct SqlSession {
    session: LoggedIn,
    silence_max: Duration,
    pub(super) server: ServerFacts,
    in_transaction: bool,
}

impl SqlSession {
    pub(super) async fn open(options: &SqlSessionOptions) -> Result<Self, LoadFailure> {
        let session = Box::pin(wire::connect(&options.target, SessionPurpose::Sql)).await?;
        let mut opened = Self {
            session,
            silence_max: options.silence_max,
            server: ServerFacts::default(),
            in_transaction: false,
        };
        opened.server = opened.set_up(options).await?;
        Ok(opened)
    }

    async fn set_up(&mut self, options: &SqlSessionOptions) -> Result<ServerFacts, LoadFailure> {
        let answers = self.ask(&settings(options)).await?;
        let facts = answers.last().and_then(|rows| rows.first()).ok_or(LoadFailure::Unexpected)?;
        let bytes = |place| facts.text(place)?.parse().ok();
        let run = facts.text(2).and_then(|text| text.parse().ok());
        let (page, segment) = bytes(0).zip(bytes(1)).ok_or(LoadFailure::Unexpected)?;
        Ok(ServerFacts { run: run.ok_or(LoadFailure::Unexpected)?, page, segment })
    }

    /// Runs statements and collects their rows. When one fails, those before it have been run.
    ///
    /// Not cancel safe: drop the session instead.
    pub(super) async fn ask(&mut self, sql: &str) -> Result<ResponseRows, LoadFailure> {
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
        // Begun after the last statement.
        answers.pop();
        failure.map_or(Ok(answers), |error| Err(LoadFailure::Wire(error.into())))
    }

    /// Runs a `COPY … TO STDOUT` and hands over each line of it.
    ///
    /// Not cancel safe, and of no more use after an error of `on_line`: drop the session instead.
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

    /// Ends the transaction that a failed statement left open.
    pub(super) async fn leave_transaction(&mut self) -> Result<(), LoadFailure> {
        if self.in_transaction {
            self.ask("ROLLBACK").await?;
        }
        Ok(())
    }

    /// Ends the session.
    pub(super) async fn close(self) {
        // A server that doesn't take it has closed already.
        let _ = timeout(self.silence_max, self.session.terminate()).await;
    }

    async fn send(&mut self, sql: &str) -> Result<(), LoadFailure> {
        let silent = LoadFailure::Silent(self.silence_max);
        Ok(timeout(self.silence_max, self.session.send_query(sql)).await.map_err(|_| silent)??)
    }

    async fn fill(&mut self) -> Result<(), LoadFailure> {
        let silent = LoadFailure::Silent(self.silence_max);
        Ok(timeout(self.silence_max, self.session.fill()).await.map_err(|_| silent)??)
    }
}

/// What every session of ours is set to, whatever role and database say.
///
/// Rows that row-level security would hide are an error instead of missing. Rows are looked up by
/// key through an index: without statistics of the table, or with odd ones, PostgreSQL might read it
/// whole to join it with the keys, so the other two ways to join are taken away.
fn settings(options: &SqlSessionOptions) -> String {
    let milliseconds = |time: Duration| time.as_millis().to_string();
    let settings = [
        ("row_security", "off".to_owned()),
        ("default_transaction_read_only", "on".to_owned()),
        ("statement_timeout", milliseconds(options.statement_time_max)),
        ("lock_timeout", milliseconds(options.lock_time_max)),
        ("idle_in_transaction_session_timeout", milliseconds(options.silence_max)),
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
