//! When the world breaks: the network, the server, the slot, the process. Nothing is missed, nothing
//! is told that did not happen, and who waits is told what for.

mod blocked;
mod crash;
mod failover;
mod failover_slot;
mod in_progress;
mod instances;
mod large;
mod names;
mod network;
mod rows;
mod server;
mod slot;

use crate::support::TestPostgres;
use highwater::temp_postgres::TempPostgresOptions;

/// A server without neighbours, whose slots reach back to nobody else's transactions, with table `a`.
async fn quiet(options: TempPostgresOptions) -> TestPostgres {
    let pg = TestPostgres::private(options).await;
    pg.execute("CREATE TABLE a (id int PRIMARY KEY); CREATE PUBLICATION highwater FOR TABLE a")
        .await;
    pg
}

/// The rows `ids` of table `a` as a poll tells their insertion.
fn inserted(ids: std::ops::RangeInclusive<i32>) -> Vec<String> {
    ids.map(|id| format!("insert a {id}")).collect()
}
