//! What a poll asks for.

use std::time::Duration;

use super::pairs::QueryPairs;
use super::row_filter::RowFilter;
use super::value::{LIMIT_DEFAULT, detail, limit, names, version, wait};
use crate::http::response::problem::Problem;
use crate::version::Version;

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
    /// Whether each insert and update carries its row.
    pub(crate) rows: bool,
    /// Which rows it is about.
    pub(crate) narrowing: RowFilter,
}

impl ChangesQuery {
    /// Reads a poll of many tables.
    pub(crate) fn read(query: &str, wait_max: Duration) -> Result<Self, Problem> {
        Self::of(&sent(query)?, wait_max)
    }

    /// Reads a poll of the table that the path names.
    pub(crate) fn read_of_table(
        table: String,
        query: &str,
        wait_max: Duration,
    ) -> Result<Self, Problem> {
        let sent = sent(query)?;
        if sent.text("tables").is_some() {
            return Err(Problem::invalid("the path already names the table: leave `tables` out"));
        }
        Ok(Self { tables: Some(vec![table]), ..Self::of(&sent, wait_max)? })
    }

    fn of<const N: usize>(sent: &QueryPairs<N>, wait_max: Duration) -> Result<Self, Problem> {
        let limit = sent.value("limit", limit)?;
        let wait = sent.value("wait", |text| wait(text, wait_max))?;
        Ok(Self {
            tables: sent.value("tables", names)?,
            after: sent.value("after", version)?,
            limit: limit.unwrap_or(LIMIT_DEFAULT),
            wait: wait.unwrap_or(Duration::ZERO),
            detail: sent.value("detail", detail)?.unwrap_or(false),
            rows: sent.value("include", includes_rows)?.unwrap_or(false),
            narrowing: RowFilter::sent(sent)?,
        })
    }
}

fn sent(query: &str) -> Result<QueryPairs<'_, 7>, Problem> {
    QueryPairs::read(query, ["tables", "after", "limit", "wait", "detail", "include", "where"])
}

fn includes_rows(text: &str) -> Result<bool, Problem> {
    match text {
        "rows" => Ok(true),
        _ => Err(Problem::invalid("`include` knows only `rows`: write that, or leave it out")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WAIT_MAX: Duration = Duration::from_mins(1);

    fn read(query: &str) -> Result<ChangesQuery, String> {
        ChangesQuery::read(query, WAIT_MAX).map_err(|problem| problem.detail().to_owned())
    }

    #[test]
    fn nothing_sent_means_the_defaults() {
        let expected = ChangesQuery {
            tables: None,
            after: None,
            limit: 1_000,
            wait: Duration::ZERO,
            detail: false,
            rows: false,
            narrowing: RowFilter::default(),
        };
        assert_eq!(read(""), Ok(expected));
        assert_eq!(read("&&"), read(""));
    }

    #[test]
    fn everything_is_read() {
        let query = "tables=items,users&after=0000000a-0000000000000008&limit=5&wait=30s&detail=true\
             &include=rows";
        let read = read(query).unwrap();
        assert_eq!(read.tables, Some(vec!["items".to_owned(), "users".to_owned()]));
        assert_eq!(read.after.unwrap().to_string(), "0000000a-0000000000000008");
        assert_eq!((read.limit, read.wait), (5, Duration::from_secs(30)));
        assert!(read.detail && read.rows);
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
        assert!(error("include=x").contains("knows only `rows`"));
        assert!(error("where=owner_id").contains("column:value"));
        assert!(error("tables=%ff").contains("not UTF-8"));
        assert!(error("%ff=1").contains("not UTF-8"));
        let twice = ChangesQuery::read_of_table("a".into(), "tables=a", WAIT_MAX);
        assert!(twice.unwrap_err().detail().contains("path"));
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
