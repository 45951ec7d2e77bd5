//! What a request for rows asks for.

use std::time::Duration;

use tokio::time::Instant;

use super::pairs::{QueryPairs, WHERE};
use super::row_filter::RowFilter;
use super::value::{LIMIT_DEFAULT, limit, names, wait};
use crate::http::response::problem::{Problem, shown};
use crate::lsn::Lsn;
use crate::version::Version;

/// How long a request for rows waits, for a position or for the database, when the client doesn't
/// say; then it is refused (503).
const WAIT_DEFAULT: Duration = Duration::from_secs(5);

/// What an answer has to contain, and how long the client waits for it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct WaitOptions {
    /// Everything up to here; `None`: what there is.
    pub(crate) at_least: Option<AtLeast>,
    /// How long to wait for that, and for rows that are not in memory.
    pub(crate) wait: Duration,
}

/// A position as a client may know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AtLeast {
    /// From an answer, of any instance.
    Version(Version),
    /// From PostgreSQL, after its own commit.
    Lsn(Lsn),
}

/// The parameters for one row.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RowQuery {
    pub(crate) narrowing: RowFilter,
    pub(crate) patience: WaitOptions,
}

/// The parameters for rows of one table.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RowsQuery {
    pub(crate) narrowing: RowFilter,
    pub(crate) wanted: RowsParams,
    pub(crate) patience: WaitOptions,
}

/// Which rows.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum RowsParams {
    /// Those with these ids: a list, not yet taken apart.
    Ids(String),
    /// All, a page at a time.
    Page {
        /// Rows in the answer at most.
        limit: usize,
        /// Where the last page said the next one begins.
        cursor: Option<String>,
    },
}

/// The parameters for whole tables.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct StoreQuery {
    /// Table names as sent; `None`: every preloaded table.
    pub(crate) tables: Option<Vec<String>>,
    pub(crate) narrowing: RowFilter,
    pub(crate) patience: WaitOptions,
}

impl WaitOptions {
    fn of<const N: usize>(sent: &QueryPairs<N>, wait_max: Duration) -> Result<Self, Problem> {
        let wait = sent.value("wait", |text| wait(text, wait_max))?;
        Ok(Self {
            at_least: sent.value("at_least", at_least)?,
            wait: wait.unwrap_or(WAIT_DEFAULT.min(wait_max)),
        })
    }

    /// When it ends, if the request came just now.
    pub(crate) fn ends(&self) -> Instant {
        Instant::now() + self.wait
    }
}

impl RowQuery {
    pub(crate) fn read(query: &str, wait_max: Duration) -> Result<Self, Problem> {
        let sent = QueryPairs::read(query, ["at_least", "wait", WHERE])?;
        Ok(Self { narrowing: RowFilter::sent(&sent)?, patience: WaitOptions::of(&sent, wait_max)? })
    }
}

impl RowsQuery {
    pub(crate) fn read(query: &str, wait_max: Duration) -> Result<Self, Problem> {
        let sent = QueryPairs::read(query, ["ids", "limit", "cursor", "at_least", "wait", WHERE])?;
        let page = sent.value("limit", limit)?;
        let cursor = sent.text("cursor");
        let wanted = match sent.text("ids") {
            Some(_) if page.is_some() || cursor.is_some() => {
                return Err(Problem::invalid(
                    "`ids` asks for these rows, `limit` and `cursor` for a page of all: \
                     leave one or the other out",
                ));
            }
            Some(ids) => RowsParams::Ids(ids.to_owned()),
            None => RowsParams::Page {
                limit: page.unwrap_or(LIMIT_DEFAULT),
                cursor: cursor.map(str::to_owned),
            },
        };
        Ok(Self {
            narrowing: RowFilter::sent(&sent)?,
            wanted,
            patience: WaitOptions::of(&sent, wait_max)?,
        })
    }
}

impl StoreQuery {
    pub(crate) fn read(query: &str, wait_max: Duration) -> Result<Self, Problem> {
        let sent = QueryPairs::read(query, ["tables", "at_least", "wait", WHERE])?;
        Ok(Self {
            tables: sent.value("tables", names)?,
            narrowing: RowFilter::sent(&sent)?,
            patience: WaitOptions::of(&sent, wait_max)?,
        })
    }
}

fn at_least(text: &str) -> Result<AtLeast, Problem> {
    let version = text.parse().map(AtLeast::Version);
    version.or_else(|_| text.parse().map(AtLeast::Lsn)).map_err(|_| {
        Problem::invalid(format!(
            "`at_least` is neither a version nor an LSN: \"{}\"; send the `version` of an answer, \
             or what pg_current_wal_insert_lsn() says after your COMMIT, like 16/B374D848",
            shown(text)
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT_MAX: Duration = Duration::from_mins(1);

    fn rows(query: &str) -> Result<RowsQuery, String> {
        RowsQuery::read(query, WAIT_MAX).map_err(|problem| problem.detail().to_owned())
    }

    #[test]
    fn ids_or_a_page_are_asked_for_but_not_both() {
        let wanted = |query| rows(query).map(|query| query.wanted);
        let page = |limit, cursor: Option<&str>| {
            Ok(RowsParams::Page { limit, cursor: cursor.map(str::to_owned) })
        };
        assert_eq!(wanted(""), page(1_000, None));
        assert_eq!(wanted("limit=7&cursor=x"), page(7, Some("x")));
        assert_eq!(wanted("ids=1%2C2"), Ok(RowsParams::Ids("1,2".to_owned())));
        for both in ["ids=1&limit=1", "cursor=x&ids=1"] {
            assert!(wanted(both).unwrap_err().contains("leave one or the other out"));
        }
        assert!(wanted("limit=10001").unwrap_err().contains("1 to 10000"));
    }

    #[test]
    fn patience_is_five_seconds_unless_told_otherwise() {
        let patience = |query| rows(query).map(|query| query.patience);
        assert_eq!(patience(""), Ok(WaitOptions { at_least: None, wait: Duration::from_secs(5) }));
        assert_eq!(patience("wait=0").unwrap().wait, Duration::ZERO);
        assert!(patience("wait=61").unwrap_err().contains("at most 60s"));
    }

    #[test]
    fn at_least_is_a_version_or_an_lsn() {
        let at_least = |text: &str| rows(&format!("at_least={text}")).map(|q| q.patience.at_least);
        assert_eq!(at_least("16/B374D848"), Ok(Some(AtLeast::Lsn(Lsn(0x16_B374_D848)))));
        assert_eq!(at_least("16%2Fb374d848"), at_least("16/B374D848"));
        let version = "0000000a-0000000000000008";
        assert_eq!(at_least(version), Ok(Some(AtLeast::Version(version.parse().unwrap()))));
        for bad in ["", "7", "16", "0000000A-0000000000000008"] {
            assert!(at_least(bad).unwrap_err().contains("neither a version nor an LSN"), "{bad}");
        }
    }

    #[test]
    fn each_request_knows_its_own_parameters_only() {
        assert!(RowQuery::read("ids=1", WAIT_MAX).is_err());
        assert!(StoreQuery::read("limit=1", WAIT_MAX).is_err());
        assert!(rows("tables=items").is_err());
        let tables = StoreQuery::read("tables=items,users", WAIT_MAX).unwrap().tables;
        assert_eq!(tables.unwrap(), ["items", "users"]);
    }
}
