//! Clients that believe only what they are told, each in a way and at a speed of its own.

mod push;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use highwater::lsn::Lsn;
use serde_json::Value;

use self::push::Push;
use super::answer::{PollAnswer, PollTrouble, epoch, fetch};
use super::instance::Instance;
use super::knowledge::Knowledge;
use super::link::{ProxiedLink, Refusal};
use super::schema::{PRELOADED, RowSet, rows_of};
use super::tally::Count;
use super::truth::{self, Truth};
use super::world::{ChaosPhase, ChaosScenario};

/// PostgreSQL sends a commit to the change stream a moment before new queries see it: who reads the
/// database itself after a reset waits for that moment.
const MOMENT: Duration = Duration::from_millis(100);
/// How long a mirror may take to reach the goal of a calm.
const CATCH_UP_TIME_MAX: Duration = Duration::from_mins(1);
/// Without the event trigger, a changed definition of these is found within seconds, or after 50 times as
/// long as a look at the catalog takes, which is some 0.3 s while everything else runs.
const DEFINITION_TIME_MAX: Duration = Duration::from_secs(40);
const REDEFINED: &[&str] = &["shape", "form", "parts", "again", "again_b", "joins"];
/// With it, tables that come or get another name are known after the look it asks for,
const LOOK_TIME_MAX: Duration = Duration::from_secs(4);
/// …and these do. All others must be right at once.
const COME_AND_GO: &[&str] = &["again", "again_b", "joins"];

/// How it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientChannel {
    /// By asking, with this `wait`.
    Poll(&'static str),
    Sse,
    Socket,
}

/// Where it reads what was reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadSource {
    Database,
    /// All its tables at one version.
    Store,
    /// Each table page by page.
    Pages,
}

/// Whom it asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whom {
    One(usize),
    /// Another one at each poll.
    InTurn,
}

/// A kind of mirror.
#[derive(Clone, Debug)]
pub(crate) struct ClientKind {
    pub(crate) name: &'static str,
    pub(crate) channel: ClientChannel,
    pub(crate) source: ReadSource,
    pub(crate) whom: Whom,
    /// `include=rows`.
    pub(crate) rows: bool,
    pub(crate) limit: usize,
    /// Between polls.
    pub(crate) pause_millis: Range<u64>,
}

/// All there are.
pub(crate) fn kinds() -> Vec<ClientKind> {
    use {ClientChannel::*, ReadSource::*, Whom::*};
    let kind = |name, channel, source, whom, rows, limit, pause_millis| ClientKind {
        name,
        channel,
        source,
        whom,
        rows,
        limit,
        pause_millis,
    };
    vec![
        kind("ids by polling", Poll("0"), Database, One(0), false, 7, 0..20),
        kind("ids by long polls", Poll("2s"), Database, One(1), false, 1000, 0..1),
        kind("rows with changes", Poll("0"), Database, One(0), true, 100, 0..100),
        kind("rows with changes, of the other", Poll("1s"), Database, One(1), true, 1000, 0..300),
        kind("whole tables, then changes", Poll("0"), Store, One(0), true, 200, 0..50),
        kind("whole tables, then long polls", Poll("1s"), Store, One(1), true, 10_000, 0..1),
        kind("pages, then changes", Poll("0"), Pages, One(1), true, 50, 0..100),
        kind("events", Sse, Database, One(0), false, 50, 0..1),
        kind("events with rows", Sse, Store, One(0), true, 500, 0..1),
        kind("a socket", Socket, Database, One(1), false, 1000, 0..1),
        kind("in turn", Poll("0"), Database, InTurn, false, 100, 0..30),
        kind("slow", Poll("0"), Database, One(1), false, 1000, 3000..9000),
    ]
}

/// One mirror.
pub(crate) struct ReplicaClient {
    kind: ClientKind,
    world: Arc<ChaosScenario>,
    link: ProxiedLink,
    dice: fastrand::Rng,
    knowledge: Knowledge,
    push: Option<Push>,
    turn: usize,
    has_more: bool,
}

impl ReplicaClient {
    /// Knows nothing yet.
    pub(crate) fn new(world: &Arc<ChaosScenario>, kind: ClientKind, number: u64) -> Self {
        let knowledge = Knowledge::new(kind.source == ReadSource::Store, !world.has_trigger);
        Self {
            kind,
            world: world.clone(),
            link: ProxiedLink::new(world),
            dice: world.dice(1000 + number),
            knowledge,
            push: None,
            turn: 0,
            has_more: false,
        }
    }

