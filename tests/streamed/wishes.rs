//! What others wish of the session.

use std::time::{Duration, Instant};

use super::follower::Follower;
use super::lazy;
use crate::support::TestPostgres;

const TABLES: &str = "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE quiet (id int);
    CREATE PUBLICATION highwater FOR TABLE a";

/// Far less than it takes without a wish: the stream asks by itself every second.
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
    eprintln!("a wished position: {:?} in the middle, {:?} at worst", times[10], times[19]);
    assert!(times[10] < SOON, "{times:?}");
    follower.stop().await;
}

#[tokio::test]
async fn a_look_is_taken_when_somebody_wishes_it() {
    let pg = TestPostgres::start().await;
    pg.execute(TABLES).await;
    let mut follower = Follower::start(&pg, vec![lazy("a")]).await;
    let definition = |follower: &Follower| {
        follower.table("a").rows.held().expect("rows are held").definition.clone()
    };
    let before = definition(&follower);
    // Neither message nor row tells of this.
    pg.execute("ALTER TABLE a ALTER id TYPE int USING -id").await;
    let began = Instant::now();
    follower.requests.refresh_catalog.notify_one();
    while definition(&follower) == before {
        follower.requests.report_position.notify_one();
        follower.take().await;
    }
    assert!(began.elapsed() < Duration::from_secs(3), "by itself it looks every five seconds");
    follower.stop().await;
}
