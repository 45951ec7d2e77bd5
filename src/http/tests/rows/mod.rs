//! Rows as clients see them, on a real store with a database that is a map.

mod at_least;
mod database;
mod included;
mod listed;
mod reload;
mod shared;
mod single;
mod verify;
mod whole;

use std::sync::Arc;
use std::time::Duration;

use database::FakeDatabase;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::json_type::{JsonShape, JsonType};
use crate::row::{Row, RowAfter, RowChange};
use crate::store::{RowsState, RowsStatus};
use crate::table::{Column, RowCachePlan, RowMode};

/// `lines`, with a key of two columns.
const LINES: TableOid = TableOid(4);

/// A service that holds rows: `items` and `lines` preloaded, `users` lazily, `shop."a,b"` not at
/// all.
pub(super) struct Shop {
    pub(super) service: TestService,
    database: Arc<FakeDatabase>,
    background: JoinSet<()>,
}

impl Shop {
    /// Ready, with no row in the database.
    async fn open() -> Self {
        Self::with_rows(&[]).await
    }

    /// Ready, with these rows in the database already.
    pub(super) async fn with_rows(rows: &[(TableOid, &str)]) -> Self {
        let mut shop = Self::before_preloads(rows);
        shop.preload().await;
        shop
    }

    /// Ready but for the preloads.
    fn before_preloads(rows: &[(TableOid, &str)]) -> Self {
        let mut service = TestService::connecting(&HttpOptions::default());
        let tables = vec![
            held(ITEMS, "items", RowMode::Preload, &[("id", JsonType::Integer)]),
            held(USERS, "users", RowMode::Lazy, &[("id", JsonType::Integer)]),
            table(COMMA, "shop", "a,b", Tracking::Ids),
            held(
                LINES,
                "lines",
                RowMode::Preload,
                &[("o", JsonType::Integer), ("p", JsonType::String)],
            ),
        ];
        let from = Lsn(START);
        service.take(Event::Started(Started {
            history: EPOCH.into(),
            server: PostmasterId::default(),
            from,
            tables,
            broken: None,
        }));
        service.source.send_modify(|source| {
            source.phase = Phase::Streaming;
            source.was_ready = true;
        });
        let database = FakeDatabase::new(START);
        for (table, row) in rows {
            database.set(*table, &key_of(*table, row), Some(Row::new(row.as_bytes())));
        }
        Self { service, database: Arc::new(database), background: JoinSet::new() }
    }

    /// Lets the store read the database, and waits for the preloads.
    async fn preload(&mut self) {
        let (store, token) = (&self.service.client.store, CancellationToken::new());
        self.background.spawn(store.preloader().run(self.database.clone(), token.clone()));
        self.background.spawn(store.checker(None).run(self.database.clone(), token.clone()));
        self.background.spawn(store.load_worker().run(self.database.clone(), token));
        let is_loading = |rows: &RowsStatus| matches!(rows.state, RowsState::Loading { .. });
        while store.rows_status().iter().any(is_loading) {
            self.service.writer.serve_requests();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// A commit that ends at `end` and sets rows.
    pub(super) fn set(&mut self, end: u64, rows: &[(TableOid, &str)]) {
        let rows = rows.iter().map(|(table, row)| (*table, key_of(*table, row), Some(*row)));
        self.commit(end, rows.collect());
    }

    /// A commit that ends at `end` and deletes a row.
    fn delete(&mut self, end: u64, table: TableOid, key: Key) {
        self.commit(end, vec![(table, key, None)]);
    }

    fn commit(&mut self, end: u64, rows: Vec<(TableOid, Key, Option<&str>)>) {
        let xid = self.database.begin(end);
        let mut changes = Vec::new();
        let mut images = Vec::new();
        for ((table, key, row), ordinal) in rows.into_iter().zip(1..) {
            let row = row.map(|json| Row::new(json.as_bytes()));
            let existed = self.database.set(table, &key, row.clone());
            let op = match (existed, &row) {
                (_, None) => Op::Delete,
                (true, _) => Op::Update,
                (false, _) => Op::Insert,
            };
            changes.push(Change { table, key: key.clone(), op, ordinal, scope: None });
            let image = row.map_or(RowAfter::Deleted, RowAfter::Full);
            images.push(RowChange::Upsert { table, key, image });
        }
        self.service.take(Event::Commit(Transaction {
            end_lsn: Lsn(end),
            committed_at: COMMITTED_AT,
            xid,
            changes,
            resets: vec![],
            rows: images,
        }));
    }

    async fn get(&self, path: &str) -> TestReply {
        self.service.get(path).await
    }

    async fn get_if_none_match(&self, path: &str, etag: &str) -> TestReply {
        self.service.client.send(Method::GET, path, &[("if-none-match", etag)]).await
    }

    /// `cache_requests_total`.
    fn counted(&self, table: &str, result: &str) -> u64 {
        self.service.client.store_metrics.cache_requests.with_label_values(&[table, result]).get()
    }
}

fn held(oid: TableOid, name: &str, mode: RowMode, key: &[(&str, JsonType)]) -> Table {
    let key: Vec<Column> = key
        .iter()
        .map(|(name, kind)| Column {
            name: (*name).into(),
            type_oid: 0,
            type_name: "t".into(),
            form: Some(JsonShape::Scalar(*kind)),
        })
        .collect();
    let rows = RowCaching::Enabled(Arc::new(RowCachePlan {
        mode,
        columns: key.clone(),
        key: key.clone(),
        partitioned: false,
        filter: None,
        definition: String::new(),
        keys_are_exact: true,
    }));
    let key_columns = key.into_iter().map(|column| column.name).collect();
    Table { key_columns, rows, ..table(oid, "public", name, Tracking::Ids) }
}

/// The key of a document: its first members.
fn key_of(table: TableOid, row: &str) -> Key {
    let row: Value = serde_json::from_str(row).unwrap();
    match table {
        LINES => Key::json(format!("[{},{}]", row["o"], row["p"]).as_bytes()),
        _ => Key::integer(row["id"].as_i64().unwrap()),
    }
}

/// The document of an item or user.
fn named(id: i64, name: &str) -> String {
    format!(r#"{{"id":{id},"name":"{name}"}}"#)
}
