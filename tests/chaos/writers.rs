//! Writers: concurrent transactions with everything that a transaction can contain.

use std::sync::Arc;
use std::time::Duration;

use super::counters::Count;
use super::scenario::ChaosScenario;
use super::sql_client::{SqlClient, SqlError};

/// Text keys that need escaping in URLs, SQL or JSON.
pub(crate) const NAMES: &[&str] = &[
    "a",
    "b,c",
    "d'e",
    "f\"g",
    "h/i",
    "ü",
    "日本",
    "😀",
    "%2C",
    " space ",
    "\\back",
    "{}",
    "null",
    "line\nbreak",
    "?x=1&y#z",
    "+",
    ".",
    "..",
    "\u{2028}",
    "\u{1}",
];

/// Below `log.max_transaction_changes`, above `logical_decoding_work_mem`.
const MANY: i32 = 600;
/// Above `log.max_transaction_changes`.
const TOO_MANY: i32 = 2_500;

/// One step of a transaction.
struct WriterPart {
    sql: String,
    /// Advisory locks of the tables in which it inserts or deletes rows: one transaction at a time, so that a
    /// counter drawn early is not stored late.
    locks: &'static [i32],
}

/// A writer's random choices.
pub(crate) struct WriterRng(pub(crate) fastrand::Rng);

impl WriterRng {
    fn id(&mut self) -> i32 {
        self.0.i32(1..150)
    }

    /// A random key as an SQL literal.
    fn name(&mut self) -> String {
        format!("'{}'", NAMES[self.0.usize(..NAMES.len())].replace('\'', "''"))
    }

    fn part(&mut self) -> WriterPart {
        let (sql, locks): (String, &'static [i32]) = match self.0.u32(0..100) {
            0..18 => (self.plain(), &[1]),
            18..22 => (self.child(), &[1]),
            22..40 => (self.pair(), &[2]),
            40..52 => (self.words(), &[3]),
            52..72 => self.toast(),
            72..80 => (self.parts(), &[5]),
            80..86 => self.shape(),
            86..90 => (self.simple("again"), &[7]),
            90..94 => (self.simple("joins"), &[8]),
            94..97 => (self.simple("\"odd.name\""), &[9]),
            97 => (self.nokey(), &[]),
            98 => (self.truncate(), &[1, 2, 3, 4]),
            _ => (self.big(), &[1]),
        };
        WriterPart { sql, locks }
    }

    fn plain(&mut self) -> String {
        let (id, n) = (self.id(), self.0.i32(0..12));
        match self.0.u32(0..6) {
            0 => format!("DELETE FROM plain WHERE id BETWEEN {id} AND {id} + {n}"),
            1 => format!(
                "UPDATE plain SET id = id + 1000, n = nextval('ticks') WHERE id = {id} AND NOT EXISTS (SELECT FROM plain WHERE id = {id} + 1000)"
            ),
            2 => format!(
                "UPDATE plain SET id = id - 1000, n = nextval('ticks') WHERE id = {id} + 1000 AND NOT EXISTS (SELECT FROM plain WHERE id = {id})"
            ),
            _ => format!(
                "INSERT INTO plain SELECT g, nextval('ticks'), 'p' FROM generate_series({id}, {id} + {n}) g ON CONFLICT (id) DO UPDATE SET n = nextval('ticks')"
            ),
        }
    }

    fn child(&mut self) -> String {
        let id = self.id();
        format!(
            "INSERT INTO child SELECT id, nextval('ticks') FROM plain WHERE id BETWEEN {id} AND {id} + 3 ON CONFLICT (id) DO UPDATE SET n = nextval('ticks')"
        )
    }

