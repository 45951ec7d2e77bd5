//! Setup and teardown of Highwater's database objects: role, publication, slot, event trigger.
//!
//! Pure functions plan all steps from the state of the database, so that the printed statements are
//! the ones that run. A step that is done already has no statement: setup is idempotent.

mod facts;
mod plan;
mod selection;
mod teardown;

use tokio_postgres::Client;

pub use selection::PublishedSelection;

use super::checks;
use super::query::{QueryError, execute, rows};
use super::sql::{self, fill};
use crate::table::RowsConfig;
use facts::SetupFacts;

/// The objects that the setup shall create.
#[derive(Clone, Debug)]
pub struct SetupRequest {
    /// A role to create for Highwater; `None`: no role is created.
    pub role: Option<String>,
    /// Name of the publication.
    pub publication: String,
    /// The tables that it publishes.
    pub tables: PublishedSelection,
    /// Tables whose rows are to be cached: the role is granted `SELECT` on them.
    pub rows: Vec<RowsConfig>,
    /// Name of the slot; `None`: no slot is created.
    pub slot: Option<String>,
    /// Whether to create the event trigger that announces changed definitions.
    pub event_trigger: bool,
}

/// One object to create or drop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetupStep {
    /// The object: `publication highwater`.
    pub what: String,
    /// The statement with its comments; `None` if no statement is needed.
    pub statement: Option<String>,
    /// The remedy when the server rejects the statement for a missing privilege.
    pub remedy: String,
}

/// The steps of a setup or teardown, and what the operator should know about them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetupPlan {
    /// In the order of execution.
    pub steps: Vec<SetupStep>,
    /// Notes for the operator, such as tables left out.
    pub remarks: Vec<String>,
    /// Damage to the application that the steps would cause: tables whose updates would fail.
    pub dangers: Vec<String>,
}

/// The reason why a setup or teardown failed.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A requested table does not exist.
    #[error("there is no table {name} in this database{}", nearest.as_ref().map(|n| format!("; did you mean {n}?")).unwrap_or_default())]
    UnknownTable {
        /// As the operator wrote it.
        name: String,
        /// The existing table with the most similar name.
        nearest: Option<String>,
    },
    /// Nothing would be published.
    #[error("no table could be published: {0}")]
    NoTables(String),
    /// An existing object conflicts with the request.
    #[error("{0}")]
    Conflict(String),
    /// A query failed.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The server rejected a step.
    #[error("{error}; {remedy}")]
    Rejected {
        /// The server's error.
        error: QueryError,
        /// What the operator can do.
        remedy: String,
    },
}

/// Plans the steps of `request`. `server` is `host:port/database`.
pub async fn plan(
    client: &Client,
    server: &str,
    request: &SetupRequest,
) -> Result<SetupPlan, SetupError> {
    let settings = checks::server(client).await?;
    let address = server.rsplit_once('/').map_or(server, |(address, _)| address);
    let facts = SetupFacts {
        provider: checks::provider_of(address, &settings),
        server: settings,
        connected: checks::role(client).await?,
        role_exists: match &request.role {
            Some(role) => role_exists(client, role).await?,
            None => false,
        },
        publication: checks::publication(client, &request.publication).await?,
        tables: checks::tables(client, &request.publication).await?,
        slot: match &request.slot {
            Some(slot) => checks::slot(client, slot).await?,
            None => None,
        },
        has_event_trigger: has_event_trigger(client).await?,
    };
    plan::plan(request, &facts)
}

/// Plans the teardown: drops the slot, and with `publication` also the publication and the event trigger.
pub async fn plan_teardown(
    client: &Client,
    publication: Option<&str>,
    slot: &str,
) -> Result<SetupPlan, SetupError> {
    let found = checks::slot(client, slot).await?;
    let mut plan = teardown::plan_slot(slot, found.as_ref())?;
    if let Some(publication) = publication {
        let exists = checks::publication(client, publication).await?.is_some();
        plan.steps.push(teardown::publication_step(publication, exists));
        plan.steps.extend(has_event_trigger(client).await?.then(teardown::event_trigger));
    }
    Ok(plan)
}

/// Runs one step.
pub async fn run(client: &Client, step: &SetupStep) -> Result<(), SetupError> {
    let Some(statement) = &step.statement else { return Ok(()) };
    execute(client, &step.what, statement).await.map_err(|error| rejected(error, step))
}

/// Creates the publication if it is missing (`postgres.setup = "auto"`). Returns the executed steps and
/// the plan's remarks, as sentences for the log.
pub async fn ensure_publication(
    client: &Client,
    server: &str,
    publication: &str,
) -> Result<Vec<String>, SetupError> {
    if checks::publication(client, publication).await?.is_some() {
        return Ok(Vec::new());
    }
    let request = SetupRequest {
        role: None,
        publication: publication.to_owned(),
        tables: PublishedSelection::WithKeys,
        rows: vec![],
        slot: None,
        event_trigger: false,
    };
    let plan = plan(client, server, &request).await?;
    let mut done = Vec::new();
    for step in &plan.steps {
        run(client, step).await?;
        done.push(format!("created {}", step.what));
    }
    done.extend(plan.remarks);
    Ok(done)
}

fn rejected(error: QueryError, step: &SetupStep) -> SetupError {
    let remedy = match error.sqlstate.as_deref() {
        Some("42501") => step.remedy.clone(),
        Some("25006") => "this is a standby: connect to the primary".into(),
        Some("53400") => {
            "drop a slot that is no longer needed, or raise max_replication_slots; see `highwater check`"
                .into()
        }
        Some("55000") => "`highwater check` reports the problem and its fix".into(),
        _ => return error.into(),
    };
    SetupError::Rejected { error, remedy }
}

async fn role_exists(client: &Client, role: &str) -> Result<bool, QueryError> {
    let query = fill(sql::CHECK_ROLE_NAMED, &[("role", role)]);
    is_present(client, "find the role", &query).await
}

async fn has_event_trigger(client: &Client) -> Result<bool, QueryError> {
    is_present(client, "find the event trigger", sql::CHECK_EVENT_TRIGGER).await
}

async fn is_present(client: &Client, purpose: &str, query: &str) -> Result<bool, QueryError> {
    #[derive(serde::Deserialize)]
    struct PresenceRow {
        present: bool,
    }
    let found: Vec<PresenceRow> = rows(client, purpose, query).await?;
    Ok(found.iter().any(|row| row.present))
}
