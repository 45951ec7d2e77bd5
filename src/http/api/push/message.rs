//! What a client says over its socket, and what it is told beside answers.

use std::collections::BTreeMap;

use axum::body::Bytes;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::subscription::SubscriptionParams;
use crate::http::params::{self, LIMIT_DEFAULT, LIMIT_MAX, RowFilter};
use crate::http::response::problem::{Problem, shown};
use crate::version::Version;

/// What a client sends; again to change it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SubscribeMessage {
    subscribe: Subscribe,
}

/// What a client wants to be told.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Subscribe {
    /// Table names; absent or null: every published table.
    #[serde(default)]
    #[schema(example = json!(["items"]))]
    tables: Option<Vec<String>>,
    /// The version of an earlier answer; absent or null: the starting point.
    #[serde(default)]
    #[schema(example = "5f3a9c01-0000000001a2b3c8")]
    after: Option<String>,
    #[serde(default)]
    #[schema(inline)]
    mode: PushMode,
    /// Changes per answer; default 1000.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 10_000)]
    limit: Option<usize>,
    /// Each change carries its own version and commit time.
    #[serde(default)]
    detail: bool,
    /// `rows`: each insert and update carries its row. Tables that are named must hold rows.
    #[serde(default)]
    #[schema(inline)]
    include: Option<Include>,
    /// Only rows with these values in scope columns; a name may have its table before it:
    /// `orders.owner_id`.
    #[serde(default, rename = "where")]
    #[schema(example = json!({"owner_id": 5}))]
    narrowing: BTreeMap<String, Value>,
}

/// What answers carry beside the ids.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Include {
    Rows,
}

/// What is sent when something changed.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PushMode {
    /// Answers as of `/v1/changes`.
    #[default]
    Changes,
    /// Only the version: `{"version":"…"}`.
    Version,
}

/// Reads a message.
pub(crate) fn read(text: &str) -> Result<(PushMode, SubscriptionParams), Problem> {
    let SubscribeMessage { subscribe } = serde_json::from_str(text).map_err(|error| {
        Problem::invalid(format!(
            "the message is not understood: {}; send for instance \
             {{\"subscribe\":{{\"tables\":[\"items\"],\"after\":null}}}}",
            shown(&error.to_string())
        ))
    })?;
    if subscribe.tables.as_ref().is_some_and(Vec::is_empty) {
        return Err(Problem::invalid("`tables` is empty; leave it out to ask for every table"));
    }
    let limit = subscribe.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(Problem::invalid(format!("`limit` must be a number from 1 to {LIMIT_MAX}")));
    }
    let after = subscribe.after.as_deref().map(params::version).transpose()?;
    let narrowing = RowFilter::members(&subscribe.narrowing)?;
    let Subscribe { tables, mode, detail, include, .. } = subscribe;
    let rows = matches!(include, Some(Include::Rows));
    Ok((mode, SubscriptionParams { tables, after, limit, detail, rows, narrowing }))
}

/// A problem as a message.
pub(crate) fn problem(problem: &Problem, request_id: &str) -> Bytes {
    Bytes::from([b"{\"error\":", &*problem.to_json(request_id), b"}"].concat())
}

/// The only thing told in mode `version`.
pub(crate) fn version(version: Version) -> Bytes {
    Bytes::from(format!("{{\"version\":\"{version}\"}}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        read(text).unwrap_err().detail().to_owned()
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let expected = SubscriptionParams {
            tables: None,
            after: None,
            limit: LIMIT_DEFAULT,
            detail: false,
            rows: false,
            narrowing: RowFilter::default(),
        };
        assert_eq!(read(r#"{"subscribe":{}}"#).unwrap(), (PushMode::Changes, expected));
    }

    #[test]
    fn everything_is_read() {
        let text = r#"{"subscribe":{"tables":["a","b.c"],"after":"0000000a-0000000000000008",
            "mode":"version","limit":5,"detail":true,"include":"rows","where":{"owner_id":5}}}"#;
        let (mode, wanted) = read(text).unwrap();
        assert_eq!(mode, PushMode::Version);
        assert_eq!(wanted.tables.unwrap(), ["a", "b.c"]);
        assert_eq!(wanted.after.unwrap().to_string(), "0000000a-0000000000000008");
        assert_eq!((wanted.limit, wanted.detail, wanted.rows), (5, true, true));
        let clauses = wanted.narrowing.clauses();
        assert_eq!((&*clauses[0].column, &*clauses[0].value), ("owner_id", "5"));
    }

    #[test]
    fn mistakes_are_named() {
        for text in ["", "hello", "[]", "{}", r#"{"subscribe":{"table":["a"]}}"#] {
            assert!(refused(text).contains("not understood"), "{text}");
        }
        assert!(refused(r#"{"subscribe":{"table":["a"]}}"#).contains("`tables`"));
        assert!(refused(r#"{"subscribe":{"include":"row"}}"#).contains("`rows`"));
        assert!(refused(r#"{"subscribe":{"mode":"all"}}"#).contains("`version`"));
        assert!(refused(r#"{"subscribe":{"tables":[]}}"#).contains("empty"));
        assert!(refused(r#"{"subscribe":{"limit":0}}"#).contains("1 to 10000"));
        assert!(refused(r#"{"subscribe":{"after":"x"}}"#).contains("not a version"));
    }
}
