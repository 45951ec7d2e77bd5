//! Clients whose copies depend on responses only, while concurrent writers change everything.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;

use crate::support::{Highwater, LocalCopy, TestPostgres, TestSession};

const TABLES: &str = "
    CREATE TABLE a (id int PRIMARY KEY, v int);
    CREATE TABLE b (id int PRIMARY KEY, v int);
    CREATE TABLE c (name text, part int, v int, PRIMARY KEY (part, name));
    CREATE PUBLICATION highwater FOR TABLE a, b, c;
";

/// A writer's random statements.
struct StatementRng(fastrand::Rng);

impl StatementRng {
    fn id(&mut self) -> i32 {
        self.0.i32(1..200)
    }

    /// A statement that changes some rows.
    fn statement(&mut self) -> String {
        let (id, other) = (self.id(), self.id());
        match self.0.u32(0..10) {
            0..3 => format!(
                "INSERT INTO c VALUES ('n{id}', {}, 0) ON CONFLICT (part, name) DO UPDATE SET v = c.v + 1",
                other % 5
            ),
            3 => format!("DELETE FROM c WHERE part = {}", other % 5),
            4 => format!(
                "UPDATE c SET name = name || 'x' WHERE name = 'n{id}' AND NOT EXISTS (SELECT FROM c d WHERE d.part = c.part AND d.name = c.name || 'x')"
            ),
            5 => format!("UPDATE c SET v = v + 1 WHERE part = {}", other % 5),
            6 => format!(
                "SAVEPOINT s; INSERT INTO c VALUES ('lost{id}', 1, 1); ROLLBACK TO s; DELETE FROM c WHERE name = 'n{id}'"
            ),
            7 => format!(
                "INSERT INTO c SELECT 'g' || g, {}, 0 FROM generate_series({id}, {id} + 40) g ON CONFLICT DO NOTHING",
                other % 5
            ),
            _ => self.pair(),
        }
    }

    /// The same change of two tables: a client that sees only one of them has seen half a transaction.
    fn pair(&mut self) -> String {
        let (id, other) = (self.id(), self.id());
        match self.0.u32(0..4) {
            0 => format!("DELETE FROM a WHERE id = {id}; DELETE FROM b WHERE id = {id}"),
            1 => format!("UPDATE a SET id = 1000 + {id} WHERE id = {id} AND NOT EXISTS (SELECT FROM a WHERE id = 1000 + {id});
                          UPDATE b SET id = 1000 + {id} WHERE id = {id} AND NOT EXISTS (SELECT FROM b WHERE id = 1000 + {id})"),
            _ => format!("INSERT INTO a SELECT g, 0 FROM generate_series(least({id}, {other}), least({id}, {other}) + 5) g ON CONFLICT (id) DO UPDATE SET v = a.v + 1;
                          INSERT INTO b SELECT g, 0 FROM generate_series(least({id}, {other}), least({id}, {other}) + 5) g ON CONFLICT (id) DO UPDATE SET v = b.v + 1"),
        }
    }
}

async fn write(session: &TestSession, seed: u64, until: &AtomicBool) -> usize {
    let mut rng = StatementRng(fastrand::Rng::with_seed(seed));
    let mut commits = 0;
    while !until.load(Ordering::Relaxed) {
        let statements: Vec<String> = (0..rng.0.usize(1..4)).map(|_| rng.statement()).collect();
        // The lock serializes the writers, so that pairs stay equal and the test causes no deadlocks.
        let mut sql = format!("BEGIN; SELECT pg_advisory_xact_lock(1); {};", statements.join("; "));
        if rng.0.u32(0..60) == 0 {
            sql.push_str("TRUNCATE c;");
        }
        sql.push_str(if rng.0.u32(0..8) == 0 { "ROLLBACK" } else { "COMMIT" });
        session.execute(&sql).await;
        commits += 1;
    }
    commits
}

/// Polls until `until` is set.
async fn follow(
    copy: &mut LocalCopy,
    service: &Highwater,
    pause: Duration,
    until: &AtomicBool,
    pairs: bool,
) {
    while !until.load(Ordering::Relaxed) {
        copy.catch_up(service).await;
        if pairs {
            assert_eq!(copy.ids.get("a"), copy.ids.get("b"), "half a transaction was visible");
        }
        tokio::time::sleep(pause).await;
    }
}

/// Runs writers and clients for some seconds; then every copy equals the database. With `pairs`, the two
/// tables that every transaction changes alike are equal in every copy at all times.
async fn run(settings: &[(&'static str, &str)], pairs: bool) {
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let pg = TestPostgres::start().await;
    pg.execute(TABLES).await;
    let service = Highwater::start_with(&pg, settings).await;
    let mut copies = Vec::new();
    for limit in [1, 7, 1000, 10_000] {
        copies.push(LocalCopy::new(&pg, &["a", "b", "c"], limit).await);
        copies.push(LocalCopy::new(&pg, &["c"], limit).await);
    }
    let sessions = join_all((0..3).map(|_| pg.connect())).await;
    let stop = AtomicBool::new(false);
    let writers = join_all(sessions.iter().zip(seed..).map(|(s, seed)| write(s, seed, &stop)));
    let followers = join_all(copies.iter_mut().enumerate().map(|(n, copy)| {
        let pause = Duration::from_millis([0, 3, 40, 300][n % 4]);
        follow(copy, &service, pause, &stop, pairs)
    }));
    let clock = async {
        tokio::time::sleep(Duration::from_secs(8)).await;
        stop.store(true, Ordering::Relaxed);
    };
    let (commits, _, ()) = tokio::join!(writers, followers, clock);
    service.applied(&pg).await;
    for copy in &mut copies {
        copy.catch_up(&service).await;
        copy.assert_equals_database().await;
        eprintln!("{} polls, {} changes, {} resets", copy.polls, copy.changes, copy.resets);
    }
    assert!(
        commits.iter().sum::<usize>() > 100,
        "{commits:?} commits are too few for a meaningful test"
    );
    assert!(copies.iter().map(|copy| copy.changes).sum::<usize>() > 1000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_client_ever_sees_half_a_commit() {
    run(&[], true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_equal_the_database_although_every_limit_is_exceeded() {
    run(&[("log.max_changes", "150"), ("log.max_transaction_changes", "60")], false).await;
}
