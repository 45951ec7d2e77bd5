//! Requests to the session: a position report, a catalog refresh.

use std::time::{Duration, Instant};

use super::follower::Follower;
use super::lazy;
use crate::support::TestPostgres;

const TABLES: &str = "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE quiet (id int);
    CREATE PUBLICATION highwater FOR TABLE a";

/// Much less than without a request: by itself the session asks for a position every second.
const SOON: Duration = Duration::from_millis(100);

#[tokio::test]
async fn a_position_on_a_quiet_server_is_reached_within_a_round_trip() {
    let pg = TestPostgres::start().await;
    pg.execute(TABLES).await;
    let mut follower = Follower::start(&pg, vec![]).await;
    follower.catch_up(&pg).await;
    let mut times = Vec::new();
    for _ in 0..20 {
        pg.execute("INSERT INTO quiet VALUES (1)").await;
        let began = Instant::now();
        follower.catch_up(&pg).await;
        times.push(began.elapsed());
    }
    times.sort();
    eprintln!("a requested position: {:?} in the middle, {:?} at worst", times[10], times[19]);
    assert!(times[10] < SOON, "{times:?}");
    follower.stop().await;
}

#[tokio::test]
async fn the_catalog_is_refreshed_on_request() {
    let pg = TestPostgres::start().await;
    pg.execute(TABLES).await;
    let mut follower = Follower::start(&pg, vec![lazy("a")]).await;
    let definition = |follower: &Follower| {
        follower.table("a").rows.held().expect("rows are cached").definition.clone()
    };
    let before = definition(&follower);
    // Neither a logical message nor a row change reports this.
    pg.execute("ALTER TABLE a ALTER id TYPE int USING -id").await;
    let began = Instant::now();
    follower.requests.refresh_catalog.notify_one();
    while definition(&follower) == before {
        follower.requests.report_position.notify_one();
        follower.take().await;
    }
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "without a request the refresh takes five seconds"
    );
    follower.stop().await;
}
