//! Long polls and push clients with scopes.

use std::time::{Duration, Instant};

use super::orders;
use crate::support::{PushSocket, PushStream};

/// The time in which changes of other scopes must not arrive.
const QUIET: Duration = Duration::from_millis(1500);

#[tokio::test]
async fn a_long_poll_completes_for_changes_of_its_scope_only() {
    let (pg, service) = orders(&[]).await;
    let start = service.version().await;
    let path = |wait: &str| format!("where=owner_id:1&tables=orders&after={start}&wait={wait}");
    let began = Instant::now();
    let others = async {
        for round in 0..20 {
            pg.execute(&format!("UPDATE orders SET note = '{round}' WHERE owner_id = 2")).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let wait = format!("{}ms", QUIET.as_millis());
    let query = path(&wait);
    let (quiet, ()) = tokio::join!(service.poll(&query), others);
    assert!(quiet.changes.is_empty() && began.elapsed() >= QUIET, "{:?}", began.elapsed());
    let began = Instant::now();
    let own = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        pg.execute("UPDATE orders SET owner_id = 2 WHERE id = 3").await;
    };
    let query = path("30s");
    let (woken, ()) = tokio::join!(service.poll(&query), own);
    assert_eq!(woken.changes, ["delete orders 3"]);
    assert!(began.elapsed() < Duration::from_secs(25));
}

#[tokio::test]
async fn streams_and_sockets_send_changes_of_their_scope_only() {
    let (pg, service) = orders(&[]).await;
    let start = service.version().await;
    let query = format!("tables=orders&where=owner_id:1&after={start}");
    let mut stream = PushStream::open(&service, &query, None).await;
    let subscribe = format!(
        r#""tables":["orders"],"after":"{start}","where":{{"orders.owner_id":1,"land":"de"}}"#
    );
    let mut socket = PushSocket::open(&service, &subscribe).await;
    let subscribe = format!(r#""after":"{start}","where":{{"owner_id":1}},"mode":"version""#);
    let mut versions = PushSocket::open(&service, &subscribe).await;
    pg.execute("UPDATE orders SET note = 'x' WHERE owner_id <> 1").await;
    for received in [
        tokio::time::timeout(QUIET, stream.next()).await.is_ok(),
        tokio::time::timeout(QUIET / 3, socket.next()).await.is_ok(),
        tokio::time::timeout(QUIET / 3, versions.text()).await.is_ok(),
    ] {
        assert!(!received, "a client received changes of another scope");
    }
    pg.execute(
        "UPDATE orders SET owner_id = 1 WHERE id = 4; UPDATE orders SET note = 'y' WHERE id = 9",
    )
    .await;
    let mut seen = Vec::new();
    while seen.len() < 2 {
        seen.extend(stream.next().await.expect("an event").changes);
    }
    assert_eq!(seen, ["insert orders 4", "update orders 9"]);
    assert_eq!(socket.next().await.expect("a message").changes, ["update orders 9"]);
    assert!(versions.text().await.starts_with(r#"{"version":""#));
}
