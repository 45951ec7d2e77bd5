//! Polls report what was committed.

use serde_json::{Value, json};

use crate::support::{Highwater, TestPostgres};

/// Two tables of the shop, published.
const SHOP: &str = "
    CREATE TABLE items (id bigint PRIMARY KEY, name text, price int);
    CREATE TABLE users (id bigint PRIMARY KEY, name text);
    CREATE PUBLICATION highwater FOR TABLE items, users;
";

async fn shop() -> TestPostgres {
    let pg = TestPostgres::start().await;
    pg.execute(SHOP).await;
    pg
}

#[tokio::test]
async fn a_client_starts_with_a_reset_of_everything() {
    let pg = shop().await;
    let hw = Highwater::start(&pg).await;
    let first = hw.poll("").await;
    assert_eq!(first.reset, ["items", "users"]);
    assert!(first.changes.is_empty() && !first.more);
    assert_eq!(hw.poll("tables=users").await.reset, ["users"]);
}

#[tokio::test]
async fn changes_carry_the_operation_relative_to_the_clients_version() {
    let pg = shop().await;
    pg.execute("INSERT INTO items VALUES (1, 'a', 1), (2, 'b', 2)").await;
    let hw = Highwater::start(&pg).await;
    let start = hw.version().await;
    pg.execute("INSERT INTO items VALUES (3, 'c', 3)").await;
    let middle = hw.changes_since(&pg, "items", &start).await;
    assert_eq!(middle.changes, ["insert items 3"]);
    pg.execute("UPDATE items SET price = 9 WHERE id IN (1, 3); DELETE FROM items WHERE id = 2")
        .await;
    assert_eq!(
        hw.changes_since(&pg, "items", &start).await.set(),
        ["delete items 2", "insert items 3", "update items 1"].into()
    );
    assert_eq!(
        hw.changes_since(&pg, "items", &middle.version).await.set(),
        ["delete items 2", "update items 1", "update items 3"].into()
    );
}

#[tokio::test]
async fn changes_without_notifications_are_reported() {
    let pg = shop().await;
    pg.execute("INSERT INTO items SELECT g, 'x', g FROM generate_series(1, 10) g").await;
    let hw = Highwater::start(&pg).await;
    let start = hw.version().await;
    let other = pg.connect().await;
    other.execute("UPDATE items SET price = price + 1").await;
    let poll = hw.changes_since(&pg, "items,users", &start).await;
    assert_eq!(poll.changes.len(), 10);
    assert!(poll.changes.iter().all(|change| change.starts_with("update items ")));
    pg.execute(
        "INSERT INTO users VALUES (1, 'u');
         DELETE FROM items USING users WHERE items.id = users.id;
         CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS
           $$BEGIN UPDATE items SET name = 'triggered' WHERE id = 2; RETURN NULL; END$$;
         CREATE TRIGGER t AFTER UPDATE ON users FOR EACH ROW EXECUTE FUNCTION f();
         UPDATE users SET name = 'v'",
    )
    .await;
    let poll = hw.changes_since(&pg, "items,users", &poll.version).await;
    let expected = ["delete items 1", "insert users 1", "update items 2"];
    assert_eq!(poll.set(), expected.into());
}

#[tokio::test]
async fn rolled_back_changes_are_not_reported() {
    let pg = shop().await;
    let hw = Highwater::start(&pg).await;
    let start = hw.version().await;
    pg.execute(
        "BEGIN; INSERT INTO items VALUES (1, 'no', 0); ROLLBACK;
         BEGIN; INSERT INTO items VALUES (2, 'yes', 0); SAVEPOINT s;
         INSERT INTO items VALUES (3, 'no', 0); ROLLBACK TO s; COMMIT",
    )
    .await;
    assert_eq!(hw.changes_since(&pg, "items", &start).await.changes, ["insert items 2"]);
}

#[tokio::test]
async fn truncate_is_a_reset_of_its_tables_only() {
    let pg = shop().await;
    pg.execute("INSERT INTO items VALUES (1, 'a', 1)").await;
    let hw = Highwater::start(&pg).await;
    let start = hw.version().await;
    pg.execute(
        "TRUNCATE items; INSERT INTO items VALUES (5, 'a', 1); INSERT INTO users VALUES (1, 'u')",
    )
    .await;
    let poll = hw.changes_since(&pg, "items,users", &start).await;
    assert_eq!(poll.reset, ["items"]);
    assert_eq!(poll.changes, ["insert users 1"]);
    pg.execute("UPDATE items SET price = 2").await;
    let after = hw.changes_since(&pg, "items,users", &poll.version).await;
    assert_eq!((after.reset.len(), after.changes), (0, vec!["update items 5".to_owned()]));
}

