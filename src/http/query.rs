//! What a poll asks for, read from the query string with errors that say what would be right.

use std::borrow::Cow;
use std::time::Duration;

use percent_encoding::percent_decode_str;

use super::problem::{Problem, shown};
use crate::version::Version;

/// Changes in one answer when the client doesn't say.
pub(crate) const LIMIT_DEFAULT: usize = 1_000;
/// Changes in one answer at most; a larger `limit` is refused.
pub(crate) const LIMIT_MAX: usize = 10_000;

/// The parameters of a poll.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ChangesQuery {
    /// Table names as sent; `None`: every published table.
    pub(crate) tables: Option<Vec<String>>,
    /// The version of the client's last answer.
    pub(crate) after: Option<Version>,
    /// Changes in the answer at most.
    pub(crate) limit: usize,
    /// How long to hold the answer when nothing changed.
    pub(crate) wait: Duration,
    /// Whether each change carries its version and time.
    pub(crate) detail: bool,
}

/// Reads a poll's query string; `one_table`: the path names the table, so `tables` is refused.
pub(crate) fn parse(
    query: &str,
    one_table: bool,
    wait_max: Duration,
) -> Result<ChangesQuery, Problem> {
    let mut sent = Sent::default();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        sent.take(pair, one_table)?;
    }
    sent.refuse_what_is_not_offered()?;
    Ok(ChangesQuery {
        tables: sent.tables.as_deref().map(names).transpose()?,
        after: sent.after.as_deref().map(version).transpose()?,
        limit: sent.limit.as_deref().map_or(Ok(LIMIT_DEFAULT), limit)?,
        wait: sent.wait.as_deref().map_or(Ok(Duration::ZERO), |text| wait(text, wait_max))?,
        detail: sent.detail.as_deref().map_or(Ok(false), boolean)?,
    })
}

/// The decoded text of each parameter that was sent.
#[derive(Default)]
struct Sent<'a> {
    tables: Option<Cow<'a, str>>,
    after: Option<Cow<'a, str>>,
    limit: Option<Cow<'a, str>>,
    wait: Option<Cow<'a, str>>,
    detail: Option<Cow<'a, str>>,
    include: Option<Cow<'a, str>>,
    filter: Option<Cow<'a, str>>,
}

impl<'a> Sent<'a> {
    const NAMES: [&'static str; 6] = ["tables", "after", "limit", "wait", "detail", "include"];

    fn take(&mut self, pair: &'a str, one_table: bool) -> Result<(), Problem> {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decode(name)?;
        let place = match &*name {
            "tables" if one_table => {
                return Err(Problem::invalid(
                    "the path already names the table: leave `tables` out",
                ));
            }
            "tables" => &mut self.tables,
            "after" => &mut self.after,
            "limit" => &mut self.limit,
            "wait" => &mut self.wait,
            "detail" => &mut self.detail,
            "include" => &mut self.include,
            "where" => &mut self.filter,
            _ => return Err(unknown(&name)),
        };
        if place.is_some() {
            return Err(Problem::invalid(format!("`{name}` is given twice: give it once")));
        }
        *place = Some(decode(value)?);
        Ok(())
    }

    fn refuse_what_is_not_offered(&self) -> Result<(), Problem> {
        if self.filter.is_some() {
            return Err(Problem::invalid("`where` is not offered by this version: leave it out"));
        }
        match self.include.as_deref() {
            None => Ok(()),
            Some("rows") => Err(Problem::invalid(
                "`include=rows` is not offered by this version: rows are not held in memory, \
                 every table's mode is off",
            )),
            Some(_) => Err(Problem::invalid(
                "`include` knows only `rows`, which is not offered by this version: leave it out",
            )),
        }
    }
}

/// A parameter nobody knows; most often it is misspelt.
fn unknown(name: &str) -> Problem {
    let nearest = Sent::NAMES
        .into_iter()
        .max_by(|a, b| strsim::jaro_winkler(name, a).total_cmp(&strsim::jaro_winkler(name, b)))
        .unwrap_or_default();
    let name = shown(name);
    Problem::invalid(format!("there is no parameter `{name}`; the nearest there is: `{nearest}`"))
}

/// Undoes the encoding of forms: `+` and percent signs.
fn decode(text: &str) -> Result<Cow<'_, str>, Problem> {
    let not_utf8 = |_| Problem::invalid("the query string is not UTF-8 once percent-decoded");
    if text.contains('+') {
        let spaced = text.replace('+', " ");
        let decoded = percent_decode_str(&spaced).decode_utf8().map_err(not_utf8)?;
        return Ok(Cow::Owned(decoded.into_owned()));
    }
    percent_decode_str(text).decode_utf8().map_err(not_utf8)
}

