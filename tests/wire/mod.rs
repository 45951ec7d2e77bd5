//! Connections to a real PostgreSQL, and to what is not one.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic anywhere")]

mod login;
mod servers;
mod stream;
mod tls;
mod trouble;

use std::pin::pin;

use highwater::database;
use highwater::wire::{ConnectError, ConnectOptions, LibpqEnvironment, WalsenderConnection};

fn target(url: &str) -> ConnectOptions {
    ConnectOptions::parse(url, &LibpqEnvironment::default())
        .unwrap_or_else(|error| panic!("{url}: {error}"))
}

/// Opens a walsender connection and an SQL session, which must agree about the outcome.
async fn open(url: &str) -> Result<WalsenderConnection, ConnectError> {
    let target = target(url);
    let sql = ask(&target, "SELECT 1").await;
    let walsender = WalsenderConnection::connect(&target).await;
    match (&sql, &walsender) {
        (Ok(_), Ok(_)) => {}
        (Err(sql), Err(walsender)) => assert_eq!(sql.to_string(), walsender.to_string(), "{url}"),
        (sql, walsender) => panic!("{url}: SQL {sql:?}, walsender {:?}", walsender.as_ref().err()),
    }
    walsender
}

/// The sentence that says why both kinds of session are refused.
async fn refusal(url: &str) -> String {
    match open(url).await {
        Ok(_) => panic!("{url}: connected"),
        Err(error) => error.to_string(),
    }
}

/// The first value of an SQL session's answer.
async fn ask(target: &ConnectOptions, sql: &str) -> Result<String, ConnectError> {
    let (client, driver) = database::connect(target).await?;
    let query = async {
        let row = client.query_one(&format!("SELECT ({sql})::text"), &[]).await.unwrap();
        row.get::<_, String>(0)
    };
    let mut driver = pin!(driver);
    let answer = tokio::select! {
        answer = query => answer,
        () = &mut driver => panic!("the connection ended"),
    };
    drop(client);
    driver.await;
    Ok(answer)
}

/// The first value of a walsender's answer.
async fn value(connection: &mut WalsenderConnection, sql: &str) -> String {
    let rows = connection.simple_query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    rows[0][0].clone().unwrap()
}
