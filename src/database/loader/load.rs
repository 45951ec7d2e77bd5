//! Rows by key.

use crate::load::{LoadedRow, LoadedRows, ReadPoint};
use crate::table::{RowCachePlan, Table};

use super::failure::{LoadFailure, unencodable};
use super::keys::KeyBatch;
use super::pool::SessionPool;
use super::query;
use super::read_point::ServerFacts;
use super::record::TextValues;
use super::session::ResponseRows;
use super::shape::{JsonSource, SelectList};

/// Keys in one query; more are asked for in several queries of one snapshot.
pub(super) const KEYS_PER_QUERY_MAX: usize = 500;

/// A row may become one that can't be written just after it was found to be none: then it is looked for
/// again, so often.
const UNWRITABLE_ROUNDS_MAX: u32 = 3;

/// Reads the rows.
///
/// The usual way is one round trip. What it comes upon (a key that is no value of its type, a value
/// we don't render) is sorted out only then.
pub(super) async fn load(
    pool: &SessionPool,
    table: &Table,
    held: &RowCachePlan,
    mut asked: KeyBatch<'_>,
) -> Result<LoadedRows, LoadFailure> {
    asked.refusal(held, pool).await?;
    let mut rendering = JsonSource::Ours;
    let mut struck_out = false;
    let mut rounds = 0;
    loop {
        match read(pool, table, held, &asked, rendering).await {
            Err(LoadFailure::Unrenderable(_)) if rendering == JsonSource::Ours => {
                rendering = JsonSource::Database;
            }
            Err(failure) if failure.blames_a_value() && !struck_out => {
                asked.exclude(held, pool).await?;
                asked.refusal(held, pool).await?;
                struck_out = true;
            }
            Err(failure) if failure.blames_a_value() && rounds < UNWRITABLE_ROUNDS_MAX => {
                leave_out_unwritable(pool, table, held, &mut asked).await?;
                rounds += 1;
            }
            read => return read,
        }
    }
}

async fn read(
    pool: &SessionPool,
    table: &Table,
    held: &RowCachePlan,
    asked: &KeyBatch<'_>,
    rendering: JsonSource,
) -> Result<LoadedRows, LoadFailure> {
    let mut shape = SelectList::new(held, rendering);
    let statements = statements(table, held, &shape, &asked.askable());
    let (answers, server) = pool.ask(&statements).await?;
    let at = opened(&answers, server)?;
    let rows = asked.keys.iter().enumerate().map(|(number, key)| {
        let absent = LoadedRow { key: key.clone(), row: None };
        asked.unwritable.get(&number).map_or(Ok(absent), |reason| Err(reason.clone()))
    });
    let mut rows: Vec<Result<LoadedRow, String>> = rows.collect();
    for record in answers.iter().skip(query::OPENING + 1).flatten() {
        let (number, row) = found(record, held, &mut shape)?;
        *rows.get_mut(number).ok_or(LoadFailure::Unexpected)? = Ok(row);
    }
    Ok(LoadedRows { at, rows })
}

fn statements(
    table: &Table,
    held: &RowCachePlan,
    shape: &SelectList,
    keys: &[(usize, &[String])],
) -> String {
    let mut statements = query::transaction(table, held);
    for keys in keys.chunks(KEYS_PER_QUERY_MAX) {
        statements.push(query::rows_of(table, held, shape, keys));
    }
    statements.push(query::COMMIT.into());
    statements.join("; ")
}

/// Finds the rows that even the database can't write as JSON: each half of those that it refuses
/// together is tried by itself. They are left out, so that they cost the others nothing but time.
async fn leave_out_unwritable(
    pool: &SessionPool,
    table: &Table,
    held: &RowCachePlan,
    asked: &mut KeyBatch<'_>,
) -> Result<(), LoadFailure> {
    let shape = SelectList::new(held, JsonSource::Database);
    let mut suspects = vec![asked.askable().iter().map(|(number, _)| *number).collect::<Vec<_>>()];
    while let Some(suspected) = suspects.pop() {
        let keys = asked.askable();
        let keys: Vec<_> = keys.into_iter().filter(|(n, _)| suspected.contains(n)).collect();
        let failure = match pool.ask(&statements(table, held, &shape, &keys)).await {
            Ok(_) => continue,
            Err(failure) if failure.blames_a_value() => failure,
            Err(failure) => return Err(failure),
        };
        match suspected.as_slice() {
            [] => return Err(failure),
            [single] => {
                let key = asked.keys.get(*single).ok_or(LoadFailure::Unexpected)?;
                asked.unwritable.insert(*single, unencodable(table, key, &failure));
            }
            several => {
                let (one, other) = several.split_at(several.len() / 2);
                suspects.extend([one.to_vec(), other.to_vec()]);
            }
        }
    }
    Ok(())
}

/// What the transaction sees, if the table is still as it was described.
pub(super) fn opened(
    answers: &ResponseRows,
    server: ServerFacts,
) -> Result<ReadPoint, LoadFailure> {
    let opening = answers.get(query::OPENING).and_then(|rows| rows.first());
    let opening = opening.ok_or(LoadFailure::Unexpected)?;
    let at = server.loaded_at(opening)?;
    if opening.value(query::IS_AS_DESCRIBED) == Some(b"t") {
        Ok(at)
    } else {
        Err(LoadFailure::Load(crate::load::LoadError::Outdated))
    }
}

/// What became of the key with the number returned, as [`query::rows_of`] tells it.
pub(super) fn found(
    record: &TextValues,
    held: &RowCachePlan,
    shape: &mut SelectList,
) -> Result<(usize, LoadedRow), LoadFailure> {
    let number =
        record.text(0).and_then(|text| text.parse().ok()).ok_or(LoadFailure::Unexpected)?;
    let start = 1 + held.key.len();
    // A key's columns are never NULL.
    let is_there = shape.key_places().all(|place| record.value(start + place).is_some());
    let loaded = if is_there {
        LoadedRow { key: shape.key_of(record, start)?, row: Some(shape.row_of(record, start)?) }
    } else {
        LoadedRow { key: shape.key_at(record, 1)?, row: None }
    };
    Ok((number, loaded))
}
