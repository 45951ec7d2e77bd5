//! The session pool: bounded, reused, and renewed after a lost connection.

use std::time::Duration;

use futures_util::future::join_all;
use highwater::database::loader::PgLoader;
use highwater::key::Key;
use highwater::load::{LoadError, Loader};
use highwater::source_status::PostmasterId;
use highwater::temp_postgres::{ShutdownMode, TempPostgresOptions};
use tokio::time::sleep;

use super::{described, error, load, loader, options};
use crate::support::TestPostgres;

const LOADER_SESSIONS: &str = "FROM pg_stat_activity WHERE application_name = 'highwater loader' \
                    AND datname = current_database()";

async fn count(pg: &TestPostgres) -> i64 {
    pg.value(&format!("SELECT count(*) {LOADER_SESSIONS}")).await
}

async fn until_sessions(pg: &TestPostgres, expected: i64) {
    while count(pg).await != expected {
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn no_more_sessions_are_opened_than_allowed() {
    let pg = TestPostgres::start().await;
    pg.execute("CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a VALUES (1)").await;
    let a = described(&pg, "a").await;
    let mut limits = options(&pg.socket_url());
    limits.max_connections = 3;
    let loader = PgLoader::new(limits);
    let other = pg.connect().await;
    // Each load now waits for the table in its own session.
    other.execute("BEGIN; LOCK TABLE a").await;
    let key = [Key::integer(1)];
    let loads = join_all((0..8).map(|_| loader.load(&a, &key)));
    let watching = async {
        while count(&pg).await < 3 {
            sleep(Duration::from_millis(5)).await;
        }
        sleep(Duration::from_millis(100)).await;
        let sessions = count(&pg).await;
        other.execute("COMMIT").await;
        sessions
    };
    let (found, sessions) = tokio::join!(loads, watching);
    assert_eq!(sessions, 3);
    assert!(found.iter().all(Result::is_ok), "{found:?}");
    assert_eq!(count(&pg).await, 3);
}

#[tokio::test]
async fn a_session_is_reused_even_after_an_error() {
    let pg = TestPostgres::start().await;
    pg.execute("CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a VALUES (1)").await;
    let (loader, a) = (loader(&pg), described(&pg, "a").await);
    let pid = || {
        pg.value::<i32>("SELECT pid FROM pg_stat_activity WHERE application_name = 'highwater loader' AND datname = current_database()")
    };
    load(&loader, &a, &["1"]).await;
    let first = pid().await;
    error(&loader, &a, r#""x""#).await;
    let absent = super::described_with(&pg, "a", |plan| plan.definition.push('x')).await;
    assert_eq!(error(&loader, &absent, "1").await, LoadError::Outdated);
    assert_eq!(load(&loader, &a, &["1"]).await[0].1, r#"{"id":1}"#);
    assert_eq!(pid().await, first);
    let state = format!("SELECT state {LOADER_SESSIONS}");
    assert_eq!(pg.value::<String>(&state).await, "idle");
}

#[tokio::test]
async fn a_lost_idle_session_is_replaced_transparently() {
    let mut pg = TestPostgres::private(TempPostgresOptions::default()).await;
    pg.execute("CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a VALUES (1)").await;
    let (loader, a) = (loader(&pg), described(&pg, "a").await);
    let key = [Key::integer(1)];
    join_all((0..4).map(|_| loader.load(&a, &key))).await;
    pg.execute(&format!("SELECT pg_terminate_backend(pid) {LOADER_SESSIONS}")).await;
    load(&loader, &a, &["1"]).await;
    pg.server().restart(ShutdownMode::Immediate).unwrap();
    load(&loader, &a, &["1"]).await;
    pg.server().stop(ShutdownMode::Fast).unwrap();
    let failure = error(&loader, &a, "1").await;
    assert!(matches!(failure, LoadError::Unavailable(_)), "{failure}");
    pg.server().restart(ShutdownMode::Fast).unwrap();
    load(&loader, &a, &["1"]).await;
    pg.reconnect().await;
    assert_eq!(count(&pg).await, 1);
}

#[tokio::test]
async fn sessions_with_a_server_that_is_left_are_closed_and_each_run_of_a_server_is_another() {
    let mut pg = TestPostgres::private(TempPostgresOptions::default()).await;
    pg.execute("CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a VALUES (1)").await;
    let (loader, a) = (loader(&pg), described(&pg, "a").await);
    let key = [Key::integer(1)];
    let first = loader.load(&a, &key).await.unwrap().at.server;
    let query = format!("SELECT {}", PostmasterId::EXPRESSION);
    assert_eq!(first, PostmasterId(pg.value(&query).await));
    assert_eq!(super::copied(&loader, &a).await.at.unwrap().server, first);
    assert_eq!(loader.snapshot().await.unwrap().server, first);
    // That of the copy is closed.
    until_sessions(&pg, 1).await;
    loader.leave(PostmasterId(first.0 + 1));
    assert_eq!(loader.load(&a, &key).await.unwrap().at.server, first);
    assert_eq!(count(&pg).await, 1);
    loader.leave(first);
    until_sessions(&pg, 0).await;
    pg.server().restart(ShutdownMode::Fast).unwrap();
    pg.reconnect().await;
    let second = loader.load(&a, &key).await.unwrap().at.server;
    assert_eq!(second, PostmasterId(pg.value(&query).await));
    assert_ne!(second, first);
}

#[tokio::test]
async fn a_copy_has_a_session_of_its_own_and_closes_it() {
    let pg = TestPostgres::start().await;
    pg.execute("CREATE TABLE a (id int PRIMARY KEY)").await;
    let a = described(&pg, "a").await;
    let mut limits = options(&pg.socket_url());
    limits.max_connections = 1;
    super::copied(&PgLoader::new(limits), &a).await;
    until_sessions(&pg, 0).await;
}

#[tokio::test]
async fn a_query_that_takes_too_long_is_cancelled() {
    let pg = TestPostgres::start().await;
    pg.execute("CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a VALUES (1)").await;
    let slow = super::described_with(&pg, "a", |plan| {
        plan.filter = Some("pg_sleep(id * 30) IS NOT NULL".into());
    })
    .await;
    let mut limits = options(&pg.socket_url());
    limits.statement_timeout = Duration::from_millis(50);
    let failure = error(&PgLoader::new(limits.clone()), &slow, "1").await;
    assert!(matches!(failure, LoadError::Unavailable(_)), "{failure}");
    // The loader abandons a server that does not respond at all.
    limits.statement_timeout = Duration::from_mins(1);
    limits.silence_timeout = Duration::from_millis(300);
    let failure = error(&PgLoader::new(limits.clone()), &slow, "1").await;
    assert!(
        matches!(&failure, LoadError::Unavailable(text) if text.contains("nothing")),
        "{failure}"
    );
    let copied = PgLoader::new(limits).copy(&slow, &mut super::Received::default()).await;
    assert!(matches!(copied, Err(LoadError::Unavailable(_))), "{copied:?}");
}
