use std::time::Instant;

use super::*;
use crate::change::Op::Insert;

/// Long enough that a test that waits for it has failed.
const LONG: &str = "wait=60s";

fn held(after: u64) -> String {
    format!("/v1/changes?{LONG}&after={}", version(after))
}

#[tokio::test]
async fn a_held_poll_ends_with_the_commit() {
    let mut service = TestService::start();
    let client = service.client.clone();
    let path = held(START);
    let (reply, ()) = tokio::join!(client.get(&path), async {
        client.held(1).await;
        service.commit(808, &[(ITEMS, 1, Insert)]);
    });
    assert_eq!(reply.changes(), "items 1 insert");
    assert_eq!(client.metrics.poll_waiters.get(), 0);
}

#[tokio::test]
async fn a_held_poll_ends_with_a_reset_and_with_an_unpublished_table() {
    let mut service = TestService::start();
    let client = service.client.clone();
    let path = held(START);
    let (reply, ()) = tokio::join!(client.get(&path), async {
        client.held(1).await;
        service.truncate(808, ITEMS);
    });
    assert_eq!(reply.json()["reset"], serde_json::json!(["items"]));
    let path = format!("/v1/tables/items/changes?{LONG}&after={}", version(808));
    let (reply, ()) = tokio::join!(client.get(&path), async {
        client.held(1).await;
        let tables = vec![table(USERS, "public", "users", Tracking::Ids)];
        service.take(Event::Tables { tables, resets: vec![] });
    });
    assert!(reply.problem(404).contains("\"items\""));
}

#[tokio::test]
async fn changes_of_other_tables_do_not_end_the_wait() {
    let mut service = TestService::start();
    let client = service.client.clone();
    let path = format!("/v1/tables/items/changes?wait=200ms&after={}", version(START));
    let begun = Instant::now();
    let (reply, ()) = tokio::join!(client.get(&path), async {
        client.held(1).await;
        service.commit(808, &[(USERS, 1, Insert)]);
        service.take(Event::Watermark(Lsn(880)));
    });
    assert!(begun.elapsed() >= Duration::from_millis(200));
    assert_eq!((reply.changes(), reply.version()), (String::new(), version(880)));
}

#[tokio::test]
async fn a_poll_with_changes_is_not_held() {
    let mut service = TestService::start();
    service.commit(808, &[(ITEMS, 1, Insert)]);
    assert_eq!(service.get(&held(START)).await.changes(), "items 1 insert");
    let first = service.get(&format!("/v1/changes?{LONG}")).await;
    assert_eq!(first.json()["reset"].as_array().unwrap().len(), 3);
    let other = service.get(&format!("/v1/changes?{LONG}&after=000000ff-0000000000000320")).await;
    assert_eq!(other.json()["reset"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn a_disconnected_client_is_not_counted() {
    let service = TestService::start();
    let path = held(START);
    let gone = tokio::time::timeout(Duration::from_millis(20), service.get(&path));
    assert!(gone.await.is_err());
    assert_eq!(service.client.metrics.poll_waiters.get(), 0);
}

#[tokio::test]
async fn closing_the_store_answers_held_polls_and_later_ones() {
    let service = TestService::start();
    let client = service.client.clone();
    let (now, ahead) = (held(START), held(8000));
    let (reply, reply_ahead, ()) = tokio::join!(client.get(&now), client.get(&ahead), async {
        client.held(2).await;
        client.store.close();
    });
    assert_eq!((reply.changes(), reply.version()), (String::new(), version(START)));
    assert_eq!(reply_ahead.version(), version(8000));
    assert_eq!(client.get(&now).await.version(), version(START));
}

#[tokio::test]
async fn a_version_from_ahead_is_waited_for() {
    let mut service = TestService::start();
    let client = service.client.clone();
    let path = format!("/v1/changes?after={}", version(808));
    let (reply, ()) = tokio::join!(client.get(&path), async {
        client.held(1).await;
        service.commit(816, &[(ITEMS, 1, Insert)]);
    });
    assert_eq!((reply.changes().as_str(), reply.version()), ("items 1 insert", version(816)));
}

#[tokio::test]
async fn a_version_that_stays_ahead_is_returned_unchanged() {
    let options =
        HttpOptions { ahead_wait_max: Duration::from_millis(50), ..HttpOptions::default() };
    let service = TestService::with_options(&options);
    let begun = Instant::now();
    let reply = service.get(&held(8000)).await;
    let elapsed = begun.elapsed();
    assert!(elapsed >= Duration::from_millis(50) && elapsed < Duration::from_secs(30));
    assert_eq!((reply.changes(), reply.version()), (String::new(), version(8000)));
    assert_eq!(reply.header("highwater-version"), version(8000));
    let unknown = format!("/v1/changes?tables=nope&after={}", version(8000));
    service.get(&unknown).await.problem(404);
}
