//! Answers made once for many.

use std::io::Read as _;
use std::sync::Arc;

use super::*;
use crate::change::Op::Insert;
use crate::http::response::encoded_response::EncodedResponse;
use crate::http::response::encoding::Encoding;
use crate::http::response::response_cache::{ResponseCache, ResponseKey};
use crate::store::ResourceSelection;

fn question(service: &TestService, table: &str, after: u64) -> ResponseKey {
    let directory = service.client.store.directory();
    let tables = ResourceSelection::unscoped([directory.resolve(table).unwrap().clone()]);
    let after = Some(version(after).parse().unwrap());
    ResponseKey { tables, after, limit: 1000, detail: false, rows: false }
}

async fn answer(
    answers: &ResponseCache,
    service: &TestService,
    question: &ResponseKey,
) -> Arc<EncodedResponse> {
    answers.answer(&service.client.store, question).await.unwrap()
}

/// A commit of many rows, so that it is worth compressing.
fn commit_many(service: &mut TestService, end: u64) {
    let changes: Vec<_> = (0..200).map(|id| (ITEMS, id, Insert)).collect();
    service.commit(end, &changes);
}

#[tokio::test]
async fn who_asks_the_same_is_given_the_same_bytes() {
    let mut service = TestService::start();
    service.commit(808, &[(ITEMS, 1, Insert)]);
    let answers = ResponseCache::default();
    let asked = question(&service, "items", START);
    let first = answer(&answers, &service, &asked).await;
    assert!(Arc::ptr_eq(&first, &answer(&answers, &service, &asked).await));
    let others = [
        ResponseKey { after: Some(version(801).parse().unwrap()), ..asked.clone() },
        ResponseKey { limit: 5, ..asked.clone() },
        ResponseKey { detail: true, ..asked.clone() },
        ResponseKey { tables: ResourceSelection::All, ..asked.clone() },
    ];
    for other in others {
        assert!(!Arc::ptr_eq(&first, &answer(&answers, &service, &other).await), "{other:?}");
    }
}

#[tokio::test]
async fn news_are_never_withheld() {
    let mut service = TestService::start();
    let answers = ResponseCache::default();
    let asked = question(&service, "items", START);
    for end in (808..1600).step_by(8) {
        service.commit(end, &[(ITEMS, i64::try_from(end).unwrap(), Insert)]);
        assert_eq!(answer(&answers, &service, &asked).await.version.to_string(), version(end));
    }
    service.truncate(1600, ITEMS);
    assert!(answer(&answers, &service, &asked).await.has_resets);
    service.begin(Epoch(0xCD), 80);
    assert_eq!(answer(&answers, &service, &asked).await.version.epoch, Epoch(0xCD));
}

#[tokio::test]
async fn the_version_does_not_stay_behind_while_other_tables_change() {
    let mut service = TestService::start();
    service.commit(808, &[(ITEMS, 1, Insert)]);
    let answers = ResponseCache::default();
    let asked = question(&service, "items", START);
    answer(&answers, &service, &asked).await;
    service.commit(816, &[(USERS, 1, Insert)]);
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert_eq!(answer(&answers, &service, &asked).await.version.to_string(), version(816));
}

#[tokio::test]
async fn an_answer_is_compressed_once_for_each_encoding() {
    let mut service = TestService::start();
    commit_many(&mut service, 808);
    let answers = ResponseCache::default();
    let told = answer(&answers, &service, &question(&service, "items", START)).await;
    for encoding in Encoding::ALL {
        let compressed = told.compressed(encoding).unwrap();
        assert!(compressed.len() < told.json().len());
        assert_eq!(compressed.as_ptr(), told.compressed(encoding).unwrap().as_ptr());
    }
}

#[tokio::test]
async fn every_encoding_holds_the_same_answer() {
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
async fn a_bounded_number_of_answers_is_remembered() {
    let mut service = TestService::start();
    commit_many(&mut service, 80_000);
    let answers = ResponseCache::default();
    let mut told = Vec::new();
    for after in START..START + 1000 {
        let asked = question(&service, "items", after);
        told.push(Arc::downgrade(&answer(&answers, &service, &asked).await));
    }
    let kept = told.iter().filter(|told| told.strong_count() > 0).count();
    assert_eq!(kept, 32);
    assert!(told.last().unwrap().strong_count() > 0, "the newest is kept");
}
