//! Tests of arrays.

use super::*;

fn render_array(element: JsonType, text: &str) -> Option<String> {
    render_form(JsonShape::Array { element, delimiter: b',' }, text.as_bytes())
}

#[test]
fn elements_are_rendered_by_their_type() {
    for (element, text, json) in [
        (JsonType::Integer, "{1,-2,NULL}", "[1,-2,null]"),
        (
            JsonType::Number,
            "{1.50,NaN,-Infinity,1e+20}",
            r#"[1.50,"NaN","-Infinity",100000000000000000000]"#,
        ),
        (JsonType::Boolean, "{t,f}", "[true,false]"),
        (
            JsonType::Timestamp,
            r#"{"2024-02-29 12:00:00",infinity}"#,
            r#"["2024-02-29T12:00:00","infinity"]"#,
        ),
        (JsonType::Json, r#"{"{\"a\" : 1}",null,"[1, \"\\\\\"]"}"#, r#"[{"a":1},null,[1,"\\"]]"#),
        (JsonType::Jsonb, r#"{"{\"a\": 1}","null"}"#, r#"[{"a": 1},null]"#),
        (
            JsonType::String,
            r#"{a,NULL,"NULL","null","","a,b","{}","\"","\\",é🦀}"#,
            r#"["a",null,"NULL","null","","a,b","{}","\"","\\","é🦀"]"#,
        ),
    ] {
        assert_eq!(render_array(element, text).as_deref(), Some(json), "{text}");
    }
}

#[test]
fn dimensions_are_nested_and_lower_bounds_dropped() {
    for (text, json) in [
        ("{}", "[]"),
        ("{{1,2},{3,NULL}}", "[[1,2],[3,null]]"),
        ("{{{{{{1}}}}}}", "[[[[[[1]]]]]]"),
        ("[2:3]={1,2}", "[1,2]"),
        ("[0:1][-1:0]={{1,2},{3,4}}", "[[1,2],[3,4]]"),
        ("[-2147483648:-2147483648]={1}", "[1]"),
    ] {
        assert_eq!(render_array(JsonType::Integer, text).as_deref(), Some(json), "{text}");
    }
    let nested = |depth| "{".repeat(depth) + "1" + &"}".repeat(depth);
    assert!(render_array(JsonType::Integer, &nested(DIMENSIONS_MAX)).is_some());
    assert!(render_array(JsonType::Integer, &nested(DIMENSIONS_MAX + 1)).is_none());
}

#[test]
fn elements_are_separated_by_the_types_delimiter() {
    let boxes = JsonShape::Array { element: JsonType::String, delimiter: b';' };
    let json = render_form(boxes, b"{(3,4),(1,2);NULL}");
    assert_eq!(json.as_deref(), Some(r#"["(3,4),(1,2)",null]"#));
}

#[test]
fn other_texts_than_those_of_array_out_are_rejected() {
    for text in [
        "",
        "1",
        "{",
        "}",
        "{1",
        "1}",
        "{1}}",
        "{{1}",
        "{1,}",
        "{,1}",
        "{1}x",
        "{1};",
        "{{1},2}",
        "{1,{2}}",
        "{{}}",
        "{ 1}",
        "{\"1}",
        "{\"1\"x}",
        "{x\"1\"}",
        "{\\1}",
        "{\"1\\",
        "[1:2]",
        "[1:2]{1,2}",
        "[1]={1}",
        "[2:1]={1}",
        "[1:1][1:1]={1}",
        "[1:1]={{1}}",
        "[1:1]={}",
        "[:]={1}",
        "[1:1={1}",
        "[1:1]]={1}",
        "[]={1}",
        "[1:99999999999]={1}",
        "1 2",
    ] {
        assert_eq!(render_array(JsonType::Integer, text), None, "{text:?}");
    }
}

#[test]
fn an_array_with_one_rejected_value_is_rejected() {
    assert_eq!(render_array(JsonType::Integer, "{1,2,x}"), None);
    assert_eq!(render_array(JsonType::Json, r#"{1,"{\"a\":1,\"a\":2}"}"#), None);
}
