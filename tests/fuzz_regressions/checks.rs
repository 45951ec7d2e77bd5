//! Properties that hold for any bytes. Also compiled into the fuzz targets.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode, header};
use highwater::change::{Change, CommitTime, Event, Op, Started, Transaction};
use highwater::http::{HttpOptions, router};
use highwater::json_type::{JsonShape, JsonType};
use highwater::key::Key;
use highwater::lsn::Lsn;
use highwater::metrics::Metrics;
use highwater::pgoutput::{LogicalMessage, Streamed, Tuple, decode, decode_streamed};
use highwater::snapshot::Xid;
use highwater::source_status::{
    Phase, PostmasterId, SlotStatus, SourceDetail, SourceStatus, StreamRequests,
};
use highwater::store::{self, Limits, StoreMetrics, Writer};
use highwater::table::{
    Column, RowCachePlan, RowCaching, RowMode, Table, TableName, TableOid, Tracking,
};
use highwater::version::{Epoch, Version};
use highwater::wire::Frame;
use tower::ServiceExt;

/// Decodes a logical message; the first byte selects whether it is inside a stream block.
pub(crate) fn pgoutput(bytes: &[u8]) {
    let Some((streamed, message)) = bytes.split_first() else { return };
    let decoded = if streamed % 2 == 1 {
        decode_streamed(message)
    } else {
        decode(message).map(|message| Streamed { xid: None, message })
    };
    match decoded {
        Ok(decoded) => walk(&decoded.message),
        // Every error has a message.
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Iterates over everything that is decoded lazily, which must not fail after decoding.
fn walk(message: &LogicalMessage<'_>) {
    let walk_tuple = |tuple: Tuple<'_>| assert_eq!(tuple.columns().count(), tuple.len());
    match message {
        LogicalMessage::Insert(insert) => walk_tuple(insert.new),
        LogicalMessage::Update(update) => {
            update.old.iter().for_each(|old| walk_tuple(old.tuple()));
            walk_tuple(update.new);
        }
        LogicalMessage::Delete(delete) => walk_tuple(delete.old.tuple()),
        LogicalMessage::Truncate(truncate) => {
            assert_eq!(truncate.oids().count(), truncate.oids().len());
        }
        _ => {}
    }
}

/// Parses the content of a CopyData message from a walsender, and the logical message in it.
pub(crate) fn frame(bytes: &[u8]) {
    match Frame::parse(bytes) {
        Ok(Frame::XLogData { data, .. }) => {
            assert_eq!(data.len() + 25, bytes.len());
            let mut message = vec![0];
            message.extend_from_slice(data);
            pgoutput(&message);
        }
        Ok(Frame::Keepalive { .. }) => assert!(bytes.len() >= 18),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// The status codes that responses may have.
const EXPECTED: &[u16] = &[200, 304, 400, 403, 404, 405, 406, 409, 426, 503];

/// A service without a database and with minimal waits.
pub(crate) struct FuzzedService {
    router: Router,
    runtime: tokio::runtime::Runtime,
    _writer: Writer,
}

impl FuzzedService {
    /// Starts a service that has caught up, with tables of every kind of key.
    pub(crate) fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let metrics = Metrics::new().expect("metrics");
        let (mut writer, store) = store::open(
            Limits::default(),
            StreamRequests::default(),
            StoreMetrics::register(&metrics.registry).expect("store metrics"),
        );
        writer.apply(vec![started(), commit()]);
        let mut status =
            SourceStatus::new("db:5432/app".into(), SourceDetail::Postgres(SlotStatus::default()));
        status.phase = Phase::Streaming;
        status.was_ready = true;
        let (source, status) = tokio::sync::watch::channel(status);
        // The status must be readable until the process ends.
        std::mem::forget(source);
        let shortest = Duration::from_millis(1);
        let options =
            HttpOptions { wait_max: shortest, ahead_wait_max: shortest, ..HttpOptions::default() };
        let router = router(store, status, &metrics, &options);
        Self { router, runtime: runtime.expect("a runtime"), _writer: writer }
    }

    /// Sends a request for a target such as `/v1/changes?after=…`; the text after a line end is the value
    /// of `If-None-Match`.
    pub(crate) fn request(&self, bytes: &[u8]) {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        let (target, etag) = text.split_once('\n').unwrap_or((text, ""));
        let request = Request::get(target).header(header::IF_NONE_MATCH, etag);
        let Ok(request) = request.body(Body::empty()) else { return };
        self.runtime.block_on(async {
            let response = self.router.clone().oneshot(request).await.expect("it never fails");
            let (head, body) = response.into_parts();
            assert!(EXPECTED.contains(&head.status.as_u16()), "{target}: {}", head.status);
            let kind = head
                .headers
                .get(header::CONTENT_TYPE)
                .map_or("", |kind| kind.to_str().expect("ASCII"));
            if kind == "text/event-stream" {
                return;
            }
            let body = to_bytes(body, usize::MAX).await.expect("a body");
            if head.status.is_client_error() || head.status == StatusCode::SERVICE_UNAVAILABLE {
                assert_eq!(kind, "application/problem+json", "{target}");
            }
            if kind.contains("json") {
                let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
                if let Some(version) = body["version"].as_str() {
                    let _: Version =
                        version.parse().expect("a version that the service itself accepts");
                }
            }
        });
    }
}

fn started() -> Event {
    let tables = vec![
        table(1, "items", RowMode::Preload, &[("id", JsonType::Integer)]),
        table(2, "users", RowMode::Lazy, &[("id", JsonType::Integer)]),
        table(3, "lines", RowMode::Lazy, &[("o", JsonType::Integer), ("p", JsonType::String)]),
        table(
            4,
            "facts",
            RowMode::Lazy,
            &[("b", JsonType::Boolean), ("n", JsonType::Number), ("d", JsonType::Date)],
        ),
        table(
            5,
            "times",
            RowMode::Preload,
            &[("t", JsonType::Timestamp), ("z", JsonType::Timestamptz), ("j", JsonType::Jsonb)],
        ),
        Table {
            rows: RowCaching::Disabled,
            ..table(6, "a,\"b", RowMode::Lazy, &[("id", JsonType::Integer)])
        },
    ];
    Event::Started(Started {
        history: Epoch(0xAB).into(),
        server: PostmasterId::default(),
        from: Lsn(800),
        tables,
        broken: None,
    })
}

fn table(oid: u32, name: &str, mode: RowMode, key: &[(&str, JsonType)]) -> Table {
    let column = |&(name, kind): &(&str, JsonType)| Column {
        name: name.into(),
        type_oid: 0,
        type_name: "t".into(),
        form: Some(JsonShape::Scalar(kind)),
    };
    let key: Vec<Column> = key.iter().map(column).collect();
    let plan = RowCachePlan {
        mode,
        columns: key.clone(),
        key: key.clone(),
        partitioned: false,
        filter: None,
        definition: String::new(),
        keys_are_exact: true,
    };
    Table {
        oid: TableOid(oid),
        name: TableName::new("public", name),
        key_columns: key.into_iter().map(|column| column.name).collect(),
        tracking: Tracking::Ids,
        rows: RowCaching::Enabled(Arc::new(plan)),
        scope: vec![],
    }
}

fn commit() -> Event {
    let change = |(table, ordinal)| Change {
        table: TableOid(table),
        key: Key::integer(i64::from(table)),
        op: Op::Insert,
        ordinal,
        scope: None,
    };
    Event::Commit(Transaction {
        end_lsn: Lsn(880),
        committed_at: CommitTime(762_523_200_000_001),
        xid: Xid(7),
        changes: [1, 2, 6].into_iter().zip(1..).map(change).collect(),
        resets: vec![],
        rows: vec![],
    })
}
