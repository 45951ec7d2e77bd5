//! Copies of whole tables.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::key::Key;
use crate::load::{CopySink, LoadError};
use crate::row::Row;
use crate::table::{RowCachePlan, Table};

use super::failure::{LoadFailure, unencodable};
use super::keys::KeyBatch;
use super::load::{MAX_KEYS_PER_QUERY, key_result, opening_read_point};
use super::query;
use super::select_list::{JsonSource, SelectList};
use super::session::{SqlSession, SqlSessionOptions};
use super::text_values::TextValues;

/// Rows per call of [`CopySink::rows`].
const BATCH_ROWS: usize = 1_000;
/// Rows of one copy that the database renders because they have a value that Highwater does not render.
/// A copy with more is refused: each such row costs memory until the end of the copy, and a second read.
const MAX_DEFERRED_ROWS: usize = 100_000;
/// The delay before the next snapshot is taken: the initial one, and the upper bound.
const RETRY_DELAY: Duration = Duration::from_millis(20);
const MAX_RETRY_DELAY: Duration = Duration::from_millis(500);

/// Copies the table into `sink`, in a dedicated session.
///
/// Takes snapshots for at most `snapshot_timeout` until the sink accepts one.
pub(super) async fn copy(
    options: &SqlSessionOptions,
    snapshot_timeout: Duration,
    table: &Table,
    plan: &RowCachePlan,
    sink: &mut dyn CopySink,
) -> Result<(), LoadFailure> {
    let mut session = Box::pin(SqlSession::open(options)).await?;
    begin(&mut session, snapshot_timeout, table, plan, sink).await?;
    let mut copy = CopyRun {
        sink,
        select: SelectList::new(plan, JsonSource::Local),
        record: TextValues::default(),
        batch: Vec::with_capacity(BATCH_ROWS),
        deferred: Vec::new(),
    };
    let sql = query::copy(table, plan, &copy.select);
    session.copy_out(&sql, |line| copy.add_line(line)).await?;
    copy.add_all_deferred(&mut session, table, plan).await?;
    copy.flush()?;
    session.query(query::COMMIT).await?;
    session.close().await;
    Ok(())
}

/// Begins a transaction with a snapshot that the sink accepts.
async fn begin(
    session: &mut SqlSession,
    snapshot_timeout: Duration,
    table: &Table,
    plan: &RowCachePlan,
    sink: &mut dyn CopySink,
) -> Result<(), LoadFailure> {
    let mut statements = query::transaction(table, plan);
    statements.push(query::rows_estimate(table));
    // A copy has no time limit: `silence_timeout` detects a server that stopped sending.
    statements.push("SET LOCAL statement_timeout = 0".into());
    let sql = statements.join("; ");
    let deadline = Instant::now() + snapshot_timeout;
    let mut delay = RETRY_DELAY;
    loop {
        let answers = session.query(&sql).await?;
        let at = opening_read_point(&answers, session.server)?;
        let estimate = answers.get(query::OPENING + 1).and_then(|rows| rows.first());
        let estimate = estimate.and_then(|record| record.text(0)?.parse().ok());
        if sink.begin(&at, estimate.ok_or(LoadFailure::Unexpected)?)? {
            return Ok(());
        }
        session.rollback_if_open().await?;
        if Instant::now() >= deadline {
            return Err(no_snapshot(table, snapshot_timeout).into());
        }
        sleep(delay).await;
        delay = MAX_RETRY_DELAY.min(delay * 3 / 2);
    }
}

fn no_snapshot(table: &Table, time: Duration) -> LoadError {
    LoadError::Unavailable(format!(
        "for {} s no snapshot of table {} contained all commits that the change stream had delivered; \
         does a commit wait for a synchronous standby?",
        time.as_secs(),
        table.name
    ))
}

/// The state of a copy in progress.
struct CopyRun<'a> {
    sink: &'a mut dyn CopySink,
    select: SelectList,
    record: TextValues,
    batch: Vec<(Key, Row)>,
    /// The keys of rows with a value that Highwater does not render.
    deferred: Vec<Key>,
}

impl CopyRun<'_> {
    fn add_line(&mut self, line: &[u8]) -> Result<(), LoadFailure> {
        self.record.read_line(line);
        let key = self.select.key_of(&self.record, 0)?;
        match self.select.row_of(&self.record, 0) {
            Ok(row) => self.add(key, row),
            Err(_) if self.deferred.len() < MAX_DEFERRED_ROWS => {
                self.deferred.push(key);
                Ok(())
            }
            Err(_) => Err(too_many_deferred().into()),
        }
    }

    fn add(&mut self, key: Key, row: Row) -> Result<(), LoadFailure> {
        self.batch.push((key, row));
        if self.batch.len() < BATCH_ROWS { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> Result<(), LoadFailure> {
        let batch = std::mem::replace(&mut self.batch, Vec::with_capacity(BATCH_ROWS));
        Ok(self.sink.rows(batch)?)
    }

    /// Reads the deferred rows again, rendered by the database. If the database can't render one either,
    /// it is found by bisection, so that the error names its key.
    async fn add_all_deferred(
        &mut self,
        session: &mut SqlSession,
        table: &Table,
        plan: &RowCachePlan,
    ) -> Result<(), LoadFailure> {
        let deferred = std::mem::take(&mut self.deferred);
        if deferred.is_empty() {
            return Ok(());
        }
        session.query("SAVEPOINT rows").await?;
        let mut batches: Vec<&[Key]> = deferred.chunks(MAX_KEYS_PER_QUERY).collect();
        while let Some(keys) = batches.pop() {
            match self.add_deferred(session, table, plan, keys).await {
                Err(failure) if failure.blames_a_value() => {
                    session.query("ROLLBACK TO SAVEPOINT rows").await?;
                    if let [key] = keys {
                        return Err(LoadError::Refused(unencodable(table, key, &failure)).into());
                    }
                    batches.extend(<[_; 2]>::from(keys.split_at(keys.len() / 2)));
                }
                added => added?,
            }
        }
        Ok(())
    }

    /// Reads rows again in the same transaction, rendered by the database.
    async fn add_deferred(
        &mut self,
        session: &mut SqlSession,
        table: &Table,
        plan: &RowCachePlan,
        keys: &[Key],
    ) -> Result<(), LoadFailure> {
        let mut select = SelectList::new(plan, JsonSource::Database);
        let batch = KeyBatch::new(plan, keys);
        let sql = query::rows_of(table, plan, &select, &batch.valid());
        for record in session.query(&sql).await?.iter().flatten() {
            let (_, loaded) = key_result(record, plan, &mut select)?;
            // The same snapshot returned the row before, so it exists.
            let row = loaded.row.ok_or(LoadFailure::Unexpected)?;
            self.add(loaded.key, row)?;
        }
        Ok(())
    }
}

fn too_many_deferred() -> LoadError {
    LoadError::Refused(format!(
        "more than {MAX_DEFERRED_ROWS} rows have a value that only the database can render (json \
         with equal or escaped keys, for instance); use jsonb for such columns, leave them out \
         with columns = [...], or write rows = \"lazy\""
    ))
}
