//! Keys: every spelling is found, and invalid keys are rejected with the reason.

use highwater::load::LoadError;

use super::{described, error, load, loader};
use crate::support::TestPostgres;

fn pair(key: &str, row: &str) -> (String, String) {
    (key.into(), row.into())
}

#[tokio::test]
async fn rows_are_returned_in_the_requested_order_with_absent_ones_marked() {
    let pg = TestPostgres::start().await;
    pg.execute(
        "CREATE TABLE a (id int PRIMARY KEY, v text); INSERT INTO a VALUES (1, 'x'), (2, NULL)",
    )
    .await;
    let (loader, a) = (loader(&pg), described(&pg, "a").await);
    assert_eq!(
        load(&loader, &a, &["2", "3", "1", "2"]).await,
        [
            pair("2", r#"{"id":2,"v":null}"#),
            pair("3", "absent"),
            pair("1", r#"{"id":1,"v":"x"}"#),
            pair("2", r#"{"id":2,"v":null}"#),
        ]
    );
    assert_eq!(load(&loader, &a, &[]).await, []);
}

#[tokio::test]
async fn a_key_in_another_spelling_is_returned_in_canonical_form() {
    let pg = TestPostgres::start().await;
    pg.execute(
        "CREATE TABLE u (id uuid PRIMARY KEY); CREATE TABLE n (id numeric PRIMARY KEY);
           CREATE TABLE t (id timestamptz PRIMARY KEY);
           INSERT INTO u VALUES ('aaaaaaaa-0000-0000-0000-00000000000b');
           INSERT INTO n VALUES (1.00); INSERT INTO t VALUES ('2024-05-01 12:00Z')",
    )
    .await;
    let loader = loader(&pg);
    let (u, n, t) =
        (described(&pg, "u").await, described(&pg, "n").await, described(&pg, "t").await);
    let uuid = r#""aaaaaaaa-0000-0000-0000-00000000000b""#;
    let found = load(
        &loader,
        &u,
        &[r#""AAAAAAAA-0000-0000-0000-00000000000B""#, r#""{AAAAAAAA00000000000000000000000C}""#],
    )
    .await;
    assert_eq!(found[0], pair(uuid, &format!(r#"{{"id":{uuid}}}"#)));
    assert_eq!(found[1], pair(r#""aaaaaaaa-0000-0000-0000-00000000000c""#, "absent"));
    assert_eq!(
        load(&loader, &n, &["1.0", "1e1"]).await,
        [pair("1.00", r#"{"id":1.00}"#), pair("10", "absent")]
    );
    assert_eq!(
        load(&loader, &t, &[r#""2024-05-01 14:00+02""#]).await,
        [pair(r#""2024-05-01T12:00:00+00:00""#, r#"{"id":"2024-05-01T12:00:00+00:00"}"#)]
    );
}

#[tokio::test]
async fn keys_of_several_columns_and_of_any_text_are_found() {
    let pg = TestPostgres::start().await;
    pg.execute(
        r#"CREATE SCHEMA "S.x"; CREATE TYPE "S.x"."m'd" AS ENUM ('it''s', 'b');
           CREATE DOMAIN "S.x".small AS int CHECK (VALUE < 10);
           CREATE TABLE "S.x"."a""b" ("k,1" text, "K 2" "S.x"."m'd", k3 bool, k4 "S.x".small,
               PRIMARY KEY ("K 2", "k,1", k3, k4));
           INSERT INTO "S.x"."a""b" VALUES (E'o''n"e,\\ \n é 𝄞', 'it''s', true, 7)"#,
    )
    .await;
    let (loader, table) = (loader(&pg), described(&pg, r#""S.x"."a""b""#).await);
    let key = r#"["it's","o'n\"e,\\ \n é 𝄞",true,7]"#;
    let row = r#"{"k,1":"o'n\"e,\\ \n é 𝄞","K 2":"it's","k3":true,"k4":7}"#;
    assert_eq!(load(&loader, &table, &[key]).await, [pair(key, row)]);
    let others = [r#"["it's","",true,7]"#, r#"["it's","x",true,70]"#, r#"["c","x",true,7]"#, "1"];
    for (found, requested) in load(&loader, &table, &others).await.iter().zip(others) {
        assert_eq!(*found, pair(requested, "absent"));
    }
}

#[tokio::test]
async fn an_invalid_key_is_rejected_alone_and_absent_among_others() {
    let pg = TestPostgres::start().await;
    pg.execute(
        "CREATE TABLE a (id smallint PRIMARY KEY); INSERT INTO a SELECT generate_series(1, 900)",
    )
    .await;
    let (loader, a) = (loader(&pg), described(&pg, "a").await);
    for (key, reason) in [
        (r#""abc""#, r#""abc" is not a valid value of the key column id of type smallint"#),
        ("70000", "70000 is not a valid value"),
        (r#""a\u0000""#, "is not a valid value"),
        ("null", "null is not a valid value"),
        ("[1,2]", "[1,2] is not a valid value"),
    ] {
        let LoadError::BadKey(text) = error(&loader, &a, key).await else { panic!("{key}") };
        assert!(text.contains(reason), "{text}");
    }
    let texts: Vec<String> =
        (1..1200).map(|n| if n % 300 == 7 { "\"x\"".into() } else { n.to_string() }).collect();
    let keys: Vec<&str> = texts.iter().map(String::as_str).collect();
    let found = load(&loader, &a, &keys).await;
    for (index, ((key, row), requested)) in found.iter().zip(&keys).enumerate() {
        assert_eq!(key, requested);
        assert_eq!(row == "absent", *requested == "\"x\"" || index >= 900, "{requested} {row}");
    }
}

#[tokio::test]
async fn an_invalid_composite_key_names_its_column() {
    let pg = TestPostgres::start().await;
    pg.execute("CREATE TABLE a (x int, y date, PRIMARY KEY (x, y))").await;
    let (loader, a) = (loader(&pg), described(&pg, "a").await);
    let text = error(&loader, &a, r#"[1,"2024-02-30"]"#).await.to_string();
    assert!(
        text.starts_with(r#""2024-02-30" is not a valid value of the key column y of type date"#),
        "{text}"
    );
    let text = error(&loader, &a, "1").await.to_string();
    assert_eq!(text, "the key consists of 2 columns, in this order: x, y");
}

#[tokio::test]
async fn rows_are_found_through_the_index_with_and_without_statistics() {
    let pg = TestPostgres::start().await;
    pg.execute(
        "CREATE TABLE big (id bigint PRIMARY KEY, v int, w jsonb) WITH (autovacuum_enabled = off);
         INSERT INTO big SELECT n, n, '{}' FROM generate_series(1, 200000) n",
    )
    .await;
    let big = described(&pg, "big").await;
    let texts: Vec<String> = (1..=500).map(|n| (n * 311).to_string()).collect();
    let keys: Vec<&str> = texts.iter().map(String::as_str).collect();
    for analyze in ["", "ANALYZE big"] {
        pg.execute(analyze).await;
        let loader = loader(&pg);
        load(&loader, &big, &keys[..1]).await;
        assert!(load(&loader, &big, &keys).await.iter().all(|(_, row)| row != "absent"));
    }
    // Sessions report their statistics when they end.
    let read = "SELECT seq_scan, idx_scan FROM pg_stat_user_tables WHERE relname = 'big'";
    loop {
        let row = pg.query_one(read).await;
        let (sequential, by_key): (i64, i64) = (row.get(0), row.get(1));
        if by_key >= 1_002 {
            // Building the index and ANALYZE are not scans.
            assert!(sequential <= 1, "{sequential} sequential scans");
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn keys_of_an_extensions_type_use_its_operators() {
    let pg = TestPostgres::start().await;
    let available = "SELECT count(*) FROM pg_available_extensions WHERE name = 'citext'";
    if pg.value::<i64>(available).await == 0 {
        return;
    }
    pg.execute(
        "CREATE SCHEMA ext; CREATE EXTENSION citext SCHEMA ext;
         CREATE TABLE a (id ext.citext PRIMARY KEY); INSERT INTO a VALUES ('Anna')",
    )
    .await;
    let table = super::described_with(&pg, "a", |plan| {
        let form =
            Some(highwater::json_type::JsonShape::Scalar(highwater::json_type::JsonType::String));
        plan.key[0].form = form;
        plan.columns[0].form = form;
    })
    .await;
    assert_eq!(
        load(&loader(&pg), &table, &[r#""ANNA""#]).await,
        [pair(r#""Anna""#, r#"{"id":"Anna"}"#)]
    );
}
