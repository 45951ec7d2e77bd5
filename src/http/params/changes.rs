//! The parameters of requests for changes.

use std::time::Duration;

use serde::Deserialize;
use utoipa::IntoParams;

use super::query_string::from_query;
use super::row_filter::RowFilter;
use super::values::{Include, LIMIT_DEFAULT, Limit, TableList, VersionParam, WaitTime};
use crate::http::response::problem::Problem;
use crate::version::Version;

/// A request for changes, however it arrives: as a poll, a stream or a message of a WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChangesRequest {
    /// Table names as sent; `None`: every published table.
    pub(crate) tables: Option<Vec<String>>,
    /// The version of the client's last response; `None`: the starting point.
    pub(crate) after: Option<Version>,
    /// The maximum number of changes in a response.
    pub(crate) limit: usize,
    /// Whether each change carries its version and commit time.
    pub(crate) detail: bool,
    /// Whether each insert and update carries its row.
    pub(crate) include_rows: bool,
    pub(crate) filter: RowFilter,
}

/// The query of `GET /v1/changes`.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ChangesParams {
    /// Comma-separated table names. A name that holds a comma, dot or quote is quoted as in SQL. Absent: every published table
    #[param(inline)]
    tables: Option<TableList>,
    /// The `version` of an earlier response. Absent: every requested table is in `reset`
    #[param(inline)]
    after: Option<VersionParam>,
    /// Maximum number of changes in the response; fewer where their ids or rows are large
    #[param(value_type = Option<u32>, minimum = 1, maximum = 10_000, default = 1_000)]
    limit: Option<Limit>,
    /// Long poll: without changes in these tables, hold the response until there are some, or for this long (at most 60s). Default 0
    #[param(inline)]
    wait: Option<WaitTime>,
    /// `rows`: each insert and update carries `row`, the row at the response's `version`. Tables that are named must have cached rows; of other tables without cached rows only ids are reported
    #[param(inline)]
    include: Option<Include>,
    /// Each change carries its own `version` and commit time `at`
    detail: Option<bool>,
    /// Only rows with these values in scope columns (`tables.NAME.scope`): `column:value`, with `,` between several; may be repeated. A column applies to every requested table that has it as a scope column, `orders.owner_id:5` to that table alone. Inside a name or value, `,` is `%2C` and `:` is `%3A`. A row that moves out of the filter is reported as a delete, one that moves in as an insert
    #[param(inline)]
    #[serde(rename = "where")]
    filter: Option<RowFilter>,
}

/// The query of `GET /v1/tables/{table}/changes`.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct TableChangesParams {
    /// The `version` of an earlier response. Absent: the table is in `reset`
    #[param(inline)]
    after: Option<VersionParam>,
    /// Maximum number of changes in the response; fewer where their ids or rows are large
    #[param(value_type = Option<u32>, minimum = 1, maximum = 10_000, default = 1_000)]
    limit: Option<Limit>,
    /// Long poll: without changes, hold the response until there are some, or for this long (at most 60s). Default 0
    #[param(inline)]
    wait: Option<WaitTime>,
    /// `rows`: each insert and update carries `row`, the row at the response's `version`. The table must have cached rows
    #[param(inline)]
    include: Option<Include>,
    /// Each change carries its own `version` and commit time `at`
    detail: Option<bool>,
    /// Only rows with these values in scope columns, as for `/v1/changes`
    #[param(inline)]
    #[serde(rename = "where")]
    filter: Option<RowFilter>,
}

/// The query of `GET /v1/stream`.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct StreamParams {
    /// Comma-separated table names, as for `/v1/changes`. Absent: every published table
    #[param(inline)]
    tables: Option<TableList>,
    /// The `version` of an earlier response; `Last-Event-ID` takes precedence. Absent: the first event is the starting point
    #[param(inline)]
    after: Option<VersionParam>,
    /// Maximum number of changes in an event; fewer where their ids or rows are large
    #[param(value_type = Option<u32>, minimum = 1, maximum = 10_000, default = 1_000)]
    limit: Option<Limit>,
    /// `rows`: each insert and update carries `row`, the row at the event's `version`. Tables that are named must have cached rows
    #[param(inline)]
    include: Option<Include>,
    /// Each change carries its own `version` and commit time `at`
    detail: Option<bool>,
    /// Only rows with these values in scope columns, as for `/v1/changes`
    #[param(inline)]
    #[serde(rename = "where")]
    filter: Option<RowFilter>,
}

impl ChangesParams {
    /// The request, and how long its response is held when there are no changes.
    pub(crate) fn read(
        query: &str,
        wait_max: Duration,
    ) -> Result<(ChangesRequest, Duration), Problem> {
        let Self { tables, after, limit, wait, include, detail, filter } = from_query(query)?;
        let request = request(tables, after, limit, include, detail, filter);
        Ok((request, wait.map_or(Ok(Duration::ZERO), |wait| wait.at_most(wait_max))?))
    }
}

