//! Clients that know only what the services report, over different channels and at different speeds.

mod push;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use highwater::lsn::Lsn;
use serde_json::Value;

use self::push::PushConnection;
use super::client_model::ClientModel;
use super::counters::Count;
use super::instance::Instance;
use super::oracle::{self, DatabaseState};
use super::poll::{FetchError, PollResponse, epoch, fetch};
use super::scenario::{ChaosPhase, ChaosScenario};
use super::schema::{PRELOADED, RowSet, rows_of};
use super::sql_client::{SqlClient, SqlError};

/// PostgreSQL sends a commit to the change stream shortly before new snapshots see it: clients that read
/// the database itself after a reset wait this long.
const VISIBILITY_DELAY: Duration = Duration::from_millis(100);
/// Time for a client to reach the goal of a quiescent phase.
const CATCH_UP_TIME_MAX: Duration = Duration::from_mins(1);
/// Without the event trigger, a changed definition of these tables is found within seconds, or after
/// 50 times the duration of a catalog refresh, which is about 0.3 s under this load.
const DEFINITION_DELAY_MAX: Duration = Duration::from_secs(40);
const REDEFINED: &[&str] = &["shape", "form", "parts", "again", "again_b", "joins"];
/// With the event trigger, created and renamed tables are known after the refresh that it requests.
const REFRESH_TIME_MAX: Duration = Duration::from_secs(4);
/// Tables that migrations create, rename and add. All others must be equal at once.
const RECREATED: &[&str] = &["again", "again_b", "joins"];

/// How a client receives changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientChannel {
    /// Polls with this `wait`.
    Poll(&'static str),
    Sse,
    WebSocket,
}

/// Where a client reads tables that were reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadSource {
    Database,
    /// `/v1/store`: all tables at one version.
    Store,
    /// Each table page by page.
    Pages,
}

/// The instance that a client sends its requests to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TargetInstance {
    Fixed(usize),
    /// The other one at each poll.
    Alternating,
}

/// How one client behaves.
#[derive(Clone, Debug)]
pub(crate) struct ClientKind {
    pub(crate) name: &'static str,
    pub(crate) channel: ClientChannel,
    pub(crate) source: ReadSource,
    pub(crate) instances: TargetInstance,
    /// Requests `include=rows`.
    pub(crate) rows: bool,
    pub(crate) limit: usize,
    /// Pause between polls.
    pub(crate) pause_millis: Range<u64>,
}

/// The clients of a run.
pub(crate) fn kinds() -> Vec<ClientKind> {
    use {ClientChannel::*, ReadSource::*, TargetInstance::*};
    let kind = |name, channel, source, instances, rows, limit, pause_millis| ClientKind {
        name,
        channel,
        source,
        instances,
        rows,
        limit,
        pause_millis,
    };
    vec![
        kind("ids by polling", Poll("0"), Database, Fixed(0), false, 7, 0..20),
        kind("ids by long polls", Poll("2s"), Database, Fixed(1), false, 1000, 0..1),
        kind("rows with changes", Poll("0"), Database, Fixed(0), true, 100, 0..100),
        kind(
            "rows with changes, second instance",
            Poll("1s"),
            Database,
            Fixed(1),
            true,
            1000,
            0..300,
        ),
        kind("whole tables, then changes", Poll("0"), Store, Fixed(0), true, 200, 0..50),
        kind("whole tables, then long polls", Poll("1s"), Store, Fixed(1), true, 10_000, 0..1),
        kind("pages, then changes", Poll("0"), Pages, Fixed(1), true, 50, 0..100),
        kind("events", Sse, Database, Fixed(0), false, 50, 0..1),
        kind("events with rows", Sse, Store, Fixed(0), true, 500, 0..1),
        kind("web socket", WebSocket, Database, Fixed(1), false, 1000, 0..1),
        kind("alternating instances", Poll("0"), Database, Alternating, false, 100, 0..30),
        kind("slow", Poll("0"), Database, Fixed(1), false, 1000, 3000..9000),
    ]
}

/// A client with its copy.
pub(crate) struct ReplicaClient {
    kind: ClientKind,
    scenario: Arc<ChaosScenario>,
    session: SqlClient,
    rng: fastrand::Rng,
    model: ClientModel,
    push: Option<PushConnection>,
    turn: usize,
    has_more: bool,
}

impl ReplicaClient {
    pub(crate) fn new(scenario: &Arc<ChaosScenario>, kind: ClientKind, number: u64) -> Self {
        let model = ClientModel::new(kind.source == ReadSource::Store, !scenario.has_trigger);
        Self {
            kind,
            scenario: scenario.clone(),
            session: SqlClient::new(scenario),
            rng: scenario.rng(1000 + number),
            model,
            push: None,
            turn: 0,
            has_more: false,
        }
    }

