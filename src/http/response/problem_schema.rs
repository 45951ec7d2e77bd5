//! Problems in the OpenAPI document: one shared response for each status, with an example for each
//! type of problem that has it.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use serde_json::json;
use utoipa::openapi::content::{Content, ContentBuilder};
use utoipa::openapi::example::{Example, ExampleBuilder};
use utoipa::openapi::header::Header;
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::{Object, ObjectBuilder, Ref, RefOr, Schema, Type};

use crate::http::response::problem::{PROBLEM_JSON, ProblemDefinition, ProblemType};

/// The request id in examples.
const EXAMPLE_REQUEST_ID: &str = "6b2f0c4e9a1d";

/// Headers of problems beyond those of every response.
const RETRY_AFTER: (&str, &str) = ("Retry-After", "Seconds until a retry makes sense");
const CHALLENGE: (&str, &str) = ("WWW-Authenticate", "`Bearer`, with the error (RFC 6750)");

/// The responses of every status that a problem can have, by their names among the components.
pub(crate) fn problem_responses() -> BTreeMap<String, RefOr<Response>> {
    let mut responses = BTreeMap::new();
    for status in ProblemType::ALL.map(|kind| kind.definition().status) {
        responses
            .entry(component_name(status))
            .or_insert_with(|| RefOr::T(problem_response(status)));
    }
    responses
}

/// References to the shared responses of these statuses.
pub(crate) fn references(statuses: &[u16]) -> BTreeMap<String, RefOr<Response>> {
    let statuses = statuses.iter().filter_map(|&status| StatusCode::from_u16(status).ok());
    statuses
        .map(|status| {
            let reference = Ref::from_response_name(component_name(status));
            (status.as_u16().to_string(), RefOr::Ref(reference))
        })
        .collect()
}

/// The schema of `type`: the URNs of every problem type.
pub(crate) fn type_schema() -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(ProblemType::ALL.map(|kind| kind.definition().urn())))
        .description(Some("Identifies the type of error."))
        .build()
}

/// `Not Found` as `NotFound`.
fn component_name(status: StatusCode) -> String {
    status.canonical_reason().unwrap_or_default().replace(' ', "")
}

fn problem_response(status: StatusCode) -> Response {
    let definitions = ProblemType::ALL.map(ProblemType::definition).into_iter();
    let definitions: Vec<_> = definitions.filter(|d| d.status == status).collect();
    let names: Vec<_> = definitions.iter().map(|d| format!("`{}`", d.name)).collect();
    let mut response = ResponseBuilder::new()
        .description(format!("{}: {}", reason(status), names.join(", ")))
        .content(PROBLEM_JSON, content(&definitions));
    let is_retried = |d: &ProblemDefinition| {
        d.retry_after.is_some() || d.status == StatusCode::TOO_MANY_REQUESTS
    };
    if definitions.iter().any(is_retried) {
        let (name, description) = RETRY_AFTER;
        response = response.header(name, header(Type::Integer, description));
    }
    if definitions.iter().all(|d| d.challenge.is_some()) {
        let (name, description) = CHALLENGE;
        response = response.header(name, header(Type::String, description));
    }
    response.build()
}

fn reason(status: StatusCode) -> &'static str {
    status.canonical_reason().unwrap_or_default()
}

fn content(definitions: &[ProblemDefinition]) -> Content {
    let examples = definitions.iter().map(|d| (d.name, RefOr::T(example(d))));
    ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("Problem")))
        .examples_from_iter(examples)
        .build()
}

fn example(definition: &ProblemDefinition) -> Example {
    ExampleBuilder::new()
        .summary(definition.title)
        .description(format!("{}\n\n{}", definition.meaning, definition.remedy))
        .value(Some(json!({
            "type": definition.urn(),
            "title": definition.title,
            "status": definition.status.as_u16(),
            "detail": definition.meaning,
            "request_id": EXAMPLE_REQUEST_ID,
        })))
        .build()
}

fn header(kind: Type, description: &str) -> Header {
    let schema: Schema = ObjectBuilder::new().schema_type(kind).build().into();
    utoipa::openapi::header::HeaderBuilder::new()
        .schema(schema)
        .description(Some(description))
        .build()
}
