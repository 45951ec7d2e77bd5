//! Responses shared by equal requests.

use std::io::Read as _;
use std::sync::Arc;

use super::*;
use crate::change::Op::Insert;
use crate::http::response::encoded_response::EncodedResponse;
use crate::http::response::encoding::Encoding;
use crate::http::response::response_cache::{ResponseCache, ResponseKey};
use crate::store::ResourceSelection;

fn key(service: &TestService, table: &str, after: u64) -> ResponseKey {
    let directory = service.client.store.directory();
    let tables = ResourceSelection::unscoped([directory.resolve(table).unwrap().clone()]);
    let after = Some(version(after).parse().unwrap());
    ResponseKey { tables, after, limit: 1000, detail: false, include_rows: false }
}

async fn response(
    cache: &ResponseCache,
    service: &TestService,
    key: &ResponseKey,
) -> Arc<EncodedResponse> {
    cache.response(&service.client.store, key).await.unwrap()
}

/// A commit of so many rows that the response is compressed.
fn commit_many(service: &mut TestService, end: u64) {
    let changes: Vec<_> = (0..200).map(|id| (ITEMS, id, Insert)).collect();
    service.commit(end, &changes);
}

#[tokio::test]
async fn equal_requests_share_the_same_bytes() {
    let mut service = TestService::start();
    service.commit(808, &[(ITEMS, 1, Insert)]);
    let cache = ResponseCache::default();
    let requested = key(&service, "items", START);
    let first = response(&cache, &service, &requested).await;
    assert!(Arc::ptr_eq(&first, &response(&cache, &service, &requested).await));
    let others = [
        ResponseKey { after: Some(version(801).parse().unwrap()), ..requested.clone() },
        ResponseKey { limit: 5, ..requested.clone() },
        ResponseKey { detail: true, ..requested.clone() },
        ResponseKey { tables: ResourceSelection::All, ..requested.clone() },
    ];
    for other in others {
        assert!(!Arc::ptr_eq(&first, &response(&cache, &service, &other).await), "{other:?}");
    }
}

#[tokio::test]
async fn changes_are_never_withheld() {
    let mut service = TestService::start();
    let cache = ResponseCache::default();
    let requested = key(&service, "items", START);
    for end in (808..1600).step_by(8) {
        service.commit(end, &[(ITEMS, i64::try_from(end).unwrap(), Insert)]);
        assert_eq!(response(&cache, &service, &requested).await.version.to_string(), version(end));
    }
    service.truncate(1600, ITEMS);
    assert!(response(&cache, &service, &requested).await.has_resets);
    service.begin(Epoch(0xCD), 80);
    assert_eq!(response(&cache, &service, &requested).await.version.epoch, Epoch(0xCD));
}

#[tokio::test]
async fn a_cached_response_does_not_hold_back_the_version() {
    let mut service = TestService::start();
    service.commit(808, &[(ITEMS, 1, Insert)]);
    let cache = ResponseCache::default();
    let requested = key(&service, "items", START);
    response(&cache, &service, &requested).await;
    service.commit(816, &[(USERS, 1, Insert)]);
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert_eq!(response(&cache, &service, &requested).await.version.to_string(), version(816));
}

#[tokio::test]
async fn a_response_is_compressed_once_for_each_encoding() {
    let mut service = TestService::start();
    commit_many(&mut service, 808);
    let cache = ResponseCache::default();
    let encoded = response(&cache, &service, &key(&service, "items", START)).await;
    for encoding in Encoding::ALL {
        let compressed = encoded.compressed(encoding).unwrap();
        assert!(compressed.len() < encoded.json().len());
        assert_eq!(compressed.as_ptr(), encoded.compressed(encoding).unwrap().as_ptr());
    }
}

#[tokio::test]
async fn every_encoding_holds_the_same_body() {
    let mut service = TestService::start();
    commit_many(&mut service, 808);
    let path = format!("/v1/changes?after={}", version(START));
    let plain = service.get(&path).await;
    assert_eq!(plain.header("content-encoding"), "");
    for name in ["gzip", "br", "zstd"] {
        let headers = [("accept-encoding", name)];
        let reply = service.client.send(Method::GET, &path, &headers).await;
        assert_eq!(reply.header("content-encoding"), name);
        assert_eq!(reply.header("vary"), "accept-encoding");
        let mut text = Vec::new();
        match name {
            "gzip" => flate2::read::GzDecoder::new(&*reply.body).read_to_end(&mut text).unwrap(),
            "br" => brotli::Decompressor::new(&*reply.body, 4096).read_to_end(&mut text).unwrap(),
            _ => {
                text = zstd::decode_all(&*reply.body).unwrap();
                0
            }
        };
        assert_eq!(text, plain.body, "{name}");
    }
}

#[tokio::test]
async fn a_bounded_number_of_responses_is_cached() {
    let mut service = TestService::start();
    commit_many(&mut service, 80_000);
    let cache = ResponseCache::default();
    let mut responses = Vec::new();
    for after in START..START + 1000 {
        let requested = key(&service, "items", after);
        responses.push(Arc::downgrade(&response(&cache, &service, &requested).await));
    }
    let cached = responses.iter().filter(|response| response.strong_count() > 0).count();
    assert_eq!(cached, 32);
    assert!(responses.last().unwrap().strong_count() > 0, "the newest is cached");
}