    /// Follows until the end.
    pub(crate) async fn run(mut self) {
        let mut phases = self.world.phase.subscribe();
        let mut calms = 0;
        loop {
            let phase = phases.borrow_and_update().clone();
            match phase {
                ChaosPhase::End => return,
                ChaosPhase::Calm { number, goal, truth } if number > calms => {
                    calms = number;
                    self.settle(goal, &truth).await;
                    self.world.was_compared(self.kind.name);
                }
                ChaosPhase::Calm { .. } => drop(phases.changed().await),
                ChaosPhase::Storm | ChaosPhase::Pause => {
                    self.step().await;
                    let pause =
                        Duration::from_millis(self.dice.u64(self.kind.pause_millis.clone()));
                    if !pause.is_zero() && !self.has_more {
                        let _ = tokio::time::timeout(pause, phases.changed()).await;
                        phases.mark_changed();
                    }
                }
            }
        }
    }

    /// Catches up with the goal, and compares.
    async fn settle(&mut self, goal: Lsn, truth: &Truth) {
        let began = Instant::now();
        let mut reached = None;
        loop {
            self.step().await;
            if self.world.has_ended() {
                return;
            }
            let is_there = self.knowledge.position() >= goal
                && !self.has_more
                && self.knowledge.stale.is_empty();
            if is_there {
                let reached = *reached.get_or_insert_with(Instant::now);
                let Err((table, difference)) = self.compare(truth) else { return };
                if reached.elapsed() >= self.grace(table) {
                    let at = self.knowledge.version.as_deref().unwrap_or_default();
                    return self.fail(&format!("{difference} (at version {at})"));
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            } else if began.elapsed() > CATCH_UP_TIME_MAX {
                let (at, stale) = (&self.knowledge.version, &self.knowledge.stale);
                return self.fail(&format!(
                    "does not reach {goal}; it is at {at:?}, {stale:?} to be read"
                ));
            }
        }
    }

    /// How long after the goal a table may still be wrong.
    fn grace(&self, table: &str) -> Duration {
        match self.world.has_trigger {
            false if REDEFINED.contains(&table) => DEFINITION_TIME_MAX,
            true if COME_AND_GO.contains(&table) => LOOK_TIME_MAX,
            _ => Duration::ZERO,
        }
    }

    /// The first table that differs, and how.
    fn compare<'a>(&self, truth: &'a Truth) -> Result<(), (&'a str, String)> {
        let (mut tables, mut rows) = (0, 0);
        for (table, real) in truth.iter().filter(|(table, _)| self.follows(table)) {
            let with_rows = self.kind.rows && rows_of(table) != RowSet::Off;
            let compared = self.knowledge.compare(table, real, with_rows);
            rows += compared.map_err(|difference| (table.as_str(), difference))?;
            tables += 1;
        }
        self.world.tally.add(Count::Comparisons, tables);
        self.world.tally.add(Count::RowsCompared, rows);
        Ok(())
    }

    fn follows(&self, table: &str) -> bool {
        self.holds(table)
    }

    fn holds(&self, table: &str) -> bool {
        self.kind.source == ReadSource::Database || PRELOADED.split(',').any(|name| name == table)
    }

    fn fail(&self, what: &str) {
        self.world.fail(self.kind.name, what);
    }

    /// Asks once, believes, and reads what was reset.
    async fn step(&mut self) {
        match self.ask_and_believe().await {
            Ok(()) => {}
            Err(PollTrouble::Later) => {
                self.push = None;
                self.world.tally.add(Count::Waits, 1);
                self.world.sleep(Duration::from_millis(50)).await;
            }
            Err(PollTrouble::OtherHistory) => self.knowledge.forget(),
            Err(PollTrouble::Absent) => self.fail("a row's absence is no answer here"),
            Err(PollTrouble::Wrong(what)) => self.fail(&what),
        }
    }

    async fn ask_and_believe(&mut self) -> Result<(), PollTrouble> {
        if self.knowledge.stale.is_empty()
            && let Some(answer) = self.next().await?
        {
            self.believe(&answer)?;
        }
        self.read_again().await
    }

    fn believe(&mut self, answer: &PollAnswer) -> Result<(), PollTrouble> {
        self.has_more = answer.more;
        let tally = &self.world.tally;
        tally.add(Count::Answers, 1);
        tally.add(Count::Changes, answer.changes.len());
        tally.add(Count::Resets, answer.reset.len());
        self.knowledge.believe(answer, self.kind.rows).map_err(PollTrouble::Wrong)?;
        self.check_sums()
    }

    /// The next answer; `None` if there is none for a while.
    async fn next(&mut self) -> Result<Option<PollAnswer>, PollTrouble> {
        let world = self.world.clone();
        let instance = self.instance(&world);
        let query = self.query();
        match self.kind.channel {
            ClientChannel::Poll(wait) => {
                let path = format!("/v1/changes?{query}&wait={wait}");
                PollAnswer::read(&fetch(instance, &path).await?.0).map(Some)
            }
            ClientChannel::Sse | ClientChannel::Socket => {
                if self.push.is_none() {
                    let is_socket = self.kind.channel == ClientChannel::Socket;
                    let open = if is_socket {
                        Push::socket(instance, &self.subscription()).await
                    } else {
                        Push::events(instance, &query).await
                    };
                    self.push = Some(open?);
                }
                self.push.as_mut().expect("just opened").next().await
            }
        }
    }

