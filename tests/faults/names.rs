//! The server's host name resolves to another address.

use std::process::Stdio;
use std::time::Instant;

use highwater::temp_postgres::TempPostgresOptions;

use super::{inserted, quiet};
use crate::support::{Highwater, Name, Proxy};

/// Another loopback address: all of 127.0.0.0/8 is this machine.
const FIRST: &str = "127.0.0.1";
const SECOND: &str = "127.0.0.2";

#[tokio::test]
async fn a_host_name_is_resolved_again_for_every_connection() {
    let pg = quiet(TempPostgresOptions::default()).await;
    let before = Proxy::start(&pg).await;
    let port = before.address().port();
    let after = Proxy::start_at(&pg, &format!("{SECOND}:{port}")).await;
    let name = Name::new();
    name.resolve_to(FIRST);

    let url =
        format!("postgres://postgres@{}:{port}/{}?sslmode=disable", Name::NAME, pg.database());
    let names = name.environment();
    let mut settings: Vec<(&str, &str)> =
        names.iter().map(|(name, value)| (*name, value.as_str())).collect();
    settings.push(("HIGHWATER_TABLES__A__ROWS", "lazy"));
    let (hw, _program) =
        Highwater::program_at(&url, pg.database(), &settings, Stdio::null(), None).await;
    let start = hw.version().await;
    pg.execute("INSERT INTO a VALUES (1)").await;
    assert_eq!(hw.changes_since(&pg, "a", &start).await.changes, inserted(1..=1));
    assert_eq!((before.replication_connections(), after.replication_connections()), (1, 0));

    name.resolve_to(SECOND);
    before.cut();
    let moved = Instant::now();
    pg.execute("INSERT INTO a VALUES (2)").await;
    let poll = hw.changes_since(&pg, "a", &start).await;
    eprintln!("received from the new address after {:?}", moved.elapsed());
    assert_eq!((poll.reset.len(), poll.changes), (0, inserted(1..=2)));
    assert_eq!(after.replication_connections(), 1);
    let row = hw.fetch("/v1/tables/a/rows/2").await;
    assert_eq!((row.status, &row.body["id"]), (200, &2.into()), "the loader's sessions move, too");

    name.resolve_to("");
    after.cut();
    hw.until_disconnected("the host name can't be resolved").await;
    assert_eq!(hw.poll(&format!("after={start}")).await.changes, inserted(1..=2), "reads continue");
    before.heal();
    name.resolve_to(FIRST);
    pg.execute("INSERT INTO a VALUES (3)").await;
    let poll = hw.changes_since(&pg, "a", &start).await;
    assert_eq!((poll.reset.len(), poll.changes), (0, inserted(1..=3)));
    assert_eq!(before.replication_connections(), 2);
}
