//! `docs/src/reference/problems.md`: every problem type, from the OpenAPI document.

use std::fmt::Write as _;

use serde_json::Value;

use super::{assert_page, http_api};

const INTRODUCTION: &str = "# Problems

Errors are [RFC 9457](https://www.rfc-editor.org/rfc/rfc9457) problem details with the media type
`application/problem+json`. A program decides by `type`, which is `urn:highwater:problem:` and one of the
names below; a person reads `detail`. `request_id` is also in the `X-Request-Id` header and in the
service's log. No problem may be stored (`Cache-Control: no-store`).

";

/// The types of all problems: names of the examples of the shared responses, with their status.
fn types(document: &Value) -> Vec<(&str, &Value)> {
    let responses = document["components"]["responses"].as_object().expect("responses");
    let contents = responses.values().map(|r| &r["content"]["application/problem+json"]);
    let mut types: Vec<_> = contents
        .flat_map(|content| content["examples"].as_object().expect("examples"))
        .map(|(name, example)| (name.as_str(), example))
        .collect();
    types.sort_by_key(|(name, example)| (example["value"]["status"].as_u64(), *name));
    types
}

fn page() -> String {
    let document = http_api::document();
    let types = types(&document);
    let mut page = INTRODUCTION.to_owned();
    page.push_str("| Type | Status | Title |\n| --- | --- | --- |\n");
    for (name, example) in &types {
        let (status, title) = (&example["value"]["status"], http_api::text(&example["summary"]));
        let _ = writeln!(page, "| [`{name}`](#{name}) | {status} | {title} |");
    }
    for (name, example) in &types {
        let (status, title) = (&example["value"]["status"], http_api::text(&example["summary"]));
        let description = http_api::text(&example["description"]);
        let _ = write!(page, "\n## {name}\n\n**{status}** {title}.\n\n{description}\n");
    }
    page
}

#[test]
fn the_page_of_problems_is_current() {
    assert_page("docs/src/reference/problems.md", &page());
}

#[test]
fn every_problem_type_is_listed() {
    let document = http_api::document();
    let listed = types(&document).len();
    let known = document["components"]["schemas"]["Problem"]["properties"]["type"]["enum"]
        .as_array()
        .expect("the types");
    assert_eq!(listed, known.len());
}
