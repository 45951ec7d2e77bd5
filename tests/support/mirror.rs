//! A client that believes only what it is told.

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
    /// Knows nothing yet.
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

    /// Polls until there is no more, believing every answer.
    pub(crate) async fn catch_up(&mut self, service: &Highwater) {
        while self.poll(service, "").await {}
    }

    /// Polls once; answers whether there is more. `options` are further query parameters.
    pub(crate) async fn poll(&mut self, service: &Highwater, options: &str) -> bool {
        let mut query = format!("tables={}&limit={}{options}", self.tables.join(","), self.limit);
        if let Some(version) = &self.version {
            query.push_str("&after=");
            query.push_str(version);
        }
        let answer = service.poll(&query).await;
        self.polls += 1;
        self.believe(&answer).await
    }

    /// Believes one answer, however it came; answers whether there is more.
    pub(crate) async fn believe(&mut self, answer: &Poll) -> bool {
        self.check(&answer.version);
        self.resets += answer.reset.len();
        self.read_again(&answer.reset).await;
        let mut seen = BTreeSet::new();
        for change in &answer.changes {
            let (op, rest) = change.split_once(' ').expect("an operation");
            assert!(seen.insert(rest.to_owned()), "{rest} comes twice in one answer");
            let (table, id) = rest.split_once(' ').expect("a table and an id");
            assert!(!answer.reset.iter().any(|t| t == table), "{table} is reset and told");
            self.changes += 1;
            let ids = self.ids.get_mut(table).expect("a table that was asked for");
            if op == "delete" {
                ids.remove(id)
            } else {
                ids.insert(id.to_owned())
            };
        }
        self.version = Some(answer.version.clone());
        answer.more
    }

    /// Versions never go back.
    fn check(&self, version: &str) {
        let before = self.version.as_deref().unwrap_or_default();
        let epoch = |version: &str| version.split('-').next().map(str::to_owned);
        if epoch(before) == epoch(version) {
            assert!(version >= before, "{version} comes after {before}");
        }
    }

    /// Reads whole tables, all of them as of one moment.
    async fn read_again(&mut self, tables: &[String]) {
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

    /// Compares with the database, which must be quiet.
    pub(crate) async fn assert_equals_database(&self) {
        for table in &self.tables {
            let real = database_ids(&self.session, table).await;
            let ours = self.ids.get(*table).expect("a table that was asked for");
            let missing: Vec<_> = real.difference(ours).take(5).collect();
            let surplus: Vec<_> = ours.difference(&real).take(5).collect();
            assert!(
                missing.is_empty() && surplus.is_empty(),
                "{table}: {} rows, {} mirrored; not told of {missing:?}, not told that {surplus:?} are gone",
                real.len(),
                ours.len(),
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
    // jsonb prints a space after a comma, the service doesn't.
    rows.iter().map(|row| row.get::<_, String>(0).replace(", ", ",")).collect()
}
