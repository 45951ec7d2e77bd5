//! Single values of parameters.

use std::time::Duration;

use crate::http::response::problem::{Problem, shown};
use crate::version::Version;

/// Changes, or rows of a page, in one answer when the client doesn't say.
pub(crate) const LIMIT_DEFAULT: usize = 1_000;
/// The same at most; a larger `limit` is refused.
pub(crate) const LIMIT_MAX: usize = 10_000;

/// Splits a list of names at the commas outside of quotes.
pub(super) fn names(list: &str) -> Result<Vec<String>, Problem> {
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
            "`tables` has an empty name; leave the parameter out to ask for every table",
        ));
    }
    Ok(names)
}

pub(crate) fn version(text: &str) -> Result<Version, Problem> {
    text.parse().map_err(|_| {
        Problem::invalid(format!(
            "`after` is not a version: \"{}\"; send back the `version` of an earlier answer \
             unchanged, or leave it out to start",
            shown(text)
        ))
    })
}

pub(super) fn limit(text: &str) -> Result<usize, Problem> {
    // `parse` would also take a sign.
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    match text.parse() {
        Ok(limit) if digits && (1..=LIMIT_MAX).contains(&limit) => Ok(limit),
        _ => Err(Problem::invalid(format!("`limit` must be a number from 1 to {LIMIT_MAX}"))),
    }
}

pub(super) fn detail(text: &str) -> Result<bool, Problem> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Problem::invalid("`detail` must be `true` or `false`")),
    }
}

/// Reads `500ms`, `30s` or a number of seconds.
pub(super) fn wait(text: &str, wait_max: Duration) -> Result<Duration, Problem> {
    let Some(wait) = duration(text) else {
        return Err(Problem::invalid(
            "`wait` must be a duration like `500ms` or `30s`, or a number of seconds",
        ));
    };
    if wait > wait_max {
        let seconds = wait_max.as_secs_f64();
        return Err(Problem::invalid(format!("`wait` must be at most {seconds}s")));
    }
    Ok(wait)
}

fn duration(text: &str) -> Option<Duration> {
    let (digits, unit) = match text.strip_suffix("ms") {
        Some(digits) => (digits, 0.001),
        None => (text.strip_suffix('s').unwrap_or(text), 1.0),
    };
    // Digits with at most one point: a float's other spellings (`inf`, `1e9`, `-1`) are refused.
    let plain = digits.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let starts = digits.bytes().next().is_some_and(|b| b.is_ascii_digit());
    if !plain || !starts {
        return None;
    }
    let number: f64 = digits.parse().ok()?;
    // More than a duration can hold is more than any limit.
    Some(Duration::try_from_secs_f64(number * unit).unwrap_or(Duration::MAX))
}