impl TableChangesParams {
    /// The same for the table that the path names.
    pub(crate) fn read(
        table: String,
        query: &str,
        wait_max: Duration,
    ) -> Result<(ChangesRequest, Duration), Problem> {
        let Self { after, limit, wait, include, detail, filter } = from_query(query)?;
        let tables = Some(TableList(vec![table]));
        let request = request(tables, after, limit, include, detail, filter);
        Ok((request, wait.map_or(Ok(Duration::ZERO), |wait| wait.at_most(wait_max))?))
    }
}

impl StreamParams {
    pub(crate) fn read(query: &str) -> Result<ChangesRequest, Problem> {
        let Self { tables, after, limit, include, detail, filter } = from_query(query)?;
        Ok(request(tables, after, limit, include, detail, filter))
    }
}

fn request(
    tables: Option<TableList>,
    after: Option<VersionParam>,
    limit: Option<Limit>,
    include: Option<Include>,
    detail: Option<bool>,
    filter: Option<RowFilter>,
) -> ChangesRequest {
    ChangesRequest {
        tables: tables.map(|TableList(names)| names),
        after: after.map(|VersionParam(version)| version),
        limit: limit.map_or(LIMIT_DEFAULT, |Limit(limit)| limit),
        detail: detail.unwrap_or(false),
        include_rows: include == Some(Include::Rows),
        filter: filter.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WAIT_MAX: Duration = Duration::from_mins(1);

    fn read(query: &str) -> Result<(ChangesRequest, Duration), String> {
        ChangesParams::read(query, WAIT_MAX).map_err(|problem| problem.detail().to_owned())
    }

    fn request(query: &str) -> Result<ChangesRequest, String> {
        read(query).map(|(request, _)| request)
    }

    #[test]
    fn absent_parameters_have_defaults() {
        let expected = ChangesRequest {
            tables: None,
            after: None,
            limit: 1_000,
            detail: false,
            include_rows: false,
            filter: RowFilter::default(),
        };
        assert_eq!(read(""), Ok((expected, Duration::ZERO)));
        assert_eq!(read("&&"), read(""));
    }

    #[test]
    fn every_parameter_is_read() {
        let query = "tables=items,users&after=0000000a-0000000000000008&limit=5&wait=30s&detail=true\
             &include=rows&where=owner_id:5";
        let (request, wait) = read(query).unwrap();
        assert_eq!(request.tables, Some(vec!["items".to_owned(), "users".to_owned()]));
        assert_eq!(request.after.unwrap().to_string(), "0000000a-0000000000000008");
        assert_eq!((request.limit, wait), (5, Duration::from_secs(30)));
        assert!(request.detail && request.include_rows && !request.filter.is_empty());
    }

    #[test]
    fn commas_split_outside_of_quotes_only() {
        let tables = |query: &str| request(query).map(|request| request.tables.unwrap_or_default());
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
    fn waits_have_three_notations_and_a_limit() {
        let wait = |query: &str| read(query).map(|(_, wait)| wait);
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
        assert_eq!(request("limit=1").unwrap().limit, 1);
        assert_eq!(request("limit=10000").unwrap().limit, 10_000);
        for bad in
            ["limit=0", "limit=10001", "limit=", "limit=+5", "limit=-1", "limit=x", "limit=1.0"]
        {
            assert!(request(bad).unwrap_err().contains("1 to 10000"), "{bad}");
        }
    }

    #[test]
    fn errors_name_the_parameter() {
        let error = |query: &str| read(query).unwrap_err();
        assert!(error("table=items").contains("`tables`"));
        assert!(error("aftr=x").contains("`after`"));
        assert!(error("zzz=x").contains("the parameters are `tables`, `after`"));
        assert!(error("limit=1&limit=2").contains("given twice"));
        assert!(error("after=").contains("not a version"));
        assert!(error("detail=yes").contains("`detail` must be `true` or `false`"));
        assert!(error("detail").contains("`true` or `false`"));
        assert!(error("include=x").contains("`include` must be one of `rows`"));
        assert!(error("where=owner_id").contains("column:value"));
        assert!(error("tables=%ff").contains("not UTF-8"));
        assert!(error("%ff=1").contains("not UTF-8"));
        let twice = TableChangesParams::read("a".into(), "tables=a", WAIT_MAX);
        assert!(twice.unwrap_err().detail().contains("leave `tables` out"));
    }

    proptest! {
        #[test]
        fn any_query_is_read_or_rejected(query in ".{0,200}") {
            let _ = read(&query);
        }

        #[test]
        fn any_parameter_is_read_or_rejected(
            name in "(tables|after|limit|wait|detail|include|where)",
            value in "[-+a-z0-9.,%\"=]{0,30}",
        ) {
            let _ = read(&format!("{name}={value}"));
        }
    }
}
