//! The parameters of requests for rows.

use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;
use utoipa::IntoParams;

use super::query_string::from_query;
use super::row_filter::RowFilter;
use super::values::{AtLeast, LIMIT_DEFAULT, Limit, TableList, WaitTime};
use crate::http::response::problem::Problem;

/// How long a request for rows waits, for a position or for the database, where the client sets no
/// `wait`; past it the response is 503.
const WAIT_DEFAULT: Duration = Duration::from_secs(5);

/// The query of `GET /v1/tables/{table}/rows/{id}`.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct RowParams {
    /// A version, or the result of `pg_current_wal_insert_lsn()` after your `COMMIT`: wait until that position is applied, to read your own write
    #[param(value_type = Option<String>, example = "16/B374D848")]
    at_least: Option<AtLeast>,
    /// Only rows with these values in scope columns, as for `/v1/changes`
    #[param(inline)]
    #[serde(rename = "where")]
    filter: Option<RowFilter>,
    /// How long to wait for `at_least`, or for the database where the row is not in memory (at most 60s). Default 5s; past it the response is 503
    #[param(inline)]
    wait: Option<WaitTime>,
}

/// The query of `GET /v1/tables/{table}/rows`.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct RowsParams {
    /// Ids as in the path of a single row, with `,` between, at most 1000. For a key of n columns the list is read n values at a time. An id that is listed twice is answered twice
    #[param(example = "1,2,3")]
    ids: Option<String>,
    /// Rows per page. Not with `ids`
    #[param(value_type = Option<u32>, minimum = 1, maximum = 10_000, default = 1_000)]
    limit: Option<Limit>,
    /// The `next` of the previous page. Not with `ids`
    cursor: Option<String>,
    /// A version, or the result of `pg_current_wal_insert_lsn()` after your `COMMIT`: wait until that position is applied, to read your own write
    #[param(value_type = Option<String>, example = "16/B374D848")]
    at_least: Option<AtLeast>,
    /// Only rows with these values in scope columns, as for `/v1/changes`
    #[param(inline)]
    #[serde(rename = "where")]
    filter: Option<RowFilter>,
    /// How long to wait for `at_least`, or for the database where rows are not in memory (at most 60s). Default 5s; past it the response is 503
    #[param(inline)]
    wait: Option<WaitTime>,
}

/// The query of `GET /v1/store`.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct StoreParams {
    /// Comma-separated table names, as for `/v1/changes`; all must be preloaded. Absent: every preloaded table
    #[param(inline)]
    tables: Option<TableList>,
    /// A version, or the result of `pg_current_wal_insert_lsn()` after your `COMMIT`: wait until that position is applied, to read your own write
    #[param(value_type = Option<String>, example = "16/B374D848")]
    at_least: Option<AtLeast>,
    /// Only rows with these values in scope columns, as for `/v1/changes`
    #[param(inline)]
    #[serde(rename = "where")]
    filter: Option<RowFilter>,
    /// How long to wait for `at_least`, or for a table that is still being loaded (at most 60s). Default 5s; past it the response is 503
    #[param(inline)]
    wait: Option<WaitTime>,
}

/// The position that a response has to include, and how long the client waits for it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct WaitOptions {
    /// `None`: what is applied now.
    pub(crate) at_least: Option<AtLeast>,
    /// The time for reaching it and for loading rows that are not in memory.
    wait: Duration,
}

/// A request for one row.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RowRequest {
    pub(crate) filter: RowFilter,
    pub(crate) wait: WaitOptions,
}

/// A request for rows of one table.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RowsRequest {
    pub(crate) filter: RowFilter,
    pub(crate) selection: RowsSelection,
    pub(crate) wait: WaitOptions,
}

/// Which rows of a table are requested.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum RowsSelection {
    /// The rows with these ids: the list as sent, still percent-encoded inside ids.
    Ids(String),
    /// All rows, a page at a time.
    Page {
        /// The maximum number of rows in the page.
        limit: usize,
        /// The `next` of the previous page; `None`: the first page.
        cursor: Option<String>,
    },
}

/// A request for whole tables.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct StoreRequest {
    /// Table names as sent; `None`: every preloaded table.
    pub(crate) tables: Option<Vec<String>>,
    pub(crate) filter: RowFilter,
    pub(crate) wait: WaitOptions,
}

impl WaitOptions {
    fn new(
        at_least: Option<AtLeast>,
        wait: Option<WaitTime>,
        wait_max: Duration,
    ) -> Result<Self, Problem> {
        let default = WAIT_DEFAULT.min(wait_max);
        Ok(Self { at_least, wait: wait.map_or(Ok(default), |wait| wait.at_most(wait_max))? })
    }