    /// Follows the changes until the end of the run.
    pub(crate) async fn run(mut self) {
        let mut phases = self.scenario.phase.subscribe();
        let mut last_phase = 0;
        loop {
            let phase = phases.borrow_and_update().clone();
            match phase {
                ChaosPhase::Finished => return,
                ChaosPhase::Quiescent { number, goal, state } if number > last_phase => {
                    last_phase = number;
                    self.catch_up(goal, &state).await;
                    self.scenario.mark_compared(self.kind.name);
                }
                ChaosPhase::Quiescent { .. } => drop(phases.changed().await),
                ChaosPhase::Faults | ChaosPhase::Paused => {
                    self.step().await;
                    let pause = Duration::from_millis(self.rng.u64(self.kind.pause_millis.clone()));
                    if !pause.is_zero() && !self.has_more {
                        let _ = tokio::time::timeout(pause, phases.changed()).await;
                        phases.mark_changed();
                    }
                }
            }
        }
    }

    /// Catches up with the goal, then compares.
    async fn catch_up(&mut self, goal: Lsn, state: &DatabaseState) {
        let began = Instant::now();
        let mut reached = None;
        loop {
            self.step().await;
            if self.scenario.is_finished() {
                return;
            }
            let has_reached =
                self.model.position() >= goal && !self.has_more && self.model.stale.is_empty();
            if has_reached {
                let reached = *reached.get_or_insert_with(Instant::now);
                let Err((table, difference)) = self.compare(state) else { return };
                if reached.elapsed() >= self.grace(table) {
                    let at = self.model.version.as_deref().unwrap_or_default();
                    return self.fail(&format!("{difference} (at version {at})"));
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            } else if began.elapsed() > CATCH_UP_TIME_MAX {
                let (at, unread) = (&self.model.version, &self.model.stale);
                return self.fail(&format!(
                    "does not reach {goal}; it is at {at:?}, {unread:?} to be read"
                ));
            }
        }
    }

    /// How long after the goal a table may still differ.
    fn grace(&self, table: &str) -> Duration {
        match self.scenario.has_trigger {
            false if REDEFINED.contains(&table) => DEFINITION_DELAY_MAX,
            true if RECREATED.contains(&table) => REFRESH_TIME_MAX,
            _ => Duration::ZERO,
        }
    }

    /// Compares every followed table; an error names the first that differs.
    fn compare<'a>(&self, state: &'a DatabaseState) -> Result<(), (&'a str, String)> {
        let (mut tables, mut rows) = (0, 0);
        for (table, expected) in state.iter().filter(|(table, _)| self.is_followed(table)) {
            let with_rows = self.kind.rows && rows_of(table) != RowSet::Off;
            let compared = self.model.compare(table, expected, with_rows);
            rows += compared.map_err(|difference| (table.as_str(), difference))?;
            tables += 1;
        }
        self.scenario.counters.add(Count::Comparisons, tables);
        self.scenario.counters.add(Count::RowsCompared, rows);
        Ok(())
    }

    fn is_followed(&self, table: &str) -> bool {
        self.kind.source == ReadSource::Database || PRELOADED.split(',').any(|name| name == table)
    }

    fn fail(&self, problem: &str) {
        self.scenario.fail(self.kind.name, problem);
    }

    /// Receives and applies one response, and reads the tables that were reset.
    async fn step(&mut self) {
        match self.poll_and_apply().await {
            Ok(()) => {}
            Err(FetchError::Unavailable) => {
                self.push = None;
                self.scenario.counters.add(Count::Unavailable, 1);
                self.scenario.sleep(Duration::from_millis(50)).await;
            }
            Err(FetchError::TimelineMismatch) => self.model.clear(),
            Err(FetchError::RowNotFound) => {
                self.fail("the service returned unknown-row for a poll");
            }
            Err(FetchError::Violation(problem)) => self.fail(&problem),
        }
    }

    async fn poll_and_apply(&mut self) -> Result<(), FetchError> {
        if self.model.stale.is_empty()
            && let Some(response) = self.next().await?
        {
            self.apply(&response)?;
        }
        self.reload_stale().await
    }

    fn apply(&mut self, response: &PollResponse) -> Result<(), FetchError> {
        self.has_more = response.more;
        let counters = &self.scenario.counters;
        counters.add(Count::Responses, 1);
        counters.add(Count::Changes, response.changes.len());
        counters.add(Count::Resets, response.reset.len());
        self.model.apply(response, self.kind.rows).map_err(FetchError::Violation)?;
        self.check_sums()
    }

    /// The next response; `None` if a push connection stays silent.
    async fn next(&mut self) -> Result<Option<PollResponse>, FetchError> {
        let scenario = self.scenario.clone();
        let instance = self.instance(&scenario);
        let query = self.query();
        match self.kind.channel {
            ClientChannel::Poll(wait) => {
                let path = format!("/v1/changes?{query}&wait={wait}");
                PollResponse::parse(&fetch(instance, &path).await?.0).map(Some)
            }
            ClientChannel::Sse | ClientChannel::WebSocket => {
                if self.push.is_none() {
                    let is_socket = self.kind.channel == ClientChannel::WebSocket;
                    let open = if is_socket {
                        PushConnection::socket(instance, &self.subscription()).await
                    } else {
                        PushConnection::events(instance, &query).await
                    };
                    self.push = Some(open?);
                }
                self.push.as_mut().expect("just opened").next().await
            }
        }
    }