/// Splits a list of names at the commas outside of quotes.
fn names(list: &str) -> Result<Vec<String>, Problem> {
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

fn limit(text: &str) -> Result<usize, Problem> {
    // `parse` would also take a sign.
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    match text.parse() {
        Ok(limit) if digits && (1..=LIMIT_MAX).contains(&limit) => Ok(limit),
        _ => Err(Problem::invalid(format!("`limit` must be a number from 1 to {LIMIT_MAX}"))),
    }
}

fn boolean(text: &str) -> Result<bool, Problem> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Problem::invalid("`detail` must be `true` or `false`")),
    }
}

/// Reads `500ms`, `30s` or a number of seconds.
fn wait(text: &str, wait_max: Duration) -> Result<Duration, Problem> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WAIT_MAX: Duration = Duration::from_mins(1);

    fn read(query: &str) -> Result<ChangesQuery, String> {
        parse(query, false, WAIT_MAX).map_err(|problem| problem.detail().to_owned())
    }

    #[test]
    fn nothing_sent_means_the_defaults() {
        let expected = ChangesQuery {
            tables: None,
            after: None,
            limit: 1_000,
            wait: Duration::ZERO,
            detail: false,
        };
        assert_eq!(read(""), Ok(expected));
        assert_eq!(read("&&"), read(""));
    }

    #[test]
    fn everything_is_read() {
        let query =
            "tables=items,users&after=0000000a-0000000000000008&limit=5&wait=30s&detail=true";
        let read = read(query).unwrap();
        assert_eq!(read.tables, Some(vec!["items".to_owned(), "users".to_owned()]));
        assert_eq!(read.after.unwrap().to_string(), "0000000a-0000000000000008");
        assert_eq!((read.limit, read.wait, read.detail), (5, Duration::from_secs(30), true));
    }

    #[test]
    fn commas_split_outside_of_quotes_only() {
        let tables = |query: &str| read(query).map(|q| q.tables.unwrap_or_default());
        assert_eq!(tables("tables=a%2Cb").unwrap(), ["a", "b"]);
        assert_eq!(tables("tables=%22a,b%22,c").unwrap(), ["\"a,b\"", "c"]);
        assert_eq!(tables("tables=%22a%22%22,b%22").unwrap(), ["\"a\"\",b\""]);
        assert_eq!(tables("tables=a,+b").unwrap(), ["a", "b"]);
        assert!(tables("tables=%22a,b").unwrap_err().contains("not closed"));
        for empty in ["tables=", "tables=a,", "tables=,a", "tables=a,,b"] {
            assert!(tables(empty).unwrap_err().contains("empty name"), "{empty}");
        }
    }

    #[test]
    fn waits_have_three_spellings_and_a_limit() {
        let wait = |query: &str| read(query).map(|q| q.wait);
        assert_eq!(wait("wait=500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(wait("wait=30s"), Ok(Duration::from_secs(30)));
        assert_eq!(wait("wait=30"), Ok(Duration::from_secs(30)));
        assert_eq!(wait("wait=0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(wait("wait=60"), Ok(WAIT_MAX));
        let huge = format!("wait={}", "9".repeat(400));
        for long in ["wait=61", "wait=60001ms", "wait=99999999999999999999s", &huge] {
            assert_eq!(wait(long), Err("`wait` must be at most 60s".into()), "{long}");
        }
        for bad in [
            "wait=",
            "wait=s",
            "wait=-1",
            "wait=1m",
            "wait=inf",
            "wait=1e1",
            "wait=.5",
            "wait=1.1.1",
        ] {
            assert!(wait(bad).unwrap_err().contains("duration"), "{bad}");
        }
    }

    #[test]
    fn limits_are_numbers_in_range() {
        assert_eq!(read("limit=1").unwrap().limit, 1);
        assert_eq!(read("limit=10000").unwrap().limit, 10_000);
        for bad in
            ["limit=0", "limit=10001", "limit=", "limit=+5", "limit=-1", "limit=x", "limit=1.0"]
        {
            assert!(read(bad).unwrap_err().contains("1 to 10000"), "{bad}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        let error = |query: &str| read(query).unwrap_err();
        assert!(error("table=items").contains("`tables`"));
        assert!(error("aftr=x").contains("`after`"));
        assert!(error("limit=1&limit=2").contains("given twice"));
        assert!(error("after=").contains("not a version"));
        assert!(error("detail=yes").contains("`true` or `false`"));
        assert!(error("detail").contains("`true` or `false`"));
        assert!(error("include=rows").contains("rows are not held in memory"));
        assert!(error("include=x").contains("knows only `rows`"));
        assert!(error("where=owner_id:5").contains("not offered"));
        assert!(error("tables=%ff").contains("not UTF-8"));
        assert!(error("%ff=1").contains("not UTF-8"));
        assert!(parse("tables=a", true, WAIT_MAX).unwrap_err().detail().contains("path"));
    }

    proptest! {
        #[test]
        fn any_query_is_read_or_refused(query in ".{0,200}") {
            let _ = read(&query);
        }

        #[test]
        fn any_parameter_is_read_or_refused(
            name in "(tables|after|limit|wait|detail|include|where)",
            value in "[-+a-z0-9.,%\"=]{0,30}",
        ) {
            let _ = read(&format!("{name}={value}"));
        }
    }
}