#[tokio::test]
async fn a_changed_key_is_a_delete_and_an_insert() {
    let pg = shop().await;
    pg.execute("INSERT INTO items VALUES (1, 'a', 1)").await;
    let hw = Highwater::start(&pg).await;
    let start = hw.version().await;
    pg.execute("UPDATE items SET id = 2 WHERE id = 1").await;
    assert_eq!(
        hw.changes_since(&pg, "items", &start).await.changes,
        ["delete items 1", "insert items 2"]
    );
}

#[tokio::test]
async fn a_commit_larger_than_the_limit_comes_in_consecutive_responses() {
    let pg = shop().await;
    let hw = Highwater::start(&pg).await;
    let start = hw.version().await;
    pg.execute("BEGIN; INSERT INTO items SELECT g, '', 0 FROM generate_series(1, 25) g; INSERT INTO users SELECT g, '' FROM generate_series(1, 10) g; COMMIT").await;
    hw.applied(&pg).await;
    let (mut after, mut all, mut answers) = (start, Vec::new(), 0);
    loop {
        let part = hw.poll(&format!("after={after}&limit=10")).await;
        assert!(part.version > after, "{} follows {after}", part.version);
        answers += 1;
        all.extend(part.changes);
        after = part.version;
        if !part.more {
            break;
        }
        assert!(after.contains('.'), "a version inside a commit: {after}");
    }
    assert_eq!((answers, all.len()), (4, 35));
    assert_eq!(all.first().map(String::as_str), Some("insert items 1"));
    assert_eq!(all.last().map(String::as_str), Some("insert users 10"));
}

#[tokio::test]
async fn detail_carries_the_commit_time_of_each_change() {
    let pg = shop().await;
    let hw = Highwater::start(&pg).await;
    let start = hw.version().await;
    pg.execute("INSERT INTO items VALUES (1, 'a', 1)").await;
    hw.applied(&pg).await;
    let body = hw.fetch(&format!("/v1/changes?after={start}&detail=true")).await.body;
    let change = &body["changes"][0];
    assert!(change["version"].as_str().is_some_and(|version| version > start.as_str()));
    let at: jiff::Timestamp = change["at"].as_str().expect("a time").parse().expect("RFC 3339");
    let age = jiff::Timestamp::now().duration_since(at).as_secs();
    assert!((0..60).contains(&age), "{at}");
}

#[tokio::test]
async fn a_long_poll_is_answered_by_the_commit() {
    let pg = shop().await;
    let hw = Highwater::start(&pg).await;
    let start = hw.version().await;
    let query = format!("tables=items&after={start}&wait=20s");
    let (poll, ()) = tokio::join!(hw.poll(&query), async {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        pg.execute("INSERT INTO users VALUES (1, 'not asked for')").await;
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        pg.execute("INSERT INTO items VALUES (1, 'a', 1)").await;
    });
    assert_eq!(poll.changes, ["insert items 1"]);
}

#[tokio::test]
async fn a_long_poll_without_changes_ends_in_time_with_a_newer_version() {
    let pg = shop().await;
    let hw = Highwater::start(&pg).await;
    let start = hw.version().await;
    let began = std::time::Instant::now();
    let poll = hw.poll(&format!("after={start}&wait=300ms")).await;
    assert!(began.elapsed() >= std::time::Duration::from_millis(290));
    assert!(poll.changes.is_empty() && poll.reset.is_empty() && poll.version >= start);
}

