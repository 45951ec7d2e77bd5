//! Faults of the network, the server, the slot and the process: no change is missed, no change is reported
//! that was not committed, and the reason of every outage is reported.

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

/// A private server with table `a`, on which no other test's transactions affect the slots.
async fn quiet(options: TempPostgresOptions) -> TestPostgres {
    let pg = TestPostgres::private(options).await;
    pg.execute("CREATE TABLE a (id int PRIMARY KEY); CREATE PUBLICATION highwater FOR TABLE a")
        .await;
    pg
}

/// The changes that a poll reports for the insertion of the rows `ids` of table `a`.
fn inserted(ids: std::ops::RangeInclusive<i32>) -> Vec<String> {
    ids.map(|id| format!("insert a {id}")).collect()
}
