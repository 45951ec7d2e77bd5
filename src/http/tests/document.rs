use super::rows::Shop;
use super::*;
use crate::change::Op::{Delete, Insert};
use crate::http::api::endpoints;

async fn document() -> Value {
    TestService::start().get("/openapi.json").await.json()
}

/// Checks a value against a schema. A keyword that the document does not use yet is an error, so that
/// nothing remains unchecked.
fn check(value: &Value, schema: &Value, document: &Value) -> Result<(), String> {
    let Value::Object(keywords) = schema else { return Ok(()) };
    let fails = |why: &str| Err(format!("{value} {why} {schema}"));
    for (keyword, expected) in keywords {
        match keyword.as_str() {
            "enum" if !expected.as_array().unwrap().contains(value) => {
                return fails("is not among");
            }
            "additionalProperties"
            | "description"
            | "enum"
            | "example"
            | "examples"
            | "format"
            | "items"
            | "minimum"
            | "properties"
            | "required"
            | "title" => {}
            "$ref" => {
                let path = expected.as_str().unwrap().strip_prefix('#').unwrap();
                check(value, document.pointer(path).unwrap(), document)?;
            }
            "oneOf" => {
                let fits = |one: &&Value| check(value, one, document).is_ok();
                if expected.as_array().unwrap().iter().filter(fits).count() != 1 {
                    return fails("is not one of");
                }
            }
            "type" => {
                let kinds = expected.as_array().cloned().unwrap_or_else(|| vec![expected.clone()]);
                if !kinds.iter().any(|kind| is_kind(value, kind.as_str().unwrap())) {
                    return fails("is not of the type in");
                }
            }
            unknown => return Err(format!("the test does not know `{unknown}`")),
        }
    }
    if let (Value::Array(values), Some(items)) = (value, keywords.get("items")) {
        values.iter().try_for_each(|value| check(value, items, document))?;
    }
    let Value::Object(fields) = value else { return Ok(()) };
    let properties = keywords.get("properties").and_then(Value::as_object);
    let additional = keywords.get("additionalProperties");
    if properties.is_none() && additional.is_none() {
        return Ok(());
    }
    for name in keywords.get("required").and_then(Value::as_array).into_iter().flatten() {
        if !fields.contains_key(name.as_str().unwrap()) {
            return fails(&format!("lacks {name} of"));
        }
    }
    for (name, field) in fields {
        let Some(schema) = properties.and_then(|all| all.get(name)).or(additional) else {
            return fails(&format!("has `{name}`, which is not in"));
        };
        check(field, schema, document)?;
    }
    Ok(())
}

fn is_kind(value: &Value, kind: &str) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        "null" => value.is_null(),
        other => panic!("unknown type {other}"),
    }
}

/// What is documented of the one method that a path has.
fn operation<'a>(document: &'a Value, pattern: &str) -> (&'a str, &'a Value) {
    let operations = document["paths"][pattern].as_object().unwrap();
    assert_eq!(operations.len(), 1, "{pattern}");
    operations.iter().next().map(|(method, operation)| (method.as_str(), operation)).unwrap()
}

/// The response that an operation documents for a status; null if it documents none.
fn response<'a>(document: &'a Value, pattern: &str, status: &str) -> &'a Value {
    resolve(document, &operation(document, pattern).1["responses"][status])
}

/// The component that a reference names; other values as they are.
fn resolve<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    let Some(reference) = value["$ref"].as_str() else { return value };
    document.pointer(reference.strip_prefix('#').unwrap()).unwrap()
}

/// Checks a body against what is documented for its path, status and media type.
fn check_body(document: &Value, pattern: &str, status: &str, kind: &str, body: &Value) {
    let documented = &response(document, pattern, status)["content"][kind];
    assert!(documented.is_object(), "{pattern} {status} {kind} is not documented");
    if let Err(why) = check(body, &documented["schema"], document) {
        panic!("{pattern} {status}: {why}");
    }
}

fn check_reply(document: &Value, pattern: &str, reply: &TestReply) {
    let body = serde_json::from_slice(&reply.body).unwrap();
    let kind = reply.header("content-type");
    check_body(document, pattern, reply.status.as_str(), kind, &body);
}

