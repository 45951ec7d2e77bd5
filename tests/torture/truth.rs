//! What the database says.

use std::collections::BTreeMap;

use serde_json::Value;

use super::link::{ProxiedLink, Refusal};

/// Rows of one table: id as JSON to row as JSON.
pub(crate) type Rows = BTreeMap<String, String>;

/// Every published table, read while nothing changes.
pub(crate) type Truth = BTreeMap<String, Rows>;

/// Reads everything that is published.
pub(crate) async fn truth(link: &mut ProxiedLink) -> Result<Truth, Refusal> {
    let names = "SELECT format(CASE WHEN tablename LIKE '%.%' THEN '%I' ELSE '%s' END, tablename)
                 FROM pg_publication_tables WHERE pubname = 'highwater'";
    let mut truth = Truth::new();
    for row in link.query(names).await? {
        let name: String = row.get(0);
        let rows = rows_of(link, &name).await?;
        truth.insert(name, rows);
    }
    Ok(truth)
}

/// Reads one table, by the name a service gives it.
pub(crate) async fn rows_of(link: &mut ProxiedLink, table: &str) -> Result<Rows, Refusal> {
    let key: String = link
        .value(&format!(
            "SELECT CASE count(*) WHEN 0 THEN 'to_jsonb(t)' WHEN 1 THEN 'to_jsonb(' || min(quote_ident(attname)) || ')'
               ELSE 'jsonb_build_array(' || string_agg(quote_ident(attname), ',' ORDER BY array_position(indkey::int2[], attnum)) || ')' END
             FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY (indkey)
             WHERE indrelid = '{table}'::regclass AND indisprimary"
        ))
        .await?;
    let rows =
        link.query(&format!("SELECT ({key})::text, to_jsonb(t)::text FROM {table} t")).await?;
    Ok(rows.iter().map(|row| (plain(row.get(0)), plain(row.get(1)))).collect())
}

/// JSON in one spelling, but for its numbers.
fn plain(json: &str) -> String {
    serde_json::from_str::<Value>(json).expect("PostgreSQL writes JSON").to_string()
}
