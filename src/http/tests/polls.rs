use super::*;
use crate::change::Op::{Delete, Insert, Update};
use crate::snapshot::Xid;

#[tokio::test]
async fn a_first_poll_resets_every_table_and_gives_a_version_to_start_from() {
    let service = TestService::start();
    let reply = service.get("/v1/changes").await;
    let expected = serde_json::json!({
        "version": version(START), "more": false,
        "reset": ["items", "users", "shop.\"a,b\""], "changes": [],
    });
    assert_eq!(reply.json(), expected);
    assert_eq!(reply.header("highwater-version"), version(START));
    assert_eq!(reply.header("cache-control"), "no-store");
    assert_eq!(reply.header("etag"), "");
    assert_eq!(service.client.polls("reset"), 1);
}

#[tokio::test]
async fn changes_are_in_commit_order_with_the_next_version() {
    let mut service = TestService::start();
    service.commit(808, &[(ITEMS, 1, Insert), (USERS, 2, Update)]);
    service.commit(816, &[(ITEMS, 3, Insert), (USERS, 2, Delete)]);
    let reply = service.get(&format!("/v1/changes?after={}", version(START))).await;
    assert_eq!(reply.changes(), "items 1 insert, items 3 insert, users 2 delete");
    assert_eq!(reply.version(), version(816));
    assert_eq!(reply.json()["reset"], serde_json::json!([]));
    assert_eq!(reply.header("cache-control"), "no-cache");
    assert_eq!(reply.header("etag"), format!("\"{}\"", version(816)));
    let reply = service.get(&format!("/v1/changes?after={}", version(816))).await;
    assert_eq!((reply.changes(), reply.version()), (String::new(), version(816)));
    assert_eq!((service.client.polls("changes"), service.client.polls("empty")), (1, 1));
}

#[tokio::test]
async fn the_version_moves_with_the_watermark_while_the_tables_are_quiet() {
    let mut service = TestService::start();
    service.take(Event::Watermark(Lsn(880)));
    let reply = service.get(&format!("/v1/changes?after={}", version(START))).await;
    assert_eq!(reply.version(), version(880));
    assert_eq!(reply.header("highwater-version"), version(880));
}

#[tokio::test]
async fn only_the_requested_tables_are_reported() {
    let mut service = TestService::start();
    service.commit(808, &[(ITEMS, 1, Insert), (USERS, 2, Update), (COMMA, 3, Update)]);
    let after = version(START);
    for (path, expected) in [
        (format!("/v1/changes?tables=users&after={after}"), "users 2 update"),
        (format!("/v1/changes?tables=public.items&after={after}"), "items 1 insert"),
        (
            format!("/v1/changes?tables=items,users,public.items&after={after}"),
            "items 1 insert, users 2 update",
        ),
        (format!("/v1/tables/items/changes?after={after}"), "items 1 insert"),
        (format!("/v1/tables/%22public%22.%75sers/changes?after={after}"), "users 2 update"),
    ] {
        assert_eq!(service.get(&path).await.changes(), expected, "{path}");
    }
    for path in ["/v1/changes?tables=shop.%22a,b%22", "/v1/tables/shop.a%2Cb/changes"] {
        let separator = if path.contains('?') { '&' } else { '?' };
        let reply = service.get(&format!("{path}{separator}after={after}")).await;
        assert_eq!(reply.json()["reset"], serde_json::json!(["shop.\"a,b\""]), "{path}");
    }
}

#[tokio::test]
async fn a_limit_divides_the_response_and_sets_more() {
    let mut service = TestService::start();
    service.commit(808, &[(ITEMS, 1, Insert), (ITEMS, 2, Insert), (ITEMS, 3, Insert)]);
    let mut after = version(START);
    let mut expected = Vec::new();
    loop {
        let reply = service.get(&format!("/v1/changes?limit=1&after={after}")).await;
        expected.push(reply.changes());
        assert!(reply.version() > after);
        after = reply.version();
        if reply.json()["more"] == false {
            break;
        }
        assert_eq!(reply.header("etag"), "", "a tag could hide the rest");
    }
    assert_eq!(expected, ["items 1 insert", "items 2 insert", "items 3 insert"]);
    assert_eq!(after, version(808));
}

#[tokio::test]
async fn with_detail_each_change_has_its_version_and_time() {
    let mut service = TestService::start();
    service.commit(808, &[(ITEMS, 1, Insert), (ITEMS, 2, Insert)]);
    service.take(Event::Commit(Transaction {
        end_lsn: Lsn(816),
        committed_at: CommitTime(i64::MAX),
        xid: Xid(0),
        rows: vec![],
        changes: vec![Change {
            table: USERS,
            key: Key::json(br#"["a\"b",2]"#),
            op: Update,
            ordinal: 1,
            scope: None,
        }],
        resets: vec![],
    }));
    let path = format!("/v1/changes?detail=true&after={}", version(START));
    let changes = service.get(&path).await.json()["changes"].clone();
    let inner = |lsn: u64, ordinal: u32| format!("{}.{ordinal:08x}", version(lsn - 1));
    let expected = serde_json::json!([
        {"table": "items", "id": 1, "op": "insert", "version": inner(808, 1), "at": "2024-02-29T12:00:00.000001Z"},
        {"table": "items", "id": 2, "op": "insert", "version": inner(808, 2), "at": "2024-02-29T12:00:00.000001Z"},
        {"table": "users", "id": ["a\"b", 2], "op": "update", "version": inner(816, 1), "at": null},
    ]);
    assert_eq!(changes, expected);
}

#[tokio::test]
async fn a_version_of_another_timeline_resets_every_table() {
    let mut service = TestService::start();
    service.commit(808, &[(ITEMS, 1, Insert)]);
    let reply = service.get("/v1/changes?tables=items&after=000000ff-0000000000000320").await;
    assert_eq!(reply.json()["reset"], serde_json::json!(["items"]));
    assert_eq!((reply.changes(), reply.version()), (String::new(), version(808)));
    assert_eq!((reply.header("cache-control"), reply.header("etag")), ("no-store", ""));
}

#[tokio::test]
async fn a_version_below_the_floor_resets_that_table_alone() {
    let mut service = TestService::start();
    service.commit(808, &[(USERS, 1, Update)]);
    service.truncate(816, ITEMS);
    let reply = service.get(&format!("/v1/changes?after={}", version(START))).await;
    assert_eq!(reply.json()["reset"], serde_json::json!(["items"]));
    assert_eq!(reply.changes(), "users 1 update");
    assert_eq!(reply.header("cache-control"), "no-store");
    assert_eq!(service.client.polls("reset"), 1);
}
