//! What is set up in the database, and taken down again: role, publication, slot.
//!
//! Everything is planned first, by pure functions from what is there to steps, so that what is
//! printed is what would be run. A step that is done already is skipped: setting up twice is once.

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

/// What is to be there.
#[derive(Clone, Debug)]
pub struct SetupRequest {
    /// A role to create for Highwater; `None`: no role is created.
    pub role: Option<String>,
    /// Name of the publication.
    pub publication: String,
    /// What it publishes.
    pub tables: PublishedSelection,
    /// Tables whose rows are to be held: the role needs to read them.
    pub rows: Vec<RowsConfig>,
    /// Name of the slot; `None`: no slot is created.
    pub slot: Option<String>,
    /// Whether changed definitions are to announce themselves.
    pub event_trigger: bool,
}

/// One statement, or the word that it is not needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetupStep {
    /// `publication highwater`.
    pub what: String,
    /// The statement with its comments; `None` when nothing needs to be done.
    pub statement: Option<String>,
    /// What to do when the server refuses it for want of a privilege.
    pub remedy: String,
}

/// What would be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetupPlan {
    /// In this order.
    pub steps: Vec<SetupStep>,
    /// What the reader should know: tables left out.
    pub remarks: Vec<String>,
    /// How running it would harm the application: tables whose updates would fail.
    pub dangers: Vec<String>,
}

/// Why something is not set up or taken down.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A table that is not there.
    #[error("there is no table {name} in this database{}", nearest.as_ref().map(|n| format!("; did you mean {n}?")).unwrap_or_default())]
    UnknownTable {
        /// As it was written.
        name: String,
        /// The table most like it.
        nearest: Option<String>,
    },
    /// Nothing would be published.
    #[error("no table could be published: {0}")]
    NoTables(String),
    /// What is there cannot become what is wanted.
    #[error("{0}")]
    InTheWay(String),
    /// The server was asked and did not answer.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The server refused a step.
    #[error("{error}; {remedy}")]
    Refused {
        /// What it said.
        error: QueryError,
        /// What to do.
        remedy: String,
    },
}

/// Plans what `request` needs. `server` is `host:port/database`.
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

/// Plans how the slot is dropped, and publication and event trigger unless they are to stay.
pub async fn plan_teardown(
    client: &Client,
    publication: Option<&str>,
    slot: &str,
) -> Result<SetupPlan, SetupError> {
    let slot_found = checks::slot(client, slot).await?;
    let mut plan = teardown::plan_slot(slot, slot_found.as_ref())?;
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
    execute(client, &step.what, statement).await.map_err(|error| refused(error, step))
}

/// Creates the publication if it is missing: `postgres.setup = "auto"`. Returns what was done and
/// what the operator should know, as sentences for the log.
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

fn refused(error: QueryError, step: &SetupStep) -> SetupError {
    let remedy = match error.sqlstate.as_deref() {
        Some("42501") => step.remedy.clone(),
        Some("25006") => "this is a standby: connect to the primary".into(),
        Some("53400") => {
            "drop a slot that nobody needs, or raise max_replication_slots; `highwater check` tells more"
                .into()
        }
        Some("55000") => "`highwater check` tells what is wrong and how to mend it".into(),
        _ => return error.into(),
    };
    SetupError::Refused { error, remedy }
}

async fn role_exists(client: &Client, role: &str) -> Result<bool, QueryError> {
    let query = fill(sql::CHECK_ROLE_NAMED, &[("role", role)]);
    is_there(client, "look for the role", &query).await
}

async fn has_event_trigger(client: &Client) -> Result<bool, QueryError> {
    is_there(client, "look for the event trigger", sql::CHECK_EVENT_TRIGGER).await
}

async fn is_there(client: &Client, purpose: &str, query: &str) -> Result<bool, QueryError> {
    #[derive(serde::Deserialize)]
    struct PresentObjects {
        there: bool,
    }
    let found: Vec<PresentObjects> = rows(client, purpose, query).await?;
    Ok(found.iter().any(|row| row.there))
}
