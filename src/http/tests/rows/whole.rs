use axum::body::HttpBody;

use super::*;

#[tokio::test]
async fn whole_tables_are_at_one_version_which_is_first() {
    let line = r#"{"o":1,"p":"x"}"#;
    let mut shop = Shop::open().await;
    shop.set(808, &[(ITEMS, &named(2, "b")), (LINES, line), (ITEMS, &named(1, "a"))]);
    let reply = shop.get("/v1/store").await;
    let expected = format!(
        r#"{{"version":"{}","items":[{},{}],"lines":[{line}]}}"#,
        version(808),
        named(1, "a"),
        named(2, "b")
    );
    assert_eq!(reply.body, expected);
    assert_eq!(reply.header("highwater-version"), version(808));
    assert_eq!(reply.header("content-type"), "application/json");
    let reply = shop.get("/v1/store?tables=lines").await;
    assert_eq!(reply.body, format!(r#"{{"version":"{}","lines":[{line}]}}"#, version(808)));
    let empty = Shop::open().await;
    let reply = empty.get("/v1/store").await.json();
    assert_eq!(reply, serde_json::json!({"version": version(START), "items": [], "lines": []}));
}

#[tokio::test]
async fn tables_that_are_not_preloaded_are_rejected() {
    let shop = Shop::open().await;
    for (tables, says) in
        [("items,users", "users are cached lazily"), ("shop.%22a,b%22", "not cached")]
    {
        let reply = shop.get(&format!("/v1/store?tables={tables}")).await;
        assert!(reply.problem(409).contains(says), "{reply:?}");
    }
    shop.get("/v1/store?tables=nope").await.problem(404);
    let none = TestService::start().get("/v1/store").await;
    assert!(none.problem(409).contains("no table is preloaded"));
}

#[tokio::test]
async fn whole_tables_are_a_304_until_one_of_them_changes() {
    let mut shop = Shop::open().await;
    let etag = shop.get("/v1/store").await.header("etag").to_owned();
    shop.set(808, &[(USERS, &named(1, "Ann"))]);
    assert_eq!(shop.get_if_none_match("/v1/store", &etag).await.status, 304);
    shop.set(816, &[(ITEMS, &named(1, "a"))]);
    let reply = shop.get_if_none_match("/v1/store", &etag).await;
    assert_eq!(reply.json()["items"][0]["id"], 1);
}

/// Rows that fill many chunks.
async fn large() -> Shop {
    let rows: Vec<String> = (1..=20_000).map(|id| named(id, "something rather long")).collect();
    let rows: Vec<_> = rows.iter().map(|row| (ITEMS, row.as_str())).collect();
    Shop::with_rows(&rows).await
}

/// Asks for the whole store and hands out its chunks one by one.
async fn body_of_store(shop: &Shop, coding: &str) -> axum::body::Body {
    let request = Request::get("/v1/store").header("accept-encoding", coding);
    let request = request.body(Body::empty()).unwrap();
    let response = shop.service.client.router.clone().oneshot(request).await.unwrap();
    let sent = response.headers().get("content-encoding").map(|coding| coding.to_str().unwrap());
    assert_eq!(sent.unwrap_or("identity"), coding);
    response.into_body()
}

async fn next_chunk(body: &mut axum::body::Body) -> Option<Bytes> {
    let frame = std::future::poll_fn(|cx| std::pin::Pin::new(&mut *body).poll_frame(cx)).await?;
    frame.unwrap().into_data().ok()
}

#[tokio::test]
async fn a_large_response_comes_in_chunks_of_one_version() {
    let mut shop = large().await;
    let mut body = body_of_store(&shop, "identity").await;
    assert_eq!(body.size_hint().exact(), None);
    let mut read = next_chunk(&mut body).await.unwrap().to_vec();
    // What happens while a client reads is of a later version.
    shop.set(808, &[(ITEMS, &named(15_000, "changed"))]);
    shop.delete(816, ITEMS, Key::integer(16_000));
    while let Some(chunk) = next_chunk(&mut body).await {
        assert!((1..80_000).contains(&chunk.len()), "{}", chunk.len());
        read.extend_from_slice(&chunk);
    }
    let answer: Value = serde_json::from_slice(&read).unwrap();
    let ids: Vec<_> =
        answer["items"].as_array().unwrap().iter().map(|r| r["id"].as_i64()).collect();
    assert_eq!(ids, (1..=20_000).map(Some).collect::<Vec<_>>());
    assert!(!String::from_utf8(read).unwrap().contains("changed"));
}

#[tokio::test]
async fn the_number_of_store_dumps_is_limited() {
    let shop = large().await;
    let mut reading = Vec::new();
    for _ in 0..64 {
        reading.push(body_of_store(&shop, "identity").await);
    }
    let refused = shop.get("/v1/store").await;
    assert!(refused.problem(503).contains("64 clients are already reading"));
    assert_eq!(refused.header("retry-after"), "1");
    reading.pop();
    shop.get("/v1/store").await.json();
}

#[tokio::test]
async fn a_compressed_response_is_written_as_it_is_read() {
    let shop = large().await;
    for coding in ["gzip", "br", "zstd"] {
        let mut body = body_of_store(&shop, coding).await;
        let mut chunks = Vec::new();
        while let Some(chunk) = next_chunk(&mut body).await {
            chunks.push(chunk.len());
        }
        // Neither all at once nor byte by byte.
        assert!(chunks.len() > 1, "{coding}: {chunks:?}");
        assert!(chunks.iter().all(|&length| length < 70_000), "{coding}: {chunks:?}");
        assert!(chunks.iter().sum::<usize>() < 400_000, "{coding}: {chunks:?}");
    }
}
