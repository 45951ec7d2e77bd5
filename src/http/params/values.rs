//! The types of single parameters: notation, bounds, schema.

use std::time::Duration;

use serde::{Deserialize, Deserializer};
use utoipa::ToSchema;

use super::query_string::from_text;
use crate::http::response::problem::{Problem, shown};
use crate::lsn::Lsn;
use crate::version::Version;

/// Changes, or rows of a page, in one response where the client sets no limit.
pub(crate) const LIMIT_DEFAULT: usize = 1_000;
/// The largest accepted `limit`.
pub(crate) const LIMIT_MAX: usize = 10_000;

/// A comma-separated list of table names.
#[derive(Debug, PartialEq, Eq, ToSchema)]
#[schema(value_type = String, example = "items,users")]
pub(super) struct TableList(pub(super) Vec<String>);

/// A version in a parameter.
#[derive(Debug, PartialEq, Eq, ToSchema)]
#[schema(value_type = String, example = "5f3a9c01-0000000001a2b3c8")]
pub(super) struct VersionParam(pub(super) Version);

/// A number of changes or rows.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Limit(pub(super) usize);

/// A duration: `500ms`, `30s` or a number of seconds.
#[derive(Debug, PartialEq, Eq, ToSchema)]
#[schema(value_type = String, pattern = r"^\d[\d.]*(ms|s)?$", example = "30s")]
pub(super) struct WaitTime(Duration);

/// A position that a response has to include.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AtLeast {
    /// The `version` of a response, of any instance.
    Version(Version),
    /// An LSN of PostgreSQL, taken after the client's own commit.
    Lsn(Lsn),
}

/// What changes carry beside the ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Include {
    Rows,
}

impl<'de> Deserialize<'de> for TableList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, |text| table_names(text).map(Self))
    }
}

impl<'de> Deserialize<'de> for VersionParam {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, |text| version(text).map(Self))
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, |text| limit(text).map(Self))
    }
}

impl<'de> Deserialize<'de> for WaitTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, |text| wait_time(text).map(Self))
    }
}

impl<'de> Deserialize<'de> for AtLeast {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, at_least)
    }
}

impl WaitTime {
    /// The duration, if it is at most `wait_max`.
    pub(super) fn at_most(&self, wait_max: Duration) -> Result<Duration, Problem> {
        if self.0 > wait_max {
            let seconds = wait_max.as_secs_f64();
            return Err(Problem::invalid(format!("`wait` must be at most {seconds}s")));
        }
        Ok(self.0)
    }
}

/// Splits a list of names at the commas outside of quotes.
fn table_names(list: &str) -> Result<Vec<String>, Problem> {
    let mut quoted = false;
    let at_comma = |c: char| {
        quoted ^= c == '"';
        c == ',' && !quoted
    };
    let names: Vec<String> = list.split(at_comma).map(|name| name.trim().to_owned()).collect();
    if quoted {
        return Err(Problem::invalid(
            "`tables` has a quote that is not closed; a quote inside a name is written twice",
        ));
    }
    if names.iter().any(String::is_empty) {
        return Err(Problem::invalid(
            "`tables` has an empty name; leave the parameter out to request every table",
        ));
    }
    Ok(names)
}

pub(crate) fn version(text: &str) -> Result<Version, Problem> {
    text.parse().map_err(|_| {
        Problem::invalid(format!(
            "`after` is not a version: \"{}\"; send back the `version` of an earlier response \
             unchanged, or leave it out to start",
            shown(text)
        ))
    })
}

fn limit(text: &str) -> Result<usize, Problem> {
    // `parse` would also accept a sign.
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    match text.parse() {
        Ok(limit) if digits => checked_limit(limit),
        _ => Err(limit_out_of_range()),
    }
}

pub(crate) fn checked_limit(limit: usize) -> Result<usize, Problem> {
    if (1..=LIMIT_MAX).contains(&limit) { Ok(limit) } else { Err(limit_out_of_range()) }
}

fn limit_out_of_range() -> Problem {
    Problem::invalid(format!("`limit` must be a number from 1 to {LIMIT_MAX}"))
}

fn wait_time(text: &str) -> Result<Duration, Problem> {
    duration(text).ok_or_else(|| {
        Problem::invalid("`wait` must be a duration like `500ms` or `30s`, or a number of seconds")
    })
}

fn duration(text: &str) -> Option<Duration> {
    let (digits, unit) = match text.strip_suffix("ms") {
        Some(digits) => (digits, 0.001),
        None => (text.strip_suffix('s').unwrap_or(text), 1.0),
    };
    // Digits with at most one point: a float's other notations (`inf`, `1e9`, `-1`) are rejected.
    let plain = digits.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let starts = digits.bytes().next().is_some_and(|b| b.is_ascii_digit());
    if !plain || !starts {
        return None;
    }
    let number: f64 = digits.parse().ok()?;
    // A number that no `Duration` can hold exceeds every limit.
    Some(Duration::try_from_secs_f64(number * unit).unwrap_or(Duration::MAX))
}

fn at_least(text: &str) -> Result<AtLeast, Problem> {
    let version = text.parse().map(AtLeast::Version);
    version.or_else(|_| text.parse().map(AtLeast::Lsn)).map_err(|_| {
        Problem::invalid(format!(
            "`at_least` is neither a version nor an LSN: \"{}\"; send the `version` of a response, \
             or what pg_current_wal_insert_lsn() returns after your COMMIT, like 16/B374D848",
            shown(text)
        ))
    })
}
