//! `docs/src/reference/http-api.md`: endpoints and schemas, from the OpenAPI document.

use std::fmt::Write as _;

use serde_json::Value;

use super::{assert_page, cell};

pub(super) fn document() -> Value {
    serde_json::from_slice(highwater::http::openapi_json()).expect("the document is JSON")
}

/// The text of a string; empty where there is none.
pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn page() -> String {
    let document = document();
    let mut page = format!("# HTTP API\n\n{}\n\n", text(&document["info"]["description"]));
    page.push_str(
        "The same as an OpenAPI 3.1 document: `GET /openapi.json`, or [openapi.json](openapi.json). [Problems](problems.md) lists every \
         error type.\n",
    );
    for tag in document["tags"].as_array().expect("tags") {
        let name = text(&tag["name"]);
        let _ = write!(page, "\n## {}\n\n{}.\n", capitalized(name), text(&tag["description"]));
        for (path, item) in document["paths"].as_object().expect("paths") {
            for (method, operation) in item.as_object().expect("operations") {
                if operation["tags"][0] == name {
                    write_operation(&mut page, &document, method, path, operation);
                }
            }
        }
    }
    page.push_str("\n## Schemas\n");
    for (name, schema) in document["components"]["schemas"].as_object().expect("schemas") {
        write_schema(&mut page, name, schema);
    }
    page
}

fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn write_operation(
    page: &mut String,
    document: &Value,
    method: &str,
    path: &str,
    operation: &Value,
) {
    let (summary, description) = (text(&operation["summary"]), text(&operation["description"]));
    let _ = write!(page, "\n### {} {path}\n\n{summary}. ", method.to_uppercase());
    let _ = write!(page, "{}\n\n{description}\n", access(operation));
    if let Some(parameters) = operation["parameters"].as_array() {
        page.push_str("\n| Parameter | In | Type | Meaning |\n| --- | --- | --- | --- |\n");
        for parameter in parameters {
            let _ = writeln!(
                page,
                "| `{}`{} | {} | {} | {} |",
                text(&parameter["name"]),
                if parameter["required"] == true { " (required)" } else { "" },
                text(&parameter["in"]),
                cell(&kind(&parameter["schema"])),
                cell(text(&parameter["description"])),
            );
        }
    }
    page.push_str("\n| Status | Meaning | Body |\n| --- | --- | --- |\n");
    for (status, response) in operation["responses"].as_object().expect("responses") {
        write_response(page, document, status, response);
    }
    write_headers(page, operation);
    write_examples(page, operation);
}

fn access(operation: &Value) -> &'static str {
    match (operation["security"].is_array(), operation["responses"]["403"].is_object()) {
        (false, _) => "Access: public.",
        (true, true) if operation["tags"][0] == "operations" => "Access: admin tokens.",
        (true, _) => "Access: tokens that grant the tables.",
    }
}

fn write_response(page: &mut String, document: &Value, status: &str, response: &Value) {
    let shared =
        response["$ref"].as_str().and_then(|path| document.pointer(path.trim_start_matches('#')));
    if let Some(shared) = shared {
        let names = shared["content"]["application/problem+json"]["examples"].as_object();
        let names = names.into_iter().flatten().map(|(name, _)| name);
        let links: Vec<_> = names.map(|name| format!("[{name}](problems.md#{name})")).collect();
        let _ = writeln!(page, "| {status} | {} | [Problem](#schema-problem) |", links.join(", "));
        return;
    }
    let bodies = response["content"].as_object().into_iter().flatten();
    let bodies: Vec<_> = bodies
        .map(|(media_type, body)| match media_type.as_str() {
            "application/json" => kind(&body["schema"]),
            other => format!("{} as `{other}`", kind(&body["schema"])),
        })
        .collect();
    let description = cell(text(&response["description"]));
    let _ = writeln!(page, "| {status} | {description} | {} |", cell(&bodies.join(", ")));
}

fn write_headers(page: &mut String, operation: &Value) {
    let responses = operation["responses"].as_object().expect("responses");
    let success = responses.values().find(|response| response["headers"].is_object());
    let Some(headers) = success.and_then(|response| response["headers"].as_object()) else {
        return;
    };
    page.push_str("\n| Response header | Meaning |\n| --- | --- |\n");
    for (name, header) in headers {
        let _ = writeln!(page, "| `{name}` | {} |", cell(text(&header["description"])));
    }
}

fn write_examples(page: &mut String, operation: &Value) {
    for response in operation["responses"].as_object().expect("responses").values() {
        if let Some(example) = response["content"]["application/json"].get("example") {
            let example = serde_json::to_string_pretty(example).expect("JSON");
            let _ = write!(page, "\n```json\n{example}\n```\n");
        }
    }
}

fn write_schema(page: &mut String, name: &str, schema: &Value) {
    let _ = write!(page, "\n### Schema {name}\n\n{}\n", text(&schema["description"]));
    let properties = schema["properties"].as_object();
    let Some(properties) = properties else {
        let _ = write!(page, "\nType: {}.\n", kind(schema));
        return;
    };
    page.push_str("\n| Property | Type | Meaning |\n| --- | --- | --- |\n");
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    for (name, property) in properties {
        let optional = if required.iter().any(|one| one == name) { "" } else { " (optional)" };
        let meaning = cell(text(&property["description"]));
        let _ = writeln!(page, "| `{name}`{optional} | {} | {meaning} |", cell(&kind(property)));
    }
    let additional = &schema["additionalProperties"];
    if additional.is_object() {
        let _ = writeln!(page, "| any other name | {} | |", cell(&kind(additional)));
    }
}

/// The type that a schema describes, in words.
fn kind(schema: &Value) -> String {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap_or_default();
        return format!("[{name}](#schema-{})", name.to_lowercase());
    }
    if let Some(alternatives) = schema["oneOf"].as_array() {
        return alternatives.iter().map(kind).collect::<Vec<_>>().join(" or ");
    }
    if let Some(values) = schema["enum"].as_array() {
        let values = values.iter().map(|value| format!("`{}`", text(value)));
        return values.collect::<Vec<_>>().join(", ");
    }
    match &schema["type"] {
        Value::Array(kinds) => kinds.iter().map(text).collect::<Vec<_>>().join(" or "),
        kind if kind == "array" => format!("array of {}", self::kind(&schema["items"])),
        kind => text(kind).to_owned(),
    }
}

#[test]
fn the_page_of_endpoints_is_current() {
    assert_page("docs/src/reference/http-api.md", &page());
}

#[test]
fn the_openapi_document_is_current() {
    let document = serde_json::to_string_pretty(&document()).expect("JSON");
    assert_page("docs/src/reference/openapi.json", &(document + "\n"));
}
