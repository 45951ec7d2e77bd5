//! Queries of `sql/` whose rows are deserialized by column name.

use serde::de::DeserializeOwned;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::sql;
use crate::sql_text::as_json_rows;

/// A failed statement: its purpose, and the server's message.
#[derive(Debug, thiserror::Error)]
#[error("{purpose}: {message}")]
pub struct QueryError {
    /// The purpose of the statement, as a verb phrase: `create slot "highwater"`.
    pub purpose: String,
    /// The server's message and hint, or how the connection ended.
    pub message: String,
    /// The server's SQLSTATE; `None` when the connection failed or the rows could not be read.
    pub sqlstate: Option<String>,
}

impl QueryError {
    fn new(purpose: &str, error: &tokio_postgres::Error) -> Self {
        let (message, sqlstate) = match error.as_db_error() {
            Some(server) => {
                let mut message = server.message().to_owned();
                for more in [server.detail(), server.hint()].into_iter().flatten() {
                    message.push_str("; ");
                    message.push_str(more.trim_end_matches('.'));
                }
                (message, Some(server.code().code().to_owned()))
            }
            None => (error.to_string(), None),
        };
        Self { purpose: purpose.to_owned(), message, sqlstate }
    }
}

/// The rows of a query, read by column name.
///
/// The query is wrapped ([`as_json_rows`]), so that its file remains a query psql can show as a table. It
/// uses the simple query protocol, which every pooler supports.
pub(crate) async fn rows<T: DeserializeOwned>(
    client: &Client,
    purpose: &str,
    query: &str,
) -> Result<Vec<T>, QueryError> {
    let messages = client.simple_query(&as_json_rows(query)).await;
    let messages = messages.map_err(|error| QueryError::new(purpose, &error))?;
    messages.iter().filter_map(document).map(|text| parse(purpose, text)).collect()
}

fn document(message: &SimpleQueryMessage) -> Option<&str> {
    match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    }
}

fn parse<T: DeserializeOwned>(purpose: &str, text: &str) -> Result<T, QueryError> {
    serde_json::from_str(text).map_err(|error| QueryError {
        purpose: purpose.to_owned(),
        message: format!("the result is not of the expected form ({error})"),
        sqlstate: None,
    })
}

/// Runs a statement that returns no rows.
pub(crate) async fn execute(
    client: &Client,
    purpose: &str,
    statement: &str,
) -> Result<(), QueryError> {
    let statement = sql::without_comments(statement);
    client.batch_execute(&statement).await.map_err(|error| QueryError::new(purpose, &error))
}
