use super::*;
use crate::change::Op::Insert;

/// Polls with a tag.
async fn poll(client: &TestClient, query: &str, etag: &str) -> TestReply {
    client.send(Method::GET, &format!("/v1/changes?{query}"), &[("if-none-match", etag)]).await
}

#[tokio::test]
async fn a_repeated_poll_is_a_304() {
    let mut service = TestService::start();
    service.commit(808, &[(ITEMS, 1, Insert)]);
    let query = format!("after={}", version(START));
    let etag = service.get(&format!("/v1/changes?{query}")).await.header("etag").to_owned();
    for sent in [etag.clone(), format!("W/{etag}"), format!("\"x\", {etag}"), "*".to_owned()] {
        let reply = poll(&service.client, &query, &sent).await;
        assert_eq!(reply.status, 304, "{sent}");
        assert!(reply.body.is_empty());
        assert_eq!(reply.header("etag"), etag);
        assert_eq!(reply.header("highwater-version"), version(808));
        assert_eq!(
            (reply.header("cache-control"), reply.header("vary")),
            ("no-cache", "accept-encoding")
        );
    }
    assert_eq!(poll(&service.client, &query, "\"x\"").await.changes(), "items 1 insert");
    assert_eq!(service.client.polls("not_modified"), 4);
}

#[tokio::test]
async fn a_tag_depends_on_the_requested_tables() {
    let mut service = TestService::start();
    service.commit(808, &[(ITEMS, 1, Insert)]);
    let query = format!("tables=items&after={}", version(808));
    let etag = service.get(&format!("/v1/changes?{query}")).await.header("etag").to_owned();
    service.commit(816, &[(USERS, 1, Insert)]);
    service.take(Event::Watermark(Lsn(880)));
    assert_eq!(poll(&service.client, &query, &etag).await.status, 304);
    service.commit(888, &[(ITEMS, 2, Insert)]);
    assert_eq!(poll(&service.client, &query, &etag).await.changes(), "items 2 insert");
}

#[tokio::test]
async fn a_client_that_keeps_its_tag_while_its_version_moves_misses_nothing() {
    let mut service = TestService::start();
    let mut after = version(START);
    let mut etag = String::new();
    let mut received = Vec::new();
    for step in 0..60_u64 {
        if step % 3 == 0 {
            let id = i64::try_from(step).unwrap();
            let changes = [(ITEMS, id, Insert), (ITEMS, id + 1, Insert), (ITEMS, id + 2, Insert)];
            service.commit(START + 8 + step * 8, &changes);
        }
        let reply = poll(&service.client, &format!("limit=2&after={after}"), &etag).await;
        if reply.status == 304 {
            continue;
        }
        etag = reply.header("etag").to_owned();
        after = reply.version();
        received.extend(reply.json()["changes"].as_array().unwrap().clone());
    }
    assert_eq!(received.len(), 60);
}

#[tokio::test]
async fn a_response_with_more_is_never_a_304() {
    let mut service = TestService::start();
    service.commit(808, &[(ITEMS, 1, Insert), (ITEMS, 2, Insert)]);
    let etag = format!("\"{}\"", version(808));
    for sent in [etag.as_str(), "*"] {
        let reply = poll(&service.client, &format!("limit=1&after={}", version(START)), sent).await;
        assert_eq!(reply.changes(), "items 1 insert");
        assert_eq!(reply.header("etag"), "");
    }
}

#[tokio::test]
async fn a_reset_is_never_a_304() {
    let mut service = TestService::start();
    service.truncate(808, ITEMS);
    for query in [String::new(), format!("after={}", version(START))] {
        for sent in [format!("\"{}\"", version(808)), "*".to_owned()] {
            let reply = poll(&service.client, &query, &sent).await;
            assert!(!reply.json()["reset"].as_array().unwrap().is_empty());
        }
    }
}

#[tokio::test]
async fn a_held_poll_with_a_tag_waits_for_a_newer_change() {
    let mut service = TestService::start();
    service.commit(808, &[(ITEMS, 1, Insert)]);
    let etag = format!("\"{}\"", version(808));
    let query = |wait: &str| format!("wait={wait}&after={}", version(START));
    let reply = poll(&service.client, &query("20ms"), &etag).await;
    assert_eq!(reply.status, 304, "nothing happened");
    let client = service.client.clone();
    let long = query("30s");
    let (reply, ()) = tokio::join!(poll(&client, &long, &etag), async {
        client.held(1).await;
        service.commit(816, &[(ITEMS, 2, Insert)]);
    });
    assert_eq!(reply.changes(), "items 1 insert, items 2 insert");
    let reply = poll(&client, &query("30s"), &etag).await;
    assert_eq!(reply.status, 200, "an older tag is not waited for");
}
