//! Schemas and responses that several endpoints share in the OpenAPI document.

use std::collections::BTreeMap;

use utoipa::openapi::response::Response;
use utoipa::openapi::schema::{AdditionalProperties, ArrayBuilder, OneOfBuilder, SchemaType};
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, Type};
use utoipa::{IntoResponses, PartialSchema, ToSchema};

use crate::http::response::problem_schema::references;

/// An opaque position in commit order.
#[derive(ToSchema)]
#[schema(value_type = String, as = Version, example = "5f3a9c01-0000000001a2b3c8",
    description = "An opaque position in commit order; only the service compares versions.")]
pub(crate) struct VersionSchema(());

/// The id of a row as JSON.
pub(crate) struct RowIdSchema;

impl PartialSchema for RowIdSchema {
    fn schema() -> RefOr<Schema> {
        let scalar = |kind| ObjectBuilder::new().schema_type(kind).build();
        let item = OneOfBuilder::new()
            .item(scalar(Type::Number))
            .item(scalar(Type::String))
            .item(scalar(Type::Boolean));
        OneOfBuilder::new()
            .item(scalar(Type::Number))
            .item(scalar(Type::String))
            .item(ArrayBuilder::new().items(RefOr::T(Schema::from(item.build()))).build())
            .description(Some(
                "The value of the replica identity key; an array in key order where the key has \
                 several columns.",
            ))
            .into()
    }
}

impl ToSchema for RowIdSchema {
    fn name() -> std::borrow::Cow<'static, str> {
        "RowId".into()
    }
}

/// A row's document.
pub(crate) struct RowSchema;

impl PartialSchema for RowSchema {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::Object)
            .additional_properties(Some(AdditionalProperties::FreeForm(true)))
            .description(Some(
                "A row as `to_jsonb` renders it with `TimeZone=UTC`: one property per column.",
            ))
            .into()
    }
}

impl ToSchema for RowSchema {
    fn name() -> std::borrow::Cow<'static, str> {
        "Row".into()
    }
}

/// A JSON object without a schema of its own.
pub(crate) struct JsonObject;

impl PartialSchema for JsonObject {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(SchemaType::new(Type::Object))
            .additional_properties(Some(AdditionalProperties::FreeForm(true)))
            .into()
    }
}

impl ToSchema for JsonObject {}

/// 304.
#[derive(IntoResponses)]
#[response(
    status = 304,
    description = "Nothing changed since the `ETag` in `If-None-Match`",
    headers(
        ("Highwater-Version" = String, description = "The version of the response that is not sent"),
        ("ETag" = String, description = "The same tag"),
    )
)]
pub(crate) struct NotModified;

/// The problems of requests that name tables: 400, 404, 409, 503.
pub(crate) struct TableProblems;

impl IntoResponses for TableProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        references(&[400, 404, 409, 503])
    }
}

/// The problems of `/admin/…`: 400, 403, 404, 503.
pub(crate) struct AdminProblems;

impl IntoResponses for AdminProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        references(&[400, 403, 404, 503])
    }
}

/// The problems of a WebSocket handshake: 403, 426, 503.
pub(crate) struct HandshakeProblems;

impl IntoResponses for HandshakeProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        references(&[403, 426, 503])
    }
}

/// 409: another verification is running.
pub(crate) struct ConflictProblem;

impl IntoResponses for ConflictProblem {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        references(&[409])
    }
}

/// 503: the service is not ready.
pub(crate) struct UnavailableProblem;

impl IntoResponses for UnavailableProblem {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        references(&[503])
    }
}