#[tokio::test]
async fn every_endpoint_is_documented_and_nothing_else() {
    let document = document().await;
    assert_eq!(document["openapi"].as_str().unwrap().get(..3), Some("3.1"));
    let mut documented: Vec<_> = document["paths"].as_object().unwrap().keys().collect();
    let endpoints = endpoints::api().into_iter().chain(endpoints::admin());
    let mut routes: Vec<_> = endpoints.map(|endpoint| endpoint.pattern).collect();
    documented.sort_unstable();
    routes.sort_unstable();
    assert_eq!(documented, routes.iter().collect::<Vec<_>>());
    let shop = Shop::with_rows(&[(ITEMS, r#"{"id":7}"#)]).await;
    for pattern in &routes {
        let (method, operation) = operation(&document, pattern);
        // These responses never end: they have tests of their own.
        if operation["tags"][0] == "push" {
            continue;
        }
        let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
        let path = pattern.replace("{table}", "items").replace("{id}", "7");
        let asked = if method == Method::POST { format!("{path}?table=items") } else { path };
        let reply = shop.service.client.send(method, &asked, &[]).await;
        assert!(reply.status.is_success(), "{pattern}: {reply:?}");
        let status = reply.status.as_str();
        assert!(response(&document, pattern, status).is_object(), "{pattern} {status}");
    }
}

#[tokio::test]
async fn every_parameter_is_documented() {
    let document = document().await;
    let names = |pattern: &str| {
        let parameters = operation(&document, pattern).1["parameters"].as_array().unwrap();
        parameters.iter().map(|p| p["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    for (pattern, expected) in [
        ("/v1/changes", "tables after limit wait include detail where If-None-Match"),
        ("/v1/tables/{table}/changes", "table after limit wait include detail where If-None-Match"),
        ("/v1/stream", "tables after limit include detail where Last-Event-ID"),
        ("/v1/tables/{table}/rows/{id}", "table id at_least where wait If-None-Match"),
        ("/v1/tables/{table}/rows", "table ids limit cursor at_least where wait If-None-Match"),
        ("/v1/store", "tables at_least where wait If-None-Match"),
        ("/admin/reload", "table"),
        ("/admin/verify", "table"),
    ] {
        assert_eq!(names(pattern).join(" "), expected, "{pattern}");
    }
}

#[tokio::test]
async fn the_examples_are_valid() {
    let document = document().await;
    let mut seen = 0;
    for pattern in document["paths"].as_object().unwrap().keys() {
        let (_, operation) = operation(&document, pattern);
        for status in operation["responses"].as_object().unwrap().keys() {
            let response = response(&document, pattern, status);
            for (kind, content) in response["content"].as_object().into_iter().flatten() {
                let named = content["examples"].as_object().into_iter().flatten();
                let named = named.map(|(_, example)| &example["value"]);
                for example in content.get("example").into_iter().chain(named) {
                    check_body(&document, pattern, status, kind, example);
                    seen += 1;
                }
            }
        }
    }
    assert!(seen >= 30, "{seen} examples");
}

#[tokio::test]
async fn responses_match_the_document() {
    let document = document().await;
    let mut service = TestService::start();
    service.commit(808, &[(ITEMS, 1, Insert), (USERS, 2, Delete), (COMMA, 3, Insert)]);
    let after = version(START);
    for (pattern, path) in [
        ("/v1/changes", "/v1/changes".to_owned()),
        ("/v1/changes", format!("/v1/changes?after={after}")),
        ("/v1/changes", format!("/v1/changes?detail=true&after={after}")),
        ("/v1/changes", "/v1/changes?limit=x".to_owned()),
        ("/v1/changes", "/v1/changes?tables=x".to_owned()),
        ("/v1/tables/{table}/changes", format!("/v1/tables/items/changes?after={after}")),
        ("/v1/tables/{table}/changes", "/v1/tables/x/changes".to_owned()),
        ("/v1/status", "/v1/status".to_owned()),
        ("/livez", "/livez".to_owned()),
        ("/readyz", "/readyz".to_owned()),
        ("/openapi.json", "/openapi.json".to_owned()),
    ] {
        check_reply(&document, pattern, &service.get(&path).await);
    }
    let connecting = TestService::connecting(&HttpOptions::default());
    for path in ["/v1/changes", "/readyz", "/v1/status"] {
        check_reply(&document, path, &connecting.get(path).await);
    }
}

#[tokio::test]
async fn responses_with_rows_match_the_document() {
    let document = document().await;
    let mut shop = Shop::with_rows(&[(ITEMS, r#"{"id":7}"#), (ITEMS, r#"{"id":8}"#)]).await;
    shop.set(808, &[(ITEMS, r#"{"id":9}"#)]);
    let (one, many) = ("/v1/tables/{table}/rows/{id}", "/v1/tables/{table}/rows");
    let after = version(START);
    for (pattern, path) in [
        ("/v1/changes", format!("/v1/changes?include=rows&after={after}")),
        ("/v1/changes", "/v1/changes?include=rows&tables=shop.a%2Cb".to_owned()),
        (one, "/v1/tables/items/rows/7".to_owned()),
        (one, "/v1/tables/items/rows/10".to_owned()),
        (one, "/v1/tables/nope/rows/7".to_owned()),
        (one, "/v1/tables/items/rows/x".to_owned()),
        (one, "/v1/tables/items/rows/7?at_least=1/0&wait=0".to_owned()),
        (many, "/v1/tables/items/rows?ids=7,10".to_owned()),
        (many, "/v1/tables/items/rows?limit=1".to_owned()),
        (many, "/v1/tables/users/rows".to_owned()),
        ("/v1/store", "/v1/store".to_owned()),
        ("/v1/store", "/v1/store?tables=users".to_owned()),
        ("/v1/status", "/v1/status".to_owned()),
    ] {
        check_reply(&document, pattern, &shop.service.get(&path).await);
    }
    let router = &shop.service.client.router;
    for (path, origin) in [("?table=all", None), ("?table=all", Some("x")), ("?table=nope", None)] {
        let headers: Vec<_> = origin.map(|origin| ("origin", origin)).into_iter().collect();
        for pattern in ["/admin/reload", "/admin/verify"] {
            let reply = ask(router, Method::POST, &format!("{pattern}{path}"), &headers).await;
            check_reply(&document, pattern, &reply);
        }
    }
}

#[tokio::test]
async fn the_schema_check_detects_wrong_bodies() {
    let document = document().await;
    let schema = serde_json::json!({"$ref": "#/components/schemas/Changes"});
    let wrong = |answer: Value| check(&answer, &schema, &document).is_err();
    let entry = |op: &str| serde_json::json!({"table": "t", "id": 1, "op": op});
    let answer = |changes: Value| serde_json::json!({"version": "v", "more": false, "reset": [], "changes": changes});
    assert!(!wrong(answer(serde_json::json!([entry("insert")]))));
    assert!(wrong(answer(serde_json::json!([entry("upsert")]))));
    assert!(wrong(answer(serde_json::json!([{"table": "t", "id": 1}]))));
    assert!(wrong(answer(serde_json::json!(["x"]))));
    assert!(wrong(serde_json::json!({"version": "v"})));
}
