//! Keys as SQL reads them, and those that are no values of their type.

use std::collections::BTreeMap;

use crate::json_type::{JsonShape, JsonType};
use crate::key::{Key, KeyPart};
use crate::load::LoadError;
use crate::table::{Column, RowCachePlan};

use super::failure::LoadFailure;
use super::pool::SessionPool;
use super::query::casts;

/// The keys of one load.
pub(super) struct KeyBatch<'a> {
    pub(super) keys: &'a [Key],
    /// For each the text of each column's value; `None`: it is no value of its type.
    texts: Vec<Option<Vec<String>>>,
    /// Rows that the database refuses to write as JSON: the numbers of their keys, and what it says.
    pub(super) unwritable: BTreeMap<usize, String>,
}

impl<'a> KeyBatch<'a> {
    /// Takes the keys apart.
    pub(super) fn new(held: &RowCachePlan, keys: &'a [Key]) -> Self {
        let texts = keys.iter().map(|key| texts_of(held, key)).collect();
        Self { keys, texts, unwritable: BTreeMap::new() }
    }

    /// The keys that can be asked for, with their numbers.
    pub(super) fn askable(&self) -> Vec<(usize, &[String])> {
        let texts = self.texts.iter().enumerate();
        let texts = texts.filter(|(number, _)| !self.unwritable.contains_key(number));
        texts.filter_map(|(number, texts)| Some((number, texts.as_deref()?))).collect()
    }

    /// Asks the database which of them are no values of their types, and strikes these out.
    ///
    /// One query casts them all; when it fails, each half is tried by itself.
    pub(super) async fn exclude(
        &mut self,
        held: &RowCachePlan,
        pool: &SessionPool,
    ) -> Result<(), LoadFailure> {
        let mut suspects = vec![&mut self.texts[..]];
        while let Some(suspected) = suspects.pop() {
            let texts = suspected.iter().flatten();
            let values: Vec<String> = texts.flat_map(|texts| casts(&held.key, texts)).collect();
            if cast(pool, &values).await?.is_none() {
                continue;
            }
            match suspected {
                [single] => *single = None,
                several => {
                    let (one, other) = several.split_at_mut(several.len() / 2);
                    suspects.extend([one, other]);
                }
            }
        }
        Ok(())
    }

    /// Why the key can't be asked for, if it was the only one.
    pub(super) async fn refusal(
        &self,
        held: &RowCachePlan,
        pool: &SessionPool,
    ) -> Result<(), LoadFailure> {
        let ([key], [None]) = (self.keys, &self.texts[..]) else { return Ok(()) };
        let Some(parts) = key.parts(held.key.len()) else {
            return Err(wrong_count(held).into());
        };
        for (column, part) in held.key.iter().zip(&parts) {
            let Some(text) = text_of(column, part) else {
                return Err(bad(column, part, None).into());
            };
            let value = casts(std::slice::from_ref(column), &[text]);
            if let Some(reason) = cast(pool, &value).await? {
                return Err(bad(column, part, Some(&reason)).into());
            }
        }
        Ok(())
    }
}

/// Whether the database takes these values; if not, its reason.
async fn cast(pool: &SessionPool, values: &[String]) -> Result<Option<String>, LoadFailure> {
    match pool.ask(&format!("SELECT {}", values.join(", "))).await {
        Ok(_) => Ok(None),
        Err(failure) if failure.blames_a_value() => {
            Ok(failure.statement_error().map(|error| error.message.clone()))
        }
        Err(failure) => Err(failure),
    }
}

fn texts_of(held: &RowCachePlan, key: &Key) -> Option<Vec<String>> {
    let parts = key.parts(held.key.len())?;
    held.key.iter().zip(&parts).map(|(column, part)| text_of(column, part)).collect()
}

/// JSON reads a string with its quotes, every other type without.
fn text_of(column: &Column, part: &KeyPart) -> Option<String> {
    match column.form {
        Some(JsonShape::Scalar(JsonType::Json | JsonType::Jsonb)) => Some(part.json().to_owned()),
        _ => part.text(),
    }
}

fn wrong_count(held: &RowCachePlan) -> LoadError {
    let names: Vec<&str> = held.key.iter().map(|column| column.name.as_str()).collect();
    let columns = if names.len() == 1 { "column" } else { "columns, in this order" };
    LoadError::BadKey(format!(
        "the key consists of {} {columns}: {}",
        names.len(),
        names.join(", ")
    ))
}

fn bad(column: &Column, part: &KeyPart, reason: Option<&str>) -> LoadError {
    let reason = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
    LoadError::BadKey(format!(
        "{} is no value of the key's column {}, whose type is {}{reason}",
        part.json(),
        column.name,
        column.type_name
    ))
}
