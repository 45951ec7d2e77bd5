//! Connections to real PostgreSQL servers, and to servers of other kinds.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic anywhere")]

mod login;
mod not_postgres;
mod servers;
mod stream;
mod tls;

use std::pin::pin;

use highwater::database;
use highwater::wire::{ConnectError, ConnectOptions, LibpqEnvironment, WalsenderConnection};

fn target(url: &str) -> ConnectOptions {
    ConnectOptions::parse(url, &LibpqEnvironment::default())
        .unwrap_or_else(|error| panic!("{url}: {error}"))
}

/// Opens a walsender connection and an SQL session, and asserts that they agree about the outcome.
async fn open(url: &str) -> Result<WalsenderConnection, ConnectError> {
    let target = target(url);
    let sql = query_sql(&target, "SELECT 1").await;
    let walsender = WalsenderConnection::connect(&target).await;
    match (&sql, &walsender) {
        (Ok(_), Ok(_)) => {}
        (Err(sql), Err(walsender)) => assert_eq!(sql.to_string(), walsender.to_string(), "{url}"),
        (sql, walsender) => panic!("{url}: SQL {sql:?}, walsender {:?}", walsender.as_ref().err()),
    }
    walsender
}

/// The error with which both kinds of session are rejected.
async fn connect_error(url: &str) -> String {
    match open(url).await {
        Ok(_) => panic!("{url}: connected"),
        Err(error) => error.to_string(),
    }
}

/// Runs a query in an SQL session, and returns the first value.
async fn query_sql(target: &ConnectOptions, sql: &str) -> Result<String, ConnectError> {
    let (client, driver) = database::connect(target).await?;
    let query = async {
        let row = client.query_one(&format!("SELECT ({sql})::text"), &[]).await.unwrap();
        row.get::<_, String>(0)
    };
    let mut driver = pin!(driver);
    let value = tokio::select! {
        value = query => value,
        () = &mut driver => panic!("the connection ended"),
    };
    drop(client);
    driver.await;
    Ok(value)
}

/// Runs a query on a walsender connection, and returns the first value.
async fn value(connection: &mut WalsenderConnection, sql: &str) -> String {
    let rows = connection.simple_query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    rows[0][0].clone().unwrap()
}