#[tokio::test]
async fn keys_are_rendered_exactly_as_to_jsonb_does() {
    let pg = TestPostgres::start().await;
    pg.execute(
        "CREATE TYPE mood AS ENUM ('so \"so\"', 'glad');
         CREATE DOMAIN code AS varchar(10); CREATE DOMAIN inner_code AS code;",
    )
    .await;
    let types: &[(&str, &[&str])] = &[
        ("smallint", &["-32768", "0"]),
        ("integer", &["-2147483648", "7"]),
        ("bigint", &["9223372036854775807", "-9223372036854775808"]),
        (
            "numeric",
            &["1.10", "'NaN'", "-123456789012345678901234567890.5", "0.0000000000000000001"],
        ),
        ("real", &["1.1", "'-Infinity'", "1e-20"]),
        ("double precision", &["0.1", "1e300", "'NaN'"]),
        ("boolean", &["true", "false"]),
        ("text", &["''", "'a\"b\\c'", "E'line\\nnext\\ttab\\x01'", "U&'\\2028 \\+01F600 é'"]),
        ("varchar(20)", &["'trailing  '"]),
        ("char(5)", &["'ab'"]),
        ("uuid", &["'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"]),
        ("bytea", &["'\\x00ff'", "''"]),
        ("date", &["'2024-02-29'", "'0044-03-15 BC'", "'infinity'", "'12345-06-07'"]),
        (
            "timestamp",
            &[
                "'2024-01-02 03:04:05.6'",
                "'0001-01-01 00:00 BC'",
                "'-infinity'",
                "'294276-12-31 23:59:59.999999'",
            ],
        ),
        ("timestamptz", &["'2024-01-02 03:04:05.6+05:30'", "'infinity'"]),
        ("time", &["'24:00:00'", "'01:02:03.000004'"]),
        ("interval", &["'1 year 2 days -03:04:05.6'", "'0'"]),
        ("inet", &["'10.1.2.3/8'", "'::1'"]),
        ("oid", &["4294967295"]),
        ("money", &["12.34"]),
        ("int4range", &["'[1,5)'", "'empty'"]),
        ("mood", &["'so \"so\"'", "'glad'"]),
        ("inner_code", &["'x'"]),
        ("jsonb", &["'{\"b\": [1, 2.50], \"a\": null}'", "'\"text\"'", "'1.0'"]),
        ("xid8", &["'18446744073709551615'"]),
    ];
    let mut published = Vec::new();
    for (number, (type_name, _)) in types.iter().enumerate() {
        pg.execute(&format!("CREATE TABLE t{number} (k {type_name} PRIMARY KEY)")).await;
        published.push(format!("t{number}"));
    }
    pg.execute(&format!("CREATE PUBLICATION highwater FOR TABLE {}", published.join(", "))).await;
    let hw = Highwater::start(&pg).await;
    let start = hw.version().await;
    for (number, (_, values)) in types.iter().enumerate() {
        for value in *values {
            pg.execute(&format!("INSERT INTO t{number} VALUES ({value})")).await;
        }
    }
    hw.applied(&pg).await;
    for (number, (type_name, values)) in types.iter().enumerate() {
        let body = hw.fetch(&format!("/v1/tables/t{number}/changes?after={start}")).await.body;
        let mut poll: Vec<Value> =
            body["changes"].as_array().expect("changes").iter().map(|c| c["id"].clone()).collect();
        let real = pg.query(&format!("SELECT to_jsonb(k)::text FROM t{number}")).await;
        assert_eq!(poll.len(), values.len(), "{type_name}: {body}");
        for row in real {
            let real: Value = serde_json::from_str(row.get(0)).expect("JSON");
            let place = poll.iter().position(|id| same_json(id, &real));
            let place =
                place.unwrap_or_else(|| panic!("{type_name}: {real} is not among {poll:?}"));
            poll.remove(place);
        }
    }
}

/// Equal as JSON with numbers compared as decimals.
fn same_json(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => decimal(&a.to_string()) == decimal(&b.to_string()),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_json(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(key, value)| b.get(key).is_some_and(|other| same_json(value, other)))
        }
        _ => a == b,
    }
}

/// A number's sign, digits and exponent, without superfluous zeros.
fn decimal(text: &str) -> (bool, String, i64) {
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let exponent: i64 = exponent.parse().expect("an exponent");
    let trimmed = digits.trim_end_matches('0');
    let dropped = i64::try_from(digits.len() - trimmed.len()).expect("a small number");
    let scale = exponent - i64::try_from(fraction.len()).expect("a small number") + dropped;
    let significant = trimmed.trim_start_matches('0').to_owned();
    if significant.is_empty() { (false, significant, 0) } else { (negative, significant, scale) }
}

#[tokio::test]
async fn composite_keys_are_arrays_in_key_order() {
    let pg = TestPostgres::start().await;
    pg.execute(
        "CREATE TABLE lines (line int, note text, \"order\" uuid, PRIMARY KEY (\"order\", line));
         CREATE PUBLICATION highwater FOR TABLE lines",
    )
    .await;
    let hw = Highwater::start(&pg).await;
    let start = hw.version().await;
    pg.execute(
        "INSERT INTO lines VALUES (2, 'n', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11');
         UPDATE lines SET line = 3; UPDATE lines SET note = 'm'",
    )
    .await;
    hw.applied(&pg).await;
    let body = hw.fetch(&format!("/v1/changes?after={start}")).await.body;
    let uuid = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
    let ids: Vec<&Value> =
        body["changes"].as_array().expect("changes").iter().map(|change| &change["id"]).collect();
    assert_eq!(ids.last(), Some(&&json!([uuid, 3])), "{body}");
}