    /// The deadline of a request that arrives now.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.wait
    }
}

impl RowParams {
    pub(crate) fn read(query: &str, wait_max: Duration) -> Result<RowRequest, Problem> {
        let Self { at_least, filter, wait } = from_query(query)?;
        let wait = WaitOptions::new(at_least, wait, wait_max)?;
        Ok(RowRequest { filter: filter.unwrap_or_default(), wait })
    }
}

impl RowsParams {
    pub(crate) fn read(query: &str, wait_max: Duration) -> Result<RowsRequest, Problem> {
        let Self { ids, limit, cursor, at_least, filter, wait } = from_query(query)?;
        let selection = match ids {
            Some(_) if limit.is_some() || cursor.is_some() => {
                return Err(Problem::invalid(
                    "`ids` selects these rows, `limit` and `cursor` a page of all rows: leave one \
                     or the other out",
                ));
            }
            Some(ids) => RowsSelection::Ids(ids),
            None => {
                let limit = limit.map_or(LIMIT_DEFAULT, |Limit(limit)| limit);
                RowsSelection::Page { limit, cursor }
            }
        };
        let wait = WaitOptions::new(at_least, wait, wait_max)?;
        Ok(RowsRequest { filter: filter.unwrap_or_default(), selection, wait })
    }
}

impl StoreParams {
    pub(crate) fn read(query: &str, wait_max: Duration) -> Result<StoreRequest, Problem> {
        let Self { tables, at_least, filter, wait } = from_query(query)?;
        let wait = WaitOptions::new(at_least, wait, wait_max)?;
        let tables = tables.map(|TableList(names)| names);
        Ok(StoreRequest { tables, filter: filter.unwrap_or_default(), wait })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lsn::Lsn;

    const WAIT_MAX: Duration = Duration::from_mins(1);

    fn rows(query: &str) -> Result<RowsRequest, String> {
        RowsParams::read(query, WAIT_MAX).map_err(|problem| problem.detail().to_owned())
    }

    #[test]
    fn ids_exclude_paging() {
        let selection = |query| rows(query).map(|request| request.selection);
        let page = |limit, cursor: Option<&str>| {
            Ok(RowsSelection::Page { limit, cursor: cursor.map(str::to_owned) })
        };
        assert_eq!(selection(""), page(1_000, None));
        assert_eq!(selection("limit=7&cursor=x"), page(7, Some("x")));
        assert_eq!(selection("ids=1%2C2"), Ok(RowsSelection::Ids("1,2".to_owned())));
        for both in ["ids=1&limit=1", "cursor=x&ids=1"] {
            assert!(selection(both).unwrap_err().contains("leave one or the other out"));
        }
        assert!(selection("limit=10001").unwrap_err().contains("1 to 10000"));
    }

    #[test]
    fn the_default_wait_is_five_seconds() {
        let wait = |query| rows(query).map(|request| request.wait);
        assert_eq!(wait(""), Ok(WaitOptions { at_least: None, wait: Duration::from_secs(5) }));
        assert_eq!(wait("wait=0").unwrap().wait, Duration::ZERO);
        assert!(wait("wait=61").unwrap_err().contains("at most 60s"));
    }

    #[test]
    fn at_least_is_a_version_or_an_lsn() {
        let at_least = |text: &str| rows(&format!("at_least={text}")).map(|r| r.wait.at_least);
        assert_eq!(at_least("16/B374D848"), Ok(Some(AtLeast::Lsn(Lsn(0x16_B374_D848)))));
        assert_eq!(at_least("16%2Fb374d848"), at_least("16/B374D848"));
        let version = "0000000a-0000000000000008";
        assert_eq!(at_least(version), Ok(Some(AtLeast::Version(version.parse().unwrap()))));
        for bad in ["", "7", "16", "0000000A-0000000000000008"] {
            assert!(at_least(bad).unwrap_err().contains("neither a version nor an LSN"), "{bad}");
        }
    }

    #[test]
    fn each_endpoint_accepts_its_own_parameters_only() {
        assert!(RowParams::read("ids=1", WAIT_MAX).is_err());
        assert!(StoreParams::read("limit=1", WAIT_MAX).is_err());
        assert!(rows("tables=items").is_err());
        let tables = StoreParams::read("tables=items,users", WAIT_MAX).unwrap().tables;
        assert_eq!(tables.unwrap(), ["items", "users"]);
    }
}