    fn pair(&mut self) -> String {
        let (name, other, part) = (self.name(), self.name(), self.0.i32(0..4));
        match self.0.u32(0..7) {
            0 => format!("DELETE FROM pair WHERE part = {part} AND name IN ({name}, {other})"),
            1 => format!(
                "UPDATE pair SET name = {other}, n = nextval('ticks') WHERE part = {part} AND name = {name} AND NOT EXISTS (SELECT FROM pair WHERE part = {part} AND name = {other})"
            ),
            2 => format!("UPDATE pair SET n = nextval('ticks') WHERE part = {part}"),
            3 => format!(
                "UPDATE pair SET part = 9, n = nextval('ticks') WHERE part = {part} AND name = {name} AND NOT EXISTS (SELECT FROM pair WHERE part = 9 AND name = {name})"
            ),
            _ => format!(
                "INSERT INTO pair VALUES ({name}, {part}, nextval('ticks'), repeat('x', {part})), ({name} || 'x', {part}, nextval('ticks'), NULL) ON CONFLICT (part, name) DO UPDATE SET n = nextval('ticks')"
            ),
        }
    }

    fn words(&mut self) -> String {
        let (name, other) = (self.name(), self.name());
        match self.0.u32(0..4) {
            0 => format!("DELETE FROM words WHERE name IN ({name}, {other})"),
            1 => format!(
                "UPDATE words SET name = {other}, n = nextval('ticks') WHERE name = {name} AND NOT EXISTS (SELECT FROM words WHERE name = {other})"
            ),
            _ => format!(
                "INSERT INTO words VALUES ({name}, nextval('ticks')) ON CONFLICT (name) DO UPDATE SET n = nextval('ticks')"
            ),
        }
    }

    /// `big` is stored out of line: an UPDATE that does not assign it does not send it.
    fn toast(&mut self) -> (String, &'static [i32]) {
        let table = if self.0.bool() { "toast" } else { "toasty" };
        let (id, size) = (self.id() % 60, self.0.i32(70..120));
        let big = format!(
            "(SELECT string_agg(md5((g + {id})::text), '') FROM generate_series(1, {size}) g)"
        );
        match self.0.u32(0..9) {
            0..3 => (
                format!(
                    "UPDATE {table} SET note = 'n' || {size}, n = nextval('ticks') WHERE id BETWEEN {id} AND {id} + 5"
                ),
                &[],
            ),
            3 => (
                format!("UPDATE {table} SET big = {big}, n = nextval('ticks') WHERE id = {id}"),
                &[],
            ),
            4 => (
                format!("UPDATE {table} SET big = 'short', n = nextval('ticks') WHERE id = {id}"),
                &[],
            ),
            5 => (
                format!(
                    "UPDATE {table} SET id = id + 100, n = nextval('ticks') WHERE id = {id} AND NOT EXISTS (SELECT FROM {table} WHERE id = {id} + 100)"
                ),
                &[4],
            ),
            6 => (format!("DELETE FROM {table} WHERE id = {id} OR id = {id} + 100"), &[4]),
            7 => (
                format!(
                    "INSERT INTO {table} VALUES ({id}, nextval('ticks'), {big}, 'new') ON CONFLICT (id) DO UPDATE SET n = nextval('ticks'), note = 'old'; UPDATE {table} SET note = 'after', n = nextval('ticks') WHERE id = {id}"
                ),
                &[4],
            ),
            _ => (
                format!(
                    "INSERT INTO {table} VALUES ({id}, nextval('ticks'), {big}, NULL) ON CONFLICT (id) DO UPDATE SET n = nextval('ticks'), big = excluded.big"
                ),
                &[4],
            ),
        }
    }

    /// Rows move between partitions.
    fn parts(&mut self) -> String {
        let id = self.id();
        match self.0.u32(0..5) {
            0 => format!("DELETE FROM parts WHERE id BETWEEN {id} AND {id} + 9"),
            1 => format!(
                "UPDATE parts SET id = id + 100, n = nextval('ticks') WHERE id = {id} AND NOT EXISTS (SELECT FROM parts WHERE id = {id} + 100)"
            ),
            2 => format!("UPDATE parts SET n = nextval('ticks') WHERE id > {id}"),
            3 => format!(
                "INSERT INTO parts_3 VALUES (200 + {id} % 100, nextval('ticks')) ON CONFLICT (id) DO UPDATE SET n = nextval('ticks')"
            ),
            _ => format!(
                "INSERT INTO parts SELECT g, nextval('ticks') FROM generate_series({id}, {id} + 3) g ON CONFLICT (id) DO UPDATE SET n = nextval('ticks')"
            ),
        }
    }

