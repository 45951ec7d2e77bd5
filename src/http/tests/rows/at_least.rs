use std::time::Instant;

use super::*;

const PATHS: [&str; 4] = [
    "/v1/tables/items/rows/7",
    "/v1/tables/items/rows",
    "/v1/tables/items/rows?ids=7",
    "/v1/store",
];

fn at(path: &str, at_least: &str) -> String {
    let separator = if path.contains('?') { '&' } else { '?' };
    format!("{path}{separator}at_least={at_least}")
}

#[tokio::test]
async fn a_write_is_read_once_it_is_applied() {
    for path in PATHS {
        for position in ["0/328".to_owned(), version(808)] {
            let mut shop = Shop::with_rows(&[(ITEMS, &named(7, "old"))]).await;
            let client = shop.service.client.clone();
            let path = at(path, &position);
            let (reply, ()) = tokio::join!(client.get(&path), async {
                tokio::time::sleep(Duration::from_millis(30)).await;
                shop.set(808, &[(ITEMS, &named(7, "new"))]);
            });
            let body = std::str::from_utf8(&reply.body).unwrap();
            assert!(body.contains("new"), "{path}: {body}");
            assert_eq!(reply.header("highwater-version"), version(808));
        }
    }
}

#[tokio::test]
async fn a_quiet_server_is_asked_for_its_position_until_it_reports_it() {
    let mut shop = Shop::with_rows(&[(ITEMS, &named(7, "tea"))]).await;
    let client = shop.service.client.clone();
    let path = at(PATHS[0], "0/370");
    let (reply, ()) = tokio::join!(client.get(&path), async {
        // The first question may come before the server has written what is waited for.
        for _ in 0..3 {
            shop.service.requests.report_position.notified().await;
        }
        shop.service.take(Event::Watermark(Lsn(880)));
    });
    assert_eq!(reply.header("highwater-version"), version(880));
    assert_eq!(reply.json()["name"], "tea");
}

#[tokio::test]
async fn an_lsn_is_not_accepted_while_the_stream_is_down() {
    let shop = Shop::with_rows(&[(ITEMS, &named(7, "tea"))]).await;
    let away = |shop: &Shop, phase| shop.service.source.send_modify(|source| source.phase = phase);
    away(&shop, Phase::Disconnected("gone".into()));
    for path in PATHS {
        let by_lsn = shop.get(&format!("{}&wait=0", at(path, "0/320"))).await;
        assert!(by_lsn.problem(503).contains("an LSN does not name its timeline"), "{path}");
        assert_eq!(shop.get(&at(path, &version(START))).await.status, 200, "{path}");
    }
    let client = shop.service.client.clone();
    let path = at(PATHS[0], "0/320");
    let (reply, ()) = tokio::join!(client.get(&path), async {
        tokio::time::sleep(Duration::from_millis(30)).await;
        away(&shop, Phase::Streaming);
    });
    assert_eq!(reply.status, 200, "the stream is back");
}

/// A dead server looks connected for many seconds; in the meantime another one may be promoted.
#[tokio::test]
async fn an_lsn_is_accepted_only_if_the_server_responded_just_now() {
    let shop = Shop::with_rows(&[(ITEMS, &named(7, "tea"))]).await;
    let long_ago = Instant::now().checked_sub(Duration::from_secs(3));
    shop.service.source.send_modify(|source| source.last_seen = long_ago);
    for path in PATHS {
        let by_lsn = shop.get(&format!("{}&wait=0", at(path, "0/320"))).await;
        assert!(by_lsn.problem(503).contains("has not responded just now"), "{path}");
        assert_eq!(shop.get(&at(path, &version(START))).await.status, 200, "{path}");
    }
    let client = shop.service.client.clone();
    let path = at(PATHS[0], "0/320");
    let (reply, ()) = tokio::join!(client.get(&path), async {
        shop.service.requests.refresh_catalog.notified().await;
        let now = Some(Instant::now());
        shop.service.source.send_modify(|source| source.last_seen = now);
    });
    assert_eq!(reply.status, 200, "a refresh shows that it is alive");
}

#[tokio::test]
async fn an_applied_position_is_not_waited_for() {
    let mut shop = Shop::with_rows(&[(ITEMS, &named(7, "tea"))]).await;
    shop.set(808, &[(ITEMS, &named(8, "x"))]);
    for position in [version(START), version(808), "0/320".into(), "0/328".into()] {
        for path in PATHS {
            let path = format!("{}&wait=0", at(path, &position));
            assert_eq!(shop.get(&path).await.status, 200, "{path}");
        }
    }
}

#[tokio::test]
async fn a_position_that_is_not_reached_in_time_is_a_problem() {
    let shop = Shop::open().await;
    for path in PATHS {
        let begun = Instant::now();
        let reply = shop.get(&format!("{}&wait=50ms", at(path, "0/328"))).await;
        assert!(
            reply.problem(503).contains("position is 0/328, and this instance has applied 0/320")
        );
        assert_eq!(reply.header("retry-after"), "1");
        let elapsed = begun.elapsed();
        assert!(elapsed >= Duration::from_millis(50) && elapsed < Duration::from_secs(4));
    }
}

#[tokio::test]
async fn a_position_after_a_page_header_is_reached_at_the_page() {
    let mut shop = Shop::with_rows(&[(ITEMS, &named(7, "tea"))]).await;
    shop.service.take(Event::Watermark(Lsn(0x4000)));
    let reply = shop.get(&format!("{}&wait=0", at(PATHS[0], "0/4018"))).await;
    assert_eq!(reply.status, 200);
    shop.get(&format!("{}&wait=0", at(PATHS[0], "0/4020"))).await.problem(503);
}

#[tokio::test]
async fn a_version_of_another_timeline_is_a_conflict() {
    let shop = Shop::open().await;
    let reply = shop.get(&at(PATHS[0], "000000ff-0000000000000001")).await;
    let detail = reply.problem(409);
    assert!(detail.contains("epoch 000000ff") && detail.contains("follows 000000ab"), "{detail}");
}

#[tokio::test]
async fn closing_the_store_ends_the_wait() {
    let shop = Shop::open().await;
    let client = shop.service.client.clone();
    let path = format!("{}&wait=60", at(PATHS[0], "0/328"));
    let (reply, ()) = tokio::join!(client.get(&path), async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        client.store.close();
    });
    assert!(reply.problem(503).contains("shutting down"));
}
