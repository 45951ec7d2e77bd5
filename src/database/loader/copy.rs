//! A whole table.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::key::Key;
use crate::load::{CopySink, LoadError};
use crate::row::Row;
use crate::table::{RowCachePlan, Table};

use super::failure::{LoadFailure, unencodable};
use super::keys::KeyBatch;
use super::load::{KEYS_PER_QUERY_MAX, found, opened};
use super::query;
use super::record::TextValues;
use super::session::{SqlSession, SqlSessionOptions};
use super::shape::{JsonSource, SelectList};

/// Rows handed over at once.
const BATCH_ROWS: usize = 1_000;
/// Rows of one copy that the database renders because we refuse a value of theirs. With more the
/// copy is refused.
const REFUSED_ROWS_MAX: usize = 100_000;
/// The pause before another snapshot is tried: the first, and the longest.
const PAUSE: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// Copies the table into `sink`, in a session of its own.
///
/// For at most `snapshot_time_max` a snapshot is looked for that the sink agrees to.
pub(super) async fn copy(
    options: &SqlSessionOptions,
    snapshot_time_max: Duration,
    table: &Table,
    held: &RowCachePlan,
    sink: &mut dyn CopySink,
) -> Result<(), LoadFailure> {
    let mut session = Box::pin(SqlSession::open(options)).await?;
    begin(&mut session, snapshot_time_max, table, held, sink).await?;
    let mut copy = CopyRun {
        sink,
        shape: SelectList::new(held, JsonSource::Ours),
        record: TextValues::default(),
        batch: Vec::with_capacity(BATCH_ROWS),
        refused: Vec::new(),
    };
    let sql = query::copy(table, held, &copy.shape);
    session.copy_out(&sql, |line| copy.add_line(line)).await?;
    copy.add_all_refused(&mut session, table, held).await?;
    copy.hand_over()?;
    session.ask(query::COMMIT).await?;
    session.close().await;
    Ok(())
}

/// Begins a transaction whose snapshot the sink agrees to.
async fn begin(
    session: &mut SqlSession,
    snapshot_time_max: Duration,
    table: &Table,
    held: &RowCachePlan,
    sink: &mut dyn CopySink,
) -> Result<(), LoadFailure> {
    let mut statements = query::transaction(table, held);
    statements.push(query::rows_estimate(table));
    // The copy takes as long as it takes; silence is noticed on our side.
    statements.push("SET LOCAL statement_timeout = 0".into());
    let sql = statements.join("; ");
    let deadline = Instant::now() + snapshot_time_max;
    let mut pause = PAUSE;
    loop {
        let answers = session.ask(&sql).await?;
        let at = opened(&answers, session.server)?;
        let estimate = answers.get(query::OPENING + 1).and_then(|rows| rows.first());
        let estimate = estimate.and_then(|record| record.text(0)?.parse().ok());
        if sink.begin(&at, estimate.ok_or(LoadFailure::Unexpected)?)? {
            return Ok(());
        }
        session.leave_transaction().await?;
        if Instant::now() >= deadline {
            return Err(no_snapshot(table, snapshot_time_max).into());
        }
        sleep(pause).await;
        pause = PAUSE_MAX.min(pause * 3 / 2);
    }
}

fn no_snapshot(table: &Table, time: Duration) -> LoadError {
    LoadError::Unavailable(format!(
        "for {} s no snapshot of table {} contained what the change stream had told before; does a \
         commit wait for a synchronous standby?",
        time.as_secs(),
        table.name
    ))
}

/// A copy on its way.
struct CopyRun<'a> {
    sink: &'a mut dyn CopySink,
    shape: SelectList,
    record: TextValues,
    batch: Vec<(Key, Row)>,
    /// Rows with a value that we don't render.
    refused: Vec<Key>,
}

impl CopyRun<'_> {
    fn add_line(&mut self, line: &[u8]) -> Result<(), LoadFailure> {
        self.record.read_line(line);
        let key = self.shape.key_of(&self.record, 0)?;
        match self.shape.row_of(&self.record, 0) {
            Ok(row) => self.add(key, row),
            Err(_) if self.refused.len() < REFUSED_ROWS_MAX => {
                self.refused.push(key);
                Ok(())
            }
            Err(_) => Err(too_many_refused().into()),
        }
    }

    fn add(&mut self, key: Key, row: Row) -> Result<(), LoadFailure> {
        self.batch.push((key, row));
        if self.batch.len() < BATCH_ROWS { Ok(()) } else { self.hand_over() }
    }

    fn hand_over(&mut self) -> Result<(), LoadFailure> {
        let batch = std::mem::replace(&mut self.batch, Vec::with_capacity(BATCH_ROWS));
        Ok(self.sink.rows(batch)?)
    }

    /// Reads once more the rows with a value that we don't render. When the database refuses one, too,
    /// each half is tried by itself, to tell which it is.
    async fn add_all_refused(
        &mut self,
        session: &mut SqlSession,
        table: &Table,
        held: &RowCachePlan,
    ) -> Result<(), LoadFailure> {
        let refused = std::mem::take(&mut self.refused);
        if refused.is_empty() {
            return Ok(());
        }
        session.ask("SAVEPOINT rows").await?;
        let mut left: Vec<&[Key]> = refused.chunks(KEYS_PER_QUERY_MAX).collect();
        while let Some(keys) = left.pop() {
            match self.add_refused(session, table, held, keys).await {
                Err(failure) if failure.blames_a_value() => {
                    session.ask("ROLLBACK TO SAVEPOINT rows").await?;
                    if let [key] = keys {
                        return Err(LoadError::Refused(unencodable(table, key, &failure)).into());
                    }
                    left.extend(<[_; 2]>::from(keys.split_at(keys.len() / 2)));
                }
                added => added?,
            }
        }
        Ok(())
    }

    /// Reads rows once more, rendered by the database, in the same transaction.
    async fn add_refused(
        &mut self,
        session: &mut SqlSession,
        table: &Table,
        held: &RowCachePlan,
        keys: &[Key],
    ) -> Result<(), LoadFailure> {
        let mut shape = SelectList::new(held, JsonSource::Database);
        let asked = KeyBatch::new(held, keys);
        let sql = query::rows_of(table, held, &shape, &asked.askable());
        for record in session.ask(&sql).await?.iter().flatten() {
            let (_, loaded) = found(record, held, &mut shape)?;
            // It was there a moment ago, in the same snapshot.
            let row = loaded.row.ok_or(LoadFailure::Unexpected)?;
            self.add(loaded.key, row)?;
        }
        Ok(())
    }
}

fn too_many_refused() -> LoadError {
    LoadError::Refused(format!(
        "more than {REFUSED_ROWS_MAX} rows have a value that only the database can render (json \
         with equal or escaped keys, for instance); use jsonb for such columns, leave them out \
         with columns = [...], or write rows = \"lazy\""
    ))
}
