//! The expected state: every published table, read from the database itself.

use std::collections::BTreeMap;

use serde_json::Value;

use super::sql_client::{SqlClient, SqlError};

/// Rows of one table: id as JSON to row as JSON.
pub(crate) type Rows = BTreeMap<String, String>;

/// Every published table by name.
pub(crate) type DatabaseState = BTreeMap<String, Rows>;

/// Reads every published table, while nothing changes.
pub(crate) async fn database_state(session: &mut SqlClient) -> Result<DatabaseState, SqlError> {
    let names = "SELECT format(CASE WHEN tablename LIKE '%.%' THEN '%I' ELSE '%s' END, tablename)
                 FROM pg_publication_tables WHERE pubname = 'highwater'";
    let mut state = DatabaseState::new();
    for row in session.query(names).await? {
        let name: String = row.get(0);
        let rows = rows_of(session, &name).await?;
        state.insert(name, rows);
    }
    Ok(state)
}

/// Reads one table, named as the services name it.
pub(crate) async fn rows_of(session: &mut SqlClient, table: &str) -> Result<Rows, SqlError> {
    let key: String = session
        .value(&format!(
            "SELECT CASE count(*) WHEN 0 THEN 'to_jsonb(t)' WHEN 1 THEN 'to_jsonb(' || min(quote_ident(attname)) || ')'
               ELSE 'jsonb_build_array(' || string_agg(quote_ident(attname), ',' ORDER BY array_position(indkey::int2[], attnum)) || ')' END
             FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY (indkey)
             WHERE indrelid = '{table}'::regclass AND indisprimary"
        ))
        .await?;
    let rows =
        session.query(&format!("SELECT ({key})::text, to_jsonb(t)::text FROM {table} t")).await?;
    Ok(rows.iter().map(|row| (canonical(row.get(0)), canonical(row.get(1)))).collect())
}

/// JSON in canonical form, except for the spelling of its numbers.
fn canonical(json: &str) -> String {
    serde_json::from_str::<Value>(json).expect("PostgreSQL writes JSON").to_string()
}
