//! Answers with rows, made once for many, and pushed.

use std::sync::Arc;

use futures_util::StreamExt;
use tokio::time::Instant;

use super::*;
use crate::http::response::encoded_response::EncodedResponse;
use crate::http::response::response_cache::{ResponseCache, ResponseKey};
use crate::store::ResourceSelection;

/// What changed since the start.
fn question(rows: bool) -> ResponseKey {
    let after = Some(version(START).parse().unwrap());
    ResponseKey { tables: ResourceSelection::All, after, limit: 10_000, detail: false, rows }
}

async fn answer(
    answers: &ResponseCache,
    shop: &Shop,
    question: &ResponseKey,
) -> Arc<EncodedResponse> {
    answers.answer(&shop.service.client.store, question).await.unwrap()
}

#[tokio::test]
async fn who_asks_the_same_is_given_the_same_rows_in_the_same_bytes() {
    let mut shop = Shop::open().await;
    shop.set(808, &[(ITEMS, &named(1, "a"))]);
    let answers = ResponseCache::default();
    let first = answer(&answers, &shop, &question(true)).await;
    assert!(Arc::ptr_eq(&first, &answer(&answers, &shop, &question(true)).await));
    assert!(!Arc::ptr_eq(&first, &answer(&answers, &shop, &question(false)).await));
    shop.set(816, &[(ITEMS, &named(1, "b"))]);
    let second = answer(&answers, &shop, &question(true)).await.json();
    assert!(std::str::from_utf8(&second).unwrap().contains(&named(1, "b")));
}

#[tokio::test]
async fn a_very_long_answer_is_written_as_it_is_read() {
    let mut shop = Shop::open().await;
    let rows: Vec<String> = (1..=3_000).map(|id| named(id, &"x".repeat(1_000))).collect();
    let rows: Vec<_> = rows.iter().map(|row| (ITEMS, row.as_str())).collect();
    shop.set(808, &rows);
    let told = answer(&ResponseCache::default(), &shop, &question(true)).await;
    let body = told.body();
    assert_eq!(axum::body::HttpBody::size_hint(&body).exact(), None);
    assert_eq!(to_bytes(body, usize::MAX).await.unwrap(), told.json());
    assert_eq!(told.json().as_ptr(), told.json().as_ptr());
    let path = format!("/v1/changes?include=rows&limit=10000&after={}", version(START));
    let headers = [("accept-encoding", "zstd")];
    let reply = shop.service.client.send(Method::GET, &path, &headers).await;
    assert_eq!(zstd::decode_all(&*reply.body).unwrap(), told.json());
}

#[tokio::test]
async fn a_stream_carries_rows_and_refuses_tables_without() {
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
async fn rows_that_cannot_be_read_are_a_problem_for_each_in_its_own_time() {
    let mut shop = Shop::open().await;
    shop.database.go_away();
    shop.service.commit(808, &[(USERS, 9, Op::Update)]);
    let path = format!("/v1/changes?tables=users&include=rows&after={}", version(START));
    let begun = Instant::now();
    let (one, other) = tokio::join!(shop.get(&path), shop.get(&path));
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
    for reply in [one, other] {
        reply.problem(503);
        assert_eq!(reply.header("retry-after"), "1");
    }
}
