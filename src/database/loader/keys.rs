//! The requested keys as SQL values, and the detection of values that are not valid for their type.

use std::collections::BTreeMap;

use crate::json_type::{JsonShape, JsonType};
use crate::key::{Key, KeyPart};
use crate::load::LoadError;
use crate::table::{Column, RowCachePlan};

use super::failure::LoadFailure;
use super::pool::SessionPool;
use super::query::casts;

/// The requested keys of one load.
pub(super) struct KeyBatch<'a> {
    pub(super) keys: &'a [Key],
    /// For each key the texts of its columns' values; `None` if one is not valid for its type.
    texts: Vec<Option<Vec<String>>>,
    /// The numbers of the keys whose rows the database can't convert to JSON, with the reason.
    pub(super) unencodable: BTreeMap<usize, String>,
}

impl<'a> KeyBatch<'a> {
    pub(super) fn new(plan: &RowCachePlan, keys: &'a [Key]) -> Self {
        let texts = keys.iter().map(|key| texts_of(plan, key)).collect();
        Self { keys, texts, unencodable: BTreeMap::new() }
    }

    /// The keys that can be queried, with their numbers.
    pub(super) fn valid(&self) -> Vec<(usize, &[String])> {
        let texts = self.texts.iter().enumerate();
        let texts = texts.filter(|(number, _)| !self.unencodable.contains_key(number));
        texts.filter_map(|(number, texts)| Some((number, texts.as_deref()?))).collect()
    }

    /// Excludes the keys that are not valid for the types of their columns.
    ///
    /// One query casts all of them; when it fails, bisection finds the invalid ones.
    pub(super) async fn exclude_invalid(
        &mut self,
        plan: &RowCachePlan,
        pool: &SessionPool,
    ) -> Result<(), LoadFailure> {
        let mut suspects = vec![&mut self.texts[..]];
        while let Some(suspected) = suspects.pop() {
            let texts = suspected.iter().flatten();
            let values: Vec<String> = texts.flat_map(|texts| casts(&plan.key, texts)).collect();
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

    /// Fails with the reason if the batch is a single invalid key.
    pub(super) async fn reject_single_invalid(
        &self,
        plan: &RowCachePlan,
        pool: &SessionPool,
    ) -> Result<(), LoadFailure> {
        let ([key], [None]) = (self.keys, &self.texts[..]) else { return Ok(()) };
        let Some(parts) = key.parts(plan.key.len()) else {
            return Err(wrong_count(plan).into());
        };
        for (column, part) in plan.key.iter().zip(&parts) {
            let Some(text) = text_of(column, part) else {
                return Err(bad_key(column, part, None).into());
            };
            let value = casts(std::slice::from_ref(column), &[text]);
            if let Some(reason) = cast(pool, &value).await? {
                return Err(bad_key(column, part, Some(&reason)).into());
            }
        }
        Ok(())
    }
}

/// Casts the values; returns the database's reason if one is not valid.
async fn cast(pool: &SessionPool, values: &[String]) -> Result<Option<String>, LoadFailure> {
    match pool.query(&format!("SELECT {}", values.join(", "))).await {
        Ok(_) => Ok(None),
        Err(failure) if failure.blames_a_value() => {
            Ok(failure.statement_error().map(|error| error.message.clone()))
        }
        Err(failure) => Err(failure),
    }
}

fn texts_of(plan: &RowCachePlan, key: &Key) -> Option<Vec<String>> {
    let parts = key.parts(plan.key.len())?;
    plan.key.iter().zip(&parts).map(|(column, part)| text_of(column, part)).collect()
}

/// The text that PostgreSQL reads: a string keeps its quotes for `json` and `jsonb` columns only.
fn text_of(column: &Column, part: &KeyPart) -> Option<String> {
    match column.form {
        Some(JsonShape::Scalar(JsonType::Json | JsonType::Jsonb)) => Some(part.json().to_owned()),
        _ => part.text(),
    }
}

fn wrong_count(plan: &RowCachePlan) -> LoadError {
    let names: Vec<&str> = plan.key.iter().map(|column| column.name.as_str()).collect();
    let columns = if names.len() == 1 { "column" } else { "columns, in this order" };
    LoadError::BadKey(format!(
        "the key consists of {} {columns}: {}",
        names.len(),
        names.join(", ")
    ))
}

fn bad_key(column: &Column, part: &KeyPart, reason: Option<&str>) -> LoadError {
    let reason = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
    LoadError::BadKey(format!(
        "{} is not a valid value of the key column {} of type {}{reason}",
        part.json(),
        column.name,
        column.type_name
    ))
}
