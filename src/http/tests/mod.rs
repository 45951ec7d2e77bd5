//! The API as clients see it, on a real store.

mod access;
mod conditional;
mod console;
mod document;
mod errors;
mod headers;
mod holding;
mod operations;
mod polls;
mod room;
mod rows;
mod server;
mod sharing;
mod sockets;
mod streams;
mod waiting;

use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use serde_json::Value;
use tokio::sync::watch;
use tower::ServiceExt;

use super::{HttpOptions, admin_router, router};
use crate::change::{Change, CommitTime, Event, Op, Reset, ResetReason, Started, Transaction};
use crate::key::Key;
use crate::lsn::Lsn;
use crate::metrics::Metrics;
use crate::snapshot::Xid;
use crate::source_status::{
    Phase, PostmasterId, SlotStatus, SourceDetail, SourceStatus, StreamRequests,
};
use crate::store::{self, Limits, Store, StoreMetrics, Writer};
use crate::table::{RowCaching, Table, TableName, TableOid, Tracking};
use crate::version::Epoch;

const EPOCH: Epoch = Epoch(0x0000_00AB);
const ITEMS: TableOid = TableOid(1);
const USERS: TableOid = TableOid(2);
/// `shop."a,b"`
const COMMA: TableOid = TableOid(3);
/// The stream begins here.
const START: u64 = 800;
/// 2024-02-29 12:00:00.000001 UTC
const COMMITTED_AT: CommitTime = CommitTime(762_523_200_000_001);

/// A service on a store, with the writer's side at hand.
struct TestService {
    writer: Writer,
    source: watch::Sender<SourceStatus>,
    requests: StreamRequests,
    client: TestClient,
}

/// A client of the service.
#[derive(Clone)]
struct TestClient {
    router: Router,
    admin: Router,
    store: Store,
    metrics: Metrics,
    store_metrics: StoreMetrics,
}

/// A response, read to its end.
#[derive(Debug)]
struct TestReply {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl TestService {
    /// Caught up, with the tables `items`, `users` and `shop."a,b"`.
    fn start() -> Self {
        Self::with_options(&HttpOptions::default())
    }

    fn with_options(options: &HttpOptions) -> Self {
        let mut service = Self::connecting(options);
        service.begin(EPOCH, START);
        service.source.send_modify(|source| {
            source.phase = Phase::Streaming;
            source.was_ready = true;
        });
        service
    }

    /// Before the first connection.
    fn connecting(options: &HttpOptions) -> Self {
        let metrics = Metrics::new().unwrap();
        let requests = StreamRequests::default();
        let store_metrics = StoreMetrics::register(&metrics.registry).unwrap();
        let (writer, store) =
            store::open(Limits::default(), requests.clone(), store_metrics.clone());
        let status = SourceStatus::new(
            "db:5432/app".into(),
            SourceDetail::Postgres(SlotStatus {
                publication: "pub".into(),
                slot: "slot".into(),
                ..SlotStatus::default()
            }),
        );
        let (source, seen) = watch::channel(status);
        let router = router(store.clone(), seen.clone(), &metrics, options);
        let admin = admin_router(store.clone(), seen, &metrics, options);
        Self {
            writer,
            source,
            requests,
            client: TestClient { router, admin, store, metrics, store_metrics },
        }
    }

    fn begin(&mut self, epoch: Epoch, from: u64) {
        let tables = vec![
            table(ITEMS, "public", "items", Tracking::Ids),
            table(USERS, "public", "users", Tracking::Ids),
            table(COMMA, "shop", "a,b", Tracking::ResetOnly("it has no primary key".into())),
        ];
        self.take(Event::Started(Started {
            history: epoch.into(),
            server: PostmasterId::default(),
            from: Lsn(from),
            tables,
            broken: None,
        }));
    }

    fn take(&mut self, event: Event) {
        self.writer.apply(vec![event]);
    }

    /// A commit that ends at `end`.
    fn commit(&mut self, end: u64, changes: &[(TableOid, i64, Op)]) {
        let changes = changes.iter().zip(1..);
        let changes = changes
            .map(|(&(table, id, op), ordinal)| Change {
                table,
                key: Key::integer(id),
                op,
                ordinal,
                scope: None,
            })
            .collect();
        self.take(Event::Commit(Transaction {
            end_lsn: Lsn(end),
            committed_at: COMMITTED_AT,
            xid: Xid(0),
            rows: vec![],
            changes,
            resets: vec![],
        }));
    }

    fn truncate(&mut self, end: u64, table: TableOid) {
        self.take(Event::Commit(Transaction {
            end_lsn: Lsn(end),
            committed_at: COMMITTED_AT,
            xid: Xid(0),
            rows: vec![],
            changes: vec![],
            resets: vec![Reset { table, reason: ResetReason::Truncate }],
        }));
    }

    async fn get(&self, path: &str) -> TestReply {
        self.client.get(path).await
    }
}

impl TestClient {
    async fn get(&self, path: &str) -> TestReply {
        self.send(Method::GET, path, &[]).await
    }

    async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> TestReply {
        ask(&self.router, method, path, headers).await
    }

    /// Waits until this number of polls is held.
    async fn held(&self, polls: i64) {
        while self.metrics.poll_waiters.get() != polls {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn polls(&self, outcome: &str) -> u64 {
        self.metrics.polls.with_label_values(&[outcome]).get()
    }
}

impl TestReply {
    fn json(&self) -> Value {
        assert_eq!(self.status, StatusCode::OK, "{self:?}");
        assert_eq!(self.header("content-type"), "application/json");
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The text of a header; empty when it is absent.
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    /// The changes in short notation: `items 1 insert, users 2 delete`.
    fn changes(&self) -> String {
        let answer = self.json();
        let change = |change: &Value| {
            let word = |name: &str| change[name].as_str().unwrap().to_owned();
            format!("{} {} {}", word("table"), change["id"], word("op"))
        };
        answer["changes"].as_array().unwrap().iter().map(change).collect::<Vec<_>>().join(", ")
    }

    fn version(&self) -> String {
        self.json()["version"].as_str().unwrap().to_owned()
    }

    /// The problem's detail, after checking everything a problem must have.
    fn problem(&self, status: u16) -> String {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(self.header("cache-control"), "no-store");
        assert_eq!(self.header(header::CONTENT_LENGTH.as_str()), self.body.len().to_string());
        let body: Value = serde_json::from_slice(&self.body).unwrap();
        assert!(body["type"].as_str().unwrap().starts_with("urn:highwater:problem:"));
        assert!(!body["title"].as_str().unwrap().is_empty());
        assert_eq!(body["status"], status);
        assert_eq!(body["request_id"], self.header("x-request-id"));
        body["detail"].as_str().unwrap().to_owned()
    }
}

async fn ask(router: &Router, method: Method, path: &str, headers: &[(&str, &str)]) -> TestReply {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::empty()).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let (head, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    TestReply { status: head.status, headers: head.headers, body }
}

fn table(oid: TableOid, schema: &str, name: &str, tracking: Tracking) -> Table {
    let name = TableName::new(schema, name);
    Table {
        oid,
        name,
        key_columns: vec!["id".into()],
        tracking,
        rows: RowCaching::Disabled,
        scope: vec![],
    }
}

/// The version after the whole commit that ends at `lsn`.
fn version(lsn: u64) -> String {
    format!("000000ab-{lsn:016x}")
}
