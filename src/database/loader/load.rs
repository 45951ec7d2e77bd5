//! Rows by key.

use crate::load::{Loaded, LoadedAt, LoadedRow};
use crate::table::{HeldRows, Table};

use super::failure::Failure;
use super::horizon::ServerFacts;
use super::keys::Asked;
use super::pool::Pool;
use super::query;
use super::record::Record;
use super::session::Answers;
use super::shape::{Rendering, Shape};

/// Keys in one query; more are asked for in several queries of one snapshot.
pub(super) const KEYS_PER_QUERY_MAX: usize = 500;

/// Reads the rows.
///
/// The usual way is one round trip. What it comes upon (a key that is no value of its type, a value
/// we don't render) is sorted out only then.
pub(super) async fn load(
    pool: &Pool,
    table: &Table,
    held: &HeldRows,
    mut asked: Asked<'_>,
) -> Result<Loaded, Failure> {
    asked.refusal(held, pool).await?;
    let mut rendering = Rendering::Ours;
    let mut struck_out = false;
    loop {
        match read(pool, table, held, &asked, rendering).await {
            Err(Failure::Unrenderable(_)) if rendering == Rendering::Ours => {
                rendering = Rendering::Database;
            }
            Err(failure) if failure.blames_a_value() && !struck_out => {
                asked.strike_out(held, pool).await?;
                asked.refusal(held, pool).await?;
                struck_out = true;
            }
            read => return read,
        }
    }
}

async fn read(
    pool: &Pool,
    table: &Table,
    held: &HeldRows,
    asked: &Asked<'_>,
    rendering: Rendering,
) -> Result<Loaded, Failure> {
    let mut shape = Shape::new(held, rendering);
    let askable = asked.askable();
    let mut statements = query::transaction(table, held);
    for keys in askable.chunks(KEYS_PER_QUERY_MAX) {
        statements.push(query::rows_of(table, held, &shape, keys));
    }
    statements.push(query::COMMIT.into());
    let (answers, server) = pool.ask(&statements.join("; ")).await?;
    let at = opened(&answers, server)?;
    let mut rows: Vec<LoadedRow> =
        asked.keys.iter().map(|key| LoadedRow { key: key.clone(), row: None }).collect();
    for record in answers.iter().skip(query::OPENING + 1).flatten() {
        let (number, row) = found(record, held, &mut shape)?;
        *rows.get_mut(number).ok_or(Failure::Unexpected)? = row;
    }
    Ok(Loaded { at, rows })
}

/// What the transaction sees, if the table is still as it was described.
pub(super) fn opened(answers: &Answers, server: ServerFacts) -> Result<LoadedAt, Failure> {
    let opening = answers.get(query::OPENING).and_then(|rows| rows.first());
    let opening = opening.ok_or(Failure::Unexpected)?;
    let at = server.loaded_at(opening)?;
    if opening.value(query::IS_AS_DESCRIBED) == Some(b"t") {
        Ok(at)
    } else {
        Err(Failure::Load(crate::load::LoadError::Outdated))
    }
}

/// What became of the key with the number returned, as [`query::rows_of`] tells it.
pub(super) fn found(
    record: &Record,
    held: &HeldRows,
    shape: &mut Shape,
) -> Result<(usize, LoadedRow), Failure> {
    let number = record.text(0).and_then(|text| text.parse().ok()).ok_or(Failure::Unexpected)?;
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
