//! A client whose copy depends on the service's responses only.

use std::collections::{BTreeMap, BTreeSet};

use super::{Highwater, Poll, TestPostgres, TestSession};

/// A copy of the ids of some tables, kept by polling.
pub(crate) struct LocalCopy {
    tables: Vec<&'static str>,
    limit: usize,
    version: Option<String>,
    /// The ids of each table, as JSON text.
    pub(crate) ids: BTreeMap<String, BTreeSet<String>>,
    session: TestSession,
    pub(crate) polls: usize,
    pub(crate) resets: usize,
    pub(crate) changes: usize,
}

impl LocalCopy {
    /// An empty copy without a version.
    pub(crate) async fn new(pg: &TestPostgres, tables: &[&'static str], limit: usize) -> Self {
        Self {
            tables: tables.to_vec(),
            limit,
            version: None,
            ids: tables.iter().map(|table| ((*table).to_owned(), BTreeSet::new())).collect(),
            session: pg.connect().await,
            polls: 0,
            resets: 0,
            changes: 0,
        }
    }

    /// Polls until a response is complete, and applies every response.
    pub(crate) async fn catch_up(&mut self, service: &Highwater) {
        while self.poll(service, "").await {}
    }

    /// Polls once; returns whether there are more changes. `options` are further query parameters.
    pub(crate) async fn poll(&mut self, service: &Highwater, options: &str) -> bool {
        let mut query = format!("tables={}&limit={}{options}", self.tables.join(","), self.limit);
        if let Some(version) = &self.version {
            query.push_str("&after=");
            query.push_str(version);
        }
        let response = service.poll(&query).await;
        self.polls += 1;
        self.apply(&response).await
    }

    /// Applies a response of any transport; returns whether there are more changes.
    pub(crate) async fn apply(&mut self, response: &Poll) -> bool {
        self.check(&response.version);
        self.resets += response.reset.len();
        self.reload(&response.reset).await;
        let mut seen = BTreeSet::new();
        for change in &response.changes {
            let (op, rest) = change.split_once(' ').expect("an operation");
            assert!(seen.insert(rest.to_owned()), "{rest} occurs twice in one response");
            let (table, id) = rest.split_once(' ').expect("a table and an id");
            assert!(
                !response.reset.iter().any(|t| t == table),
                "{table} is both reset and changed"
            );
            self.changes += 1;
            let ids = self.ids.get_mut(table).expect("a requested table");
            if op == "delete" {
                ids.remove(id)
            } else {
                ids.insert(id.to_owned())
            };
        }
        self.version = Some(response.version.clone());
        response.more
    }

    /// Within an epoch, versions never decrease.
    fn check(&self, version: &str) {
        let before = self.version.as_deref().unwrap_or_default();
        let epoch = |version: &str| version.split('-').next().map(str::to_owned);
        if epoch(before) == epoch(version) {
            assert!(version >= before, "{version} comes after {before}");
        }
    }

    /// Reads whole tables in one snapshot.
    async fn reload(&mut self, tables: &[String]) {
        if tables.is_empty() {
            return;
        }
        self.session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await;
        for table in tables {
            let ids = database_ids(&self.session, table).await;
            self.ids.insert(table.clone(), ids);
        }
        self.session.execute("COMMIT").await;
    }

    /// Compares with the database, which must not change meanwhile.
    pub(crate) async fn assert_equals_database(&self) {
        for table in &self.tables {
            let real = database_ids(&self.session, table).await;
            let copied = self.ids.get(*table).expect("a requested table");
            let missing: Vec<_> = real.difference(copied).take(5).collect();
            let surplus: Vec<_> = copied.difference(&real).take(5).collect();
            assert!(
                missing.is_empty() && surplus.is_empty(),
                "{table}: {} rows in the database, {} in the copy; {missing:?} missing, {surplus:?} not deleted",
                real.len(),
                copied.len(),
            );
        }
    }
}

/// The ids of a table, as `to_jsonb` renders its primary key.
async fn database_ids(session: &TestSession, table: &str) -> BTreeSet<String> {
    let key: String = session
        .value(&format!(
            "SELECT CASE WHEN count(*) = 1 THEN 'to_jsonb(' || min(quote_ident(attname)) || ')'
               ELSE 'jsonb_build_array(' || string_agg(quote_ident(attname), ',' ORDER BY array_position(indkey::int2[], attnum)) || ')' END
             FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY (indkey)
             WHERE indrelid = '{table}'::regclass AND indisprimary"
        ))
        .await;
    let rows = session.query(&format!("SELECT {key}::text FROM {table}")).await;
    // Unlike the service, jsonb prints a space after a comma.
    rows.iter().map(|row| row.get::<_, String>(0).replace(", ", ",")).collect()
}