    fn shape(&mut self) -> (String, &'static [i32]) {
        let table = if self.0.bool() { "shape" } else { "form" };
        let (id, n) = (self.id() % 60, self.0.i32(0..9));
        match self.0.u32(0..4) {
            0 => (format!("DELETE FROM {table} WHERE id = {id}"), &[6]),
            1 => (
                format!(
                    "UPDATE {table} SET n = nextval('ticks'), amount = amount + {n}.{n} WHERE id >= {id}"
                ),
                &[],
            ),
            _ => (
                format!(
                    "INSERT INTO {table} (id, n, m, amount) VALUES ({id}, nextval('ticks'), (enum_range(NULL::mood))[1 + {n} % 3], {n}.50) ON CONFLICT (id) DO UPDATE SET n = nextval('ticks'), m = excluded.m"
                ),
                &[6],
            ),
        }
    }

    fn simple(&mut self, table: &str) -> String {
        let id = self.id() % 50;
        match self.0.u32(0..3) {
            0 => format!("DELETE FROM {table} WHERE id BETWEEN {id} AND {id} + 2"),
            _ => format!(
                "INSERT INTO {table} (id, n) VALUES ({id}, nextval('ticks')) ON CONFLICT (id) DO UPDATE SET n = nextval('ticks')"
            ),
        }
    }

    fn nokey(&mut self) -> String {
        let n = self.id();
        match self.0.u32(0..3) {
            0 => "DELETE FROM nokey WHERE n < (SELECT max(n) - 500 FROM nokey)".into(),
            1 => format!("UPDATE nokey SET n = nextval('ticks') WHERE n % 150 = {n}"),
            _ => "INSERT INTO nokey VALUES (nextval('ticks'))".into(),
        }
    }

    fn truncate(&mut self) -> String {
        let what = ["words", "plain CASCADE", "toast, pair", "child", "toasty"];
        format!("TRUNCATE {}", what[self.0.usize(..what.len())])
    }

    fn big(&mut self) -> String {
        let many = if self.0.bool() { MANY } else { TOO_MANY };
        match self.0.u32(0..3) {
            0 => format!("DELETE FROM plain WHERE id BETWEEN 5000 AND 5000 + {many}"),
            1 => format!(
                "UPDATE plain SET n = nextval('ticks') WHERE id BETWEEN 5000 AND 5000 + {many}"
            ),
            _ => format!(
                "INSERT INTO plain SELECT g, nextval('ticks'), repeat('b', 100) FROM generate_series(5000, 5000 + {many}) g ON CONFLICT (id) DO UPDATE SET n = nextval('ticks')"
            ),
        }
    }

    /// A transaction without its COMMIT or ROLLBACK, which the caller appends.
    fn transaction(&mut self) -> String {
        let parts: Vec<WriterPart> = (0..self.0.usize(1..5)).map(|_| self.part()).collect();
        let mut locks: Vec<i32> = parts.iter().flat_map(|part| part.locks).copied().collect();
        locks.sort_unstable();
        locks.dedup();
        let locks = locks.iter().map(|lock| format!("SELECT pg_advisory_xact_lock({lock});"));
        let parts = parts.iter().zip(0..).map(|(WriterPart { sql, .. }, number)| match self.0.u32(0..9) {
            0 => format!("SAVEPOINT s{number}; {sql}; ROLLBACK TO s{number};"),
            1 => format!(
                "SAVEPOINT s{number}; {sql}; SAVEPOINT t; {sql}; ROLLBACK TO t; RELEASE s{number};"
            ),
            2 => format!("SAVEPOINT s{number}; {sql}; RELEASE s{number};"),
            _ => format!("{sql};"),
        });
        ["BEGIN;".to_owned()].into_iter().chain(locks).chain(parts).collect()
    }
}

