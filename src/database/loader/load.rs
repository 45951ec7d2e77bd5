//! Loads of rows by key.

use crate::load::{LoadError, LoadedRow, LoadedRows, ReadPoint};
use crate::table::{RowCachePlan, Table};

use super::failure::{LoadFailure, unencodable};
use super::keys::KeyBatch;
use super::pool::SessionPool;
use super::query;
use super::read_point::ServerFacts;
use super::select_list::{JsonSource, SelectList};
use super::session::ResponseRows;
use super::text_values::TextValues;

/// Keys per query; larger loads use several queries in one snapshot.
pub(super) const MAX_KEYS_PER_QUERY: usize = 500;

/// Searches for unencodable rows per load. More than one may be needed: a row may become unencodable just
/// after a search that did not find it.
const MAX_UNENCODABLE_SEARCHES: u32 = 3;

/// Loads the rows of a batch of keys.
///
/// Usually one round trip. Exceptions (a key that is not valid for its type, a value that Highwater does
/// not render) cost further round trips, but only when they occur.
pub(super) async fn load(
    pool: &SessionPool,
    table: &Table,
    plan: &RowCachePlan,
    mut batch: KeyBatch<'_>,
) -> Result<LoadedRows, LoadFailure> {
    batch.reject_single_invalid(plan, pool).await?;
    let mut rendering = JsonSource::Local;
    let mut excluded = false;
    let mut searches = 0;
    loop {
        match read(pool, table, plan, &batch, rendering).await {
            Err(LoadFailure::Unrenderable(_)) if rendering == JsonSource::Local => {
                rendering = JsonSource::Database;
            }
            Err(failure) if failure.blames_a_value() && !excluded => {
                batch.exclude_invalid(plan, pool).await?;
                batch.reject_single_invalid(plan, pool).await?;
                excluded = true;
            }
            Err(failure) if failure.blames_a_value() && searches < MAX_UNENCODABLE_SEARCHES => {
                leave_out_unencodable(pool, table, plan, &mut batch).await?;
                searches += 1;
            }
            read => return read,
        }
    }
}

async fn read(
    pool: &SessionPool,
    table: &Table,
    plan: &RowCachePlan,
    batch: &KeyBatch<'_>,
    rendering: JsonSource,
) -> Result<LoadedRows, LoadFailure> {
    let mut select = SelectList::new(plan, rendering);
    let statements = statements(table, plan, &select, &batch.valid());
    let (answers, server) = pool.query(&statements).await?;
    let at = opening_read_point(&answers, server)?;
    let rows = batch.keys.iter().enumerate().map(|(number, key)| {
        let absent = LoadedRow { key: key.clone(), row: None };
        batch.unencodable.get(&number).map_or(Ok(absent), |reason| Err(reason.clone()))
    });
    let mut rows: Vec<Result<LoadedRow, String>> = rows.collect();
    for record in answers.iter().skip(query::OPENING + 1).flatten() {
        let (number, row) = key_result(record, plan, &mut select)?;
        *rows.get_mut(number).ok_or(LoadFailure::Unexpected)? = Ok(row);
    }
    Ok(LoadedRows { at, rows })
}

fn statements(
    table: &Table,
    plan: &RowCachePlan,
    select: &SelectList,
    keys: &[(usize, &[String])],
) -> String {
    let mut statements = query::transaction(table, plan);
    for keys in keys.chunks(MAX_KEYS_PER_QUERY) {
        statements.push(query::rows_of(table, plan, select, keys));
    }
    statements.push(query::COMMIT.into());
    statements.join("; ")
}

/// Finds by bisection the rows that even the database can't convert to JSON, and excludes them from the
/// batch, so that the other rows can still be loaded.
async fn leave_out_unencodable(
    pool: &SessionPool,
    table: &Table,
    plan: &RowCachePlan,
    batch: &mut KeyBatch<'_>,
) -> Result<(), LoadFailure> {
    let select = SelectList::new(plan, JsonSource::Database);
    let mut suspects = vec![batch.valid().iter().map(|(number, _)| *number).collect::<Vec<_>>()];
    while let Some(suspected) = suspects.pop() {
        let keys = batch.valid();
        let keys: Vec<_> = keys.into_iter().filter(|(n, _)| suspected.contains(n)).collect();
        let failure = match pool.query(&statements(table, plan, &select, &keys)).await {
            Ok(_) => continue,
            Err(failure) if failure.blames_a_value() => failure,
            Err(failure) => return Err(failure),
        };
        match suspected.as_slice() {
            [] => return Err(failure),
            [single] => {
                let key = batch.keys.get(*single).ok_or(LoadFailure::Unexpected)?;
                batch.unencodable.insert(*single, unencodable(table, key, &failure));
            }
            several => {
                let (one, other) = several.split_at(several.len() / 2);
                suspects.extend([one.to_vec(), other.to_vec()]);
            }
        }
    }
    Ok(())
}

/// The transaction's read point, if the table's definition is unchanged; else [`LoadError::Outdated`].
pub(super) fn opening_read_point(
    answers: &ResponseRows,
    server: ServerFacts,
) -> Result<ReadPoint, LoadFailure> {
    let opening = answers.get(query::OPENING).and_then(|rows| rows.first());
    let opening = opening.ok_or(LoadFailure::Unexpected)?;
    let at = server.read_point(opening)?;
    if opening.value(query::IS_AS_DESCRIBED) == Some(b"t") {
        Ok(at)
    } else {
        Err(LoadError::Outdated.into())
    }
}

/// The number of a key and its row, from a result row of [`query::rows_of`].
pub(super) fn key_result(
    record: &TextValues,
    plan: &RowCachePlan,
    select: &mut SelectList,
) -> Result<(usize, LoadedRow), LoadFailure> {
    let number =
        record.text(0).and_then(|text| text.parse().ok()).ok_or(LoadFailure::Unexpected)?;
    let start = 1 + plan.key.len();
    // The columns of a key are NOT NULL, so a NULL means that the row does not exist.
    let exists = select.key_indexes().all(|place| record.value(start + place).is_some());
    let loaded = if exists {
        LoadedRow { key: select.key_of(record, start)?, row: Some(select.row_of(record, start)?) }
    } else {
        LoadedRow { key: select.key_at(record, 1)?, row: None }
    };
    Ok((number, loaded))
}
