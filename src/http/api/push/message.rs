//! The messages of a WebSocket, beside the responses to polls.

use std::collections::BTreeMap;

use axum::body::Bytes;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa::openapi::schema::OneOfBuilder;
use utoipa::openapi::{ObjectBuilder, Schema, Type};

use crate::http::params::{self, ChangesRequest, Include, LIMIT_DEFAULT, RowFilter};
use crate::http::response::problem::{Problem, shown};
use crate::version::Version;

/// The message by which a client subscribes; a further one replaces the subscription.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SubscribeMessage {
    subscribe: Subscribe,
}

/// The changes that a client subscribes to.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Subscribe {
    /// Table names; absent or null: every published table.
    #[serde(default)]
    #[schema(example = json!(["items"]))]
    tables: Option<Vec<String>>,
    /// The version of an earlier response; absent or null: the starting point.
    #[serde(default)]
    #[schema(example = "5f3a9c01-0000000001a2b3c8")]
    after: Option<String>,
    #[serde(default)]
    #[schema(inline)]
    mode: PushMode,
    /// Maximum number of changes in a message; default 1000.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 10_000)]
    limit: Option<usize>,
    /// Each change carries its own version and commit time.
    #[serde(default)]
    detail: bool,
    /// `rows`: each insert and update carries its row. Tables that are named must have cached rows.
    #[serde(default)]
    #[schema(inline)]
    include: Option<Include>,
    #[serde(default, rename = "where")]
    #[schema(schema_with = filter_schema)]
    filter: BTreeMap<String, Value>,
}

/// A string, number or boolean for each scope column.
fn filter_schema() -> Schema {
    let value = |kind| ObjectBuilder::new().schema_type(kind).build();
    let value = OneOfBuilder::new()
        .item(value(Type::String))
        .item(value(Type::Number))
        .item(value(Type::Boolean));
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .additional_properties(Some(Schema::from(value.build())))
        .description(Some(
            "Only rows with these values in scope columns; a name may be qualified with its table: \
             `orders.owner_id`.",
        ))
        .examples([serde_json::json!({"owner_id": 5})])
        .into()
}

/// What a message carries when something changed.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PushMode {
    /// A response as of `/v1/changes`.
    #[default]
    Changes,
    /// Only the version: `{"version":"…"}`.
    Version,
}

/// Reads a client's message.
pub(crate) fn read(text: &str) -> Result<(PushMode, ChangesRequest), Problem> {
    let SubscribeMessage { subscribe } = serde_json::from_str(text).map_err(|error| {
        Problem::invalid(format!(
            "the message is not valid: {}; send for example \
             {{\"subscribe\":{{\"tables\":[\"items\"],\"after\":null}}}}",
            shown(&error.to_string())
        ))
    })?;
    if subscribe.tables.as_ref().is_some_and(Vec::is_empty) {
        return Err(Problem::invalid("`tables` is empty; leave it out to request every table"));
    }
    let limit = params::checked_limit(subscribe.limit.unwrap_or(LIMIT_DEFAULT))?;
    let after = subscribe.after.as_deref().map(params::version).transpose()?;
    let filter = RowFilter::from_members(&subscribe.filter)?;
    let Subscribe { tables, mode, detail, include, .. } = subscribe;
    let include_rows = include == Some(Include::Rows);
    Ok((mode, ChangesRequest { tables, after, limit, detail, include_rows, filter }))
}

/// A problem as a message.
pub(crate) fn problem(problem: &Problem, request_id: &str) -> Bytes {
    Bytes::from([b"{\"error\":", &*problem.to_json(request_id), b"}"].concat())
}

/// The message of mode `version`.
pub(crate) fn version(version: Version) -> Bytes {
    Bytes::from(format!("{{\"version\":\"{version}\"}}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rejected(text: &str) -> String {
        read(text).unwrap_err().detail().to_owned()
    }

    #[test]
    fn absent_members_have_defaults() {
        let expected = ChangesRequest {
            tables: None,
            after: None,
            limit: LIMIT_DEFAULT,
            detail: false,
            include_rows: false,
            filter: RowFilter::default(),
        };
        assert_eq!(read(r#"{"subscribe":{}}"#).unwrap(), (PushMode::Changes, expected));
    }

    #[test]
    fn every_member_is_read() {
        let text = r#"{"subscribe":{"tables":["a","b.c"],"after":"0000000a-0000000000000008",
            "mode":"version","limit":5,"detail":true,"include":"rows","where":{"owner_id":5}}}"#;
        let (mode, request) = read(text).unwrap();
        assert_eq!(mode, PushMode::Version);
        assert_eq!(request.tables.unwrap(), ["a", "b.c"]);
        assert_eq!(request.after.unwrap().to_string(), "0000000a-0000000000000008");
        assert_eq!((request.limit, request.detail, request.include_rows), (5, true, true));
        let terms = request.filter.terms();
        assert_eq!((&*terms[0].column, &*terms[0].value), ("owner_id", "5"));
    }

    #[test]
    fn errors_name_the_member() {
        for text in ["", "hello", "[]", "{}", r#"{"subscribe":{"table":["a"]}}"#] {
            assert!(rejected(text).contains("not valid"), "{text}");
        }
        assert!(rejected(r#"{"subscribe":{"table":["a"]}}"#).contains("`tables`"));
        assert!(rejected(r#"{"subscribe":{"include":"row"}}"#).contains("`rows`"));
        assert!(rejected(r#"{"subscribe":{"mode":"all"}}"#).contains("`version`"));
        assert!(rejected(r#"{"subscribe":{"tables":[]}}"#).contains("empty"));
        assert!(rejected(r#"{"subscribe":{"limit":0}}"#).contains("1 to 10000"));
        assert!(rejected(r#"{"subscribe":{"after":"x"}}"#).contains("not a version"));
    }
}
