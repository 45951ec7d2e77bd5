//! Responses with rows: shared by equal requests, and pushed.

use std::sync::Arc;

use futures_util::StreamExt;
use tokio::time::Instant;

use super::*;
use crate::http::response::encoded_response::EncodedResponse;
use crate::http::response::response_cache::{ResponseCache, ResponseKey};
use crate::store::ResourceSelection;

/// The key of a request for all changes since the start.
fn key(include_rows: bool) -> ResponseKey {
    let after = Some(version(START).parse().unwrap());
    ResponseKey {
        tables: ResourceSelection::All,
        after,
        limit: 10_000,
        detail: false,
        include_rows,
    }
}

async fn response(cache: &ResponseCache, shop: &Shop, key: &ResponseKey) -> Arc<EncodedResponse> {
    cache.response(&shop.service.client.store, key).await.unwrap()
}

#[tokio::test]
async fn equal_requests_with_rows_share_the_same_bytes() {
    let mut shop = Shop::open().await;
    shop.set(808, &[(ITEMS, &named(1, "a"))]);
    let cache = ResponseCache::default();
    let first = response(&cache, &shop, &key(true)).await;
    assert!(Arc::ptr_eq(&first, &response(&cache, &shop, &key(true)).await));
    assert!(!Arc::ptr_eq(&first, &response(&cache, &shop, &key(false)).await));
    shop.set(816, &[(ITEMS, &named(1, "b"))]);
    let second = response(&cache, &shop, &key(true)).await.json();
    assert!(std::str::from_utf8(&second).unwrap().contains(&named(1, "b")));
}

#[tokio::test]
async fn a_very_long_response_is_written_as_it_is_read() {
    let mut shop = Shop::open().await;
    let rows: Vec<String> = (1..=3_000).map(|id| named(id, &"x".repeat(1_000))).collect();
    let rows: Vec<_> = rows.iter().map(|row| (ITEMS, row.as_str())).collect();
    shop.set(808, &rows);
    let encoded = response(&ResponseCache::default(), &shop, &key(true)).await;
    let body = encoded.body();
    assert_eq!(axum::body::HttpBody::size_hint(&body).exact(), None);
    assert_eq!(to_bytes(body, usize::MAX).await.unwrap(), encoded.json());
    assert_eq!(encoded.json().as_ptr(), encoded.json().as_ptr());
    let path = format!("/v1/changes?include=rows&limit=10000&after={}", version(START));
    let headers = [("accept-encoding", "zstd")];
    let reply = shop.service.client.send(Method::GET, &path, &headers).await;
    assert_eq!(zstd::decode_all(&*reply.body).unwrap(), encoded.json());
}

#[tokio::test]
async fn a_stream_carries_rows_and_rejects_tables_without() {
    let mut shop = Shop::open().await;
    let query = format!("tables=items&include=rows&after={}", version(START));
    let request = Request::builder().uri(format!("/v1/stream?{query}"));
    let request = request.body(Body::empty()).unwrap();
    let response = shop.service.client.router.clone().oneshot(request).await.unwrap();
    let mut chunks = response.into_body().into_data_stream();
    chunks.next().await.unwrap().unwrap();
    shop.set(808, &[(ITEMS, &named(1, "a"))]);
    let event = chunks.next().await.unwrap().unwrap();
    let poll = shop.get(&format!("/v1/changes?{query}")).await;
    let polled = std::str::from_utf8(&poll.body).unwrap();
    assert!(polled.contains(&named(1, "a")));
    assert_eq!(*event, *format!("id: {}\ndata: {polled}\n\n", version(808)).as_bytes());
    shop.get("/v1/stream?include=rows&tables=shop.%22a%2Cb%22").await.problem(409);
}

#[tokio::test(start_paused = true)]
async fn rows_that_cannot_be_read_are_a_problem_after_each_requests_wait() {
    let mut shop = Shop::open().await;
    shop.database.go_away();
    shop.service.commit(808, &[(USERS, 9, Op::Update)]);
    let path = format!("/v1/changes?tables=users&include=rows&after={}", version(START));
    let started = Instant::now();
    let (one, other) = tokio::join!(shop.get(&path), shop.get(&path));
    assert!(started.elapsed() < Duration::from_secs(6), "{:?}", started.elapsed());
    for reply in [one, other] {
        reply.problem(503);
        assert_eq!(reply.header("retry-after"), "1");
    }
}