    fn instance<'a>(&mut self, scenario: &'a ChaosScenario) -> &'a Instance {
        match self.kind.instances {
            TargetInstance::Fixed(number) => &scenario.instances[number],
            TargetInstance::Alternating => {
                self.turn += 1;
                &scenario.instances[self.turn % 2]
            }
        }
    }

    fn query(&self) -> String {
        let mut query = format!("limit={}", self.kind.limit);
        if let Some(version) = &self.model.version {
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
        let after = self.model.version.as_ref().map_or("null".into(), |v| format!("\"{v}\""));
        format!("\"after\":{after},\"limit\":{}", self.kind.limit)
    }

    async fn reload_stale(&mut self) -> Result<(), FetchError> {
        if self.model.stale.is_empty() {
            return Ok(());
        }
        match self.kind.source {
            ReadSource::Database => self.read_database().await,
            ReadSource::Store => {
                // Its next message continues from a version older than the store's.
                self.push = None;
                self.read_store().await
            }
            ReadSource::Pages => self.read_pages().await,
        }
    }

    async fn read_database(&mut self) -> Result<(), FetchError> {
        tokio::time::sleep(VISIBILITY_DELAY).await;
        for table in self.model.stale.clone() {
            match oracle::rows_of(&mut self.session, &table).await {
                Ok(rows) => {
                    let parse = |row: String| serde_json::from_str(&row).expect("JSON");
                    let rows = rows.into_iter().map(|(id, row)| (id, Some(parse(row)))).collect();
                    self.model.replace_table(&table, rows, true).map_err(FetchError::Violation)?;
                }
                Err(SqlError::Rejected(message)) if message.contains("does not exist") => {
                    self.model.drop_table(&table);
                }
                Err(_) => return Err(FetchError::Unavailable),
            }
        }
        Ok(())
    }

    async fn read_store(&mut self) -> Result<(), FetchError> {
        let scenario = self.scenario.clone();
        let version = self.model.version.clone().unwrap_or_default();
        let path = format!("/v1/store?tables={PRELOADED}&at_least={version}&wait=5s");
        let (body, _) = fetch(self.instance(&scenario), &path).await?;
        let at = body["version"].as_str().unwrap_or_default();
        let same_timeline = epoch(&version) == epoch(at);
        for table in PRELOADED.split(',') {
            let rows = keyed(table, &body[table])?;
            self.model.replace_table(table, rows, same_timeline).map_err(FetchError::Violation)?;
        }
        self.model.advance(at).map_err(FetchError::Violation)?;
        self.has_more = false;
        self.model.is_complete = true;
        self.check_sums()
    }

    async fn read_pages(&mut self) -> Result<(), FetchError> {
        let scenario = self.scenario.clone();
        let version = self.model.version.clone().unwrap_or_default();
        for table in self.model.stale.clone() {
            let mut rows = BTreeMap::new();
            let mut cursor = String::new();
            loop {
                let path = format!("/v1/tables/{table}/rows?limit=40&at_least={version}{cursor}");
                let (body, _) = fetch(self.instance(&scenario), &path).await?;
                rows.extend(keyed(&table, &body["rows"])?);
                let Some(next) = body["next"].as_str() else { break };
                cursor = format!("&cursor={next}");
            }
            self.model.replace_table(&table, rows, true).map_err(FetchError::Violation)?;
        }
        Ok(())
    }

    /// `plus` and `minus` sum to zero in every commit.
    fn check_sums(&self) -> Result<(), FetchError> {
        let is_exact = self.kind.source == ReadSource::Store;
        let is_comparable = is_exact && !self.has_more && self.model.stale.is_empty();
        let (true, Some(plus), Some(minus)) =
            (is_comparable, self.model.table("plus"), self.model.table("minus"))
        else {
            return Ok(());
        };
        let rows = plus.values().chain(minus.values()).flatten();
        let sum: i64 = rows.filter_map(|row| row["v"].as_i64()).sum();
        self.scenario.counters.add(Count::SumsChecked, 1);
        if sum == 0 {
            return Ok(());
        }
        Err(FetchError::Violation(format!(
            "`plus` and `minus` sum to {sum} at {:?}",
            self.model.version
        )))
    }
}

/// Rows of a preloaded table by id.
fn keyed(table: &str, rows: &Value) -> Result<BTreeMap<String, Option<Value>>, FetchError> {
    let key = if table == "words" { "name" } else { "id" };
    let rows =
        rows.as_array().ok_or_else(|| FetchError::Violation(format!("no rows of {table}")))?;
    Ok(rows.iter().map(|row| (row[key].to_string(), Some(row.clone()))).collect())
}