    fn instance<'a>(&mut self, world: &'a ChaosScenario) -> &'a Instance {
        match self.kind.whom {
            Whom::One(number) => &world.instances[number],
            Whom::InTurn => {
                self.turn += 1;
                &world.instances[self.turn % 2]
            }
        }
    }

    fn query(&self) -> String {
        let mut query = format!("limit={}", self.kind.limit);
        if let Some(version) = &self.knowledge.version {
            query.push_str("&after=");
            query.push_str(version);
        }
        if self.kind.rows {
            query.push_str("&include=rows");
        }
        if self.kind.source != ReadSource::Database {
            query.push_str("&tables=");
            query.push_str(PRELOADED);
        }
        query
    }

    fn subscription(&self) -> String {
        let after = self.knowledge.version.as_ref().map_or("null".into(), |v| format!("\"{v}\""));
        format!("\"after\":{after},\"limit\":{}", self.kind.limit)
    }

    async fn read_again(&mut self) -> Result<(), PollTrouble> {
        if self.knowledge.stale.is_empty() {
            return Ok(());
        }
        // What comes next was made for an older version.
        match self.kind.source {
            ReadSource::Database => self.read_database().await,
            ReadSource::Store => {
                self.push = None;
                self.read_store().await
            }
            ReadSource::Pages => self.read_pages().await,
        }
    }

    async fn read_database(&mut self) -> Result<(), PollTrouble> {
        tokio::time::sleep(MOMENT).await;
        for table in self.knowledge.stale.clone() {
            match truth::rows_of(&mut self.link, &table).await {
                Ok(rows) => {
                    let parse = |row: String| serde_json::from_str(&row).expect("JSON");
                    let rows = rows.into_iter().map(|(id, row)| (id, Some(parse(row)))).collect();
                    self.knowledge.learn(&table, rows, true).map_err(PollTrouble::Wrong)?;
                }
                Err(Refusal::Refused(said)) if said.contains("does not exist") => {
                    self.knowledge.drop_table(&table);
                }
                Err(_) => return Err(PollTrouble::Later),
            }
        }
        Ok(())
    }

    async fn read_store(&mut self) -> Result<(), PollTrouble> {
        let world = self.world.clone();
        let version = self.knowledge.version.clone().unwrap_or_default();
        let path = format!("/v1/store?tables={PRELOADED}&at_least={version}&wait=5s");
        let (body, _) = fetch(self.instance(&world), &path).await?;
        let at = body["version"].as_str().unwrap_or_default();
        let same_history = epoch(&version) == epoch(at);
        for table in PRELOADED.split(',') {
            let rows = keyed(table, &body[table])?;
            self.knowledge.learn(table, rows, same_history).map_err(PollTrouble::Wrong)?;
        }
        self.knowledge.advance(at).map_err(PollTrouble::Wrong)?;
        self.has_more = false;
        self.knowledge.is_complete = true;
        self.check_sums()
    }

    async fn read_pages(&mut self) -> Result<(), PollTrouble> {
        let world = self.world.clone();
        let version = self.knowledge.version.clone().unwrap_or_default();
        for table in self.knowledge.stale.clone() {
            let mut rows = BTreeMap::new();
            let mut cursor = String::new();
            loop {
                let path = format!("/v1/tables/{table}/rows?limit=40&at_least={version}{cursor}");
                let (body, _) = fetch(self.instance(&world), &path).await?;
                rows.extend(keyed(&table, &body["rows"])?);
                let Some(next) = body["next"].as_str() else { break };
                cursor = format!("&cursor={next}");
            }
            self.knowledge.learn(&table, rows, true).map_err(PollTrouble::Wrong)?;
        }
        Ok(())
    }

    /// Two tables sum to zero in every commit.
    fn check_sums(&self) -> Result<(), PollTrouble> {
        let is_exact = self.kind.source == ReadSource::Store;
        let knows = is_exact && !self.has_more && self.knowledge.stale.is_empty();
        let (true, Some(plus), Some(minus)) =
            (knows, self.knowledge.table("plus"), self.knowledge.table("minus"))
        else {
            return Ok(());
        };
        let rows = plus.values().chain(minus.values()).flatten();
        let sum: i64 = rows.filter_map(|row| row["v"].as_i64()).sum();
        self.world.tally.add(Count::SumsChecked, 1);
        if sum == 0 {
            return Ok(());
        }
        Err(PollTrouble::Wrong(format!("the sums differ by {sum} at {:?}", self.knowledge.version)))
    }
}

/// Rows of a preloaded table by id.
fn keyed(table: &str, rows: &Value) -> Result<BTreeMap<String, Option<Value>>, PollTrouble> {
    let key = if table == "words" { "name" } else { "id" };
    let rows = rows.as_array().ok_or_else(|| PollTrouble::Wrong(format!("no rows of {table}")))?;
    Ok(rows.iter().map(|row| (row[key].to_string(), Some(row.clone()))).collect())
}