/// Writes to all tables except those of [`transfer`] during fault phases.
pub(crate) async fn write(scenario: Arc<ChaosScenario>, number: u64) {
    let (mut session, mut rng) = (SqlClient::new(&scenario), WriterRng(scenario.rng(number)));
    let mut prepared = 0;
    while scenario.begin_write().await {
        let sql = rng.transaction();
        let outcome = match rng.0.u32(0..20) {
            0..2 => session.execute(&(sql + "ROLLBACK")).await,
            2..4 => {
                prepared += 1;
                let name = format!("w{number} {prepared}");
                two_phases(&mut session, &mut rng, &sql, &name).await
            }
            _ => session.execute(&(sql + "COMMIT")).await,
        };
        scenario.end_write();
        record_outcome(&scenario, &outcome).await;
        scenario.sleep(Duration::from_millis(rng.0.u64(0..40))).await;
    }
}

/// Two-phase commit. A transaction that a fault leaves prepared ends in the quiescent phase.
async fn two_phases(
    session: &mut SqlClient,
    rng: &mut WriterRng,
    sql: &str,
    name: &str,
) -> Result<(), SqlError> {
    session.execute(&format!("{sql}PREPARE TRANSACTION '{name}'")).await?;
    tokio::time::sleep(Duration::from_millis(rng.0.u64(0..50))).await;
    let end = if rng.0.u32(0..3) == 0 { "ROLLBACK" } else { "COMMIT" };
    session.execute(&format!("{end} PREPARED '{name}'")).await
}

/// Commits or rolls back every prepared transaction.
pub(crate) async fn end_prepared(
    session: &mut SqlClient,
    rng: &mut fastrand::Rng,
) -> Result<(), SqlError> {
    for row in session.query("SELECT gid FROM pg_prepared_xacts ORDER BY gid").await? {
        let end = if rng.bool() { "ROLLBACK" } else { "COMMIT" };
        session.execute(&format!("{end} PREPARED '{}'", row.get::<_, &str>(0))).await?;
    }
    Ok(())
}

/// Counts a commit; waits if the server is unavailable.
pub(crate) async fn record_outcome(scenario: &ChaosScenario, outcome: &Result<(), SqlError>) {
    match outcome {
        Ok(()) => scenario.counters.add(Count::Commits, 1),
        Err(SqlError::Unavailable) => scenario.sleep(Duration::from_millis(100)).await,
        Err(SqlError::Rejected(_)) => {}
    }
}

/// Moves amounts between `plus` and `minus`, which sum to zero in every commit. Rows 1 to 10 always
/// exist.
pub(crate) async fn transfer(scenario: Arc<ChaosScenario>, number: u64) {
    let (mut session, mut rng) = (SqlClient::new(&scenario), scenario.rng(500 + number));
    while scenario.begin_write().await {
        let (a, b, x, v) = (rng.i32(1..=10), rng.i32(1..=10), rng.i32(11..60), rng.i32(-9..9));
        let plus = format!("UPDATE plus SET v = v + {v}, n = nextval('ticks') WHERE id = {a};");
        let minus = format!("UPDATE minus SET v = v - {v}, n = nextval('ticks') WHERE id = {b};");
        let sql = match rng.u32(0..8) {
            0 => format!(
                "BEGIN; SELECT pg_advisory_xact_lock(10); WITH i AS (INSERT INTO plus VALUES ({x}, {v}, nextval('ticks')) ON CONFLICT DO NOTHING RETURNING v) UPDATE minus SET v = minus.v - i.v, n = nextval('ticks') FROM i WHERE id = {b}; COMMIT"
            ),
            1 => format!(
                "BEGIN; SELECT pg_advisory_xact_lock(10); WITH d AS (DELETE FROM plus WHERE id = {x} RETURNING v) UPDATE minus SET v = minus.v + d.v, n = nextval('ticks') FROM d WHERE id = {b}; COMMIT"
            ),
            2 => format!("BEGIN; {plus} ROLLBACK"),
            3 => format!("BEGIN; {plus} SAVEPOINT s; {plus} ROLLBACK TO s; {minus} COMMIT"),
            _ => format!("BEGIN; {plus} {minus} COMMIT"),
        };
        let outcome = session.execute(&sql).await;
        scenario.end_write();
        record_outcome(&scenario, &outcome).await;
        scenario.sleep(Duration::from_millis(rng.u64(0..40))).await;
    }
}
