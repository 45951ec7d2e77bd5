//! Checks of whether a database is ready for Highwater.
//!
//! One file per topic, each with the row type of its query in `sql/` and a pure function from rows to
//! [`Finding`]s. Only the row that several topics use, that of a table, has its own file ([`table_row`]).

mod finding;
#[cfg(test)]
pub(crate) mod fixtures;
mod pooler;
mod provider;
mod publication;
mod role;
mod rows;
mod scope;
mod server;
mod sessions;
mod slot;
mod table_row;
mod tables;

use tokio_postgres::Client;

pub use finding::{CheckReport, Finding, Severity};
pub use pooler::StreamProbe;
pub use provider::Provider;

pub(crate) use finding::some_of;
pub(crate) use publication::PublicationRow;
pub(crate) use role::{RoleRow, replication_fix};
pub(crate) use rows::grants;
pub(crate) use server::ServerRow;
pub(crate) use slot::SlotRow;
pub(crate) use table_row::{TableIdentity, TableRow};

use super::query::{self, QueryError};
use super::sql::{self, fill};
use crate::table::{RowsConfig, ScopeConfig};
use pooler::{ServerRoute, SessionIdentity};
use server::ServerContext;
use sessions::SessionRow;

/// The configuration that the checks compare the database with.
#[derive(Clone, Copy, Debug)]
pub struct CheckOptions<'a> {
    /// `postgres.publication`.
    pub publication: &'a str,
    /// `postgres.slot`.
    pub slot: &'a str,
    /// `postgres.temporary_slot`: no slot of that name may exist beforehand, and none remains.
    pub temporary_slot: bool,
    /// `postgres.setup` is auto.
    pub creates_publication: bool,
    /// `postgres.resume_max_wal`, bytes.
    pub resume_max_wal: u64,
    /// Tables whose rows are to be cached.
    pub rows: &'a [RowsConfig],
    /// Tables whose changes are reported per scope.
    pub scopes: &'a [ScopeConfig],
}

/// Runs every check. `server` is `host:port/database`, `stream` the outcome of opening a replication
/// connection to it.
pub async fn inspect(
    client: &Client,
    server: &str,
    options: &CheckOptions<'_>,
    stream: StreamProbe,
) -> Result<CheckReport, QueryError> {
    let inputs = collect(client, options).await?;
    let address = server.rsplit_once('/').map_or(server, |(address, _)| address);
    let provider = provider_of(address, &inputs.server);
    let mut findings = connection(address, provider, &inputs, stream);
    let context = ServerContext {
        provider,
        slot_exists: inputs.slot.is_some(),
        slot_active: inputs.slot.as_ref().is_some_and(|slot| slot.active),
        resume_max_wal: options.resume_max_wal,
    };
    findings.extend(server::findings(&inputs.server, context));
    findings.extend(role::findings(&inputs.role, &inputs.server.database, provider));
    match &inputs.publication {
        None => {
            findings.push(publication::missing(options.publication, options.creates_publication));
        }
        Some(found) => {
            findings.extend(publication::findings(options.publication, found, &inputs.tables));
            findings.extend(tables::findings(found, &inputs.tables));
            findings.extend(rows::findings(options.rows, &inputs.tables, &inputs.role));
            findings.extend(scope::findings(options.scopes, &inputs.tables));
        }
    }
    findings.extend(slot::findings(options.slot, inputs.slot.as_ref(), options.temporary_slot));
    findings.extend(sessions::findings(&inputs.sessions, inputs.slot.is_some()));
    Ok(CheckReport { server: server.to_owned(), provider: provider.map(Provider::name), findings })
}

/// The report of a server that no connection could be opened to.
pub fn unreachable(server: &str, why: &str) -> CheckReport {
    let address = server.rsplit_once('/').map_or(server, |(address, _)| address);
    let provider = provider_of_host(address);
    let finding = Finding::error("connection", why);
    let finding =
        provider.and_then(Provider::connection_hint).into_iter().fold(finding, Finding::fix);
    let provider = provider.map(Provider::name);
    CheckReport { server: server.to_owned(), provider, findings: vec![finding] }
}

/// The rows of every query.
struct CheckInputs {
    pids: [SessionIdentity; 2],
    server: ServerRow,
    role: RoleRow,
    publication: Option<PublicationRow>,
    tables: Vec<TableRow>,
    slot: Option<SlotRow>,
    sessions: Vec<SessionRow>,
}

async fn collect(client: &Client, options: &CheckOptions<'_>) -> Result<CheckInputs, QueryError> {
    let first = one(client, "read the session's process id", sql::CHECK_POOLER).await?;
    Ok(CheckInputs {
        server: server(client).await?,
        role: role(client).await?,
        publication: publication(client, options.publication).await?,
        tables: tables(client, options.publication).await?,
        slot: slot(client, options.slot).await?,
        sessions: query::rows(client, "find open transactions", sql::CHECK_SESSIONS).await?,
        pids: [first, one(client, "read the session's process id", sql::CHECK_POOLER).await?],
    })
}

pub(crate) async fn server(client: &Client) -> Result<ServerRow, QueryError> {
    one(client, "read the settings", sql::CHECK_SETTINGS).await
}

pub(crate) async fn role(client: &Client) -> Result<RoleRow, QueryError> {
    one(client, "read the role's privileges", sql::CHECK_ROLE).await
}

pub(crate) async fn publication(
    client: &Client,
    name: &str,
) -> Result<Option<PublicationRow>, QueryError> {
    let query = fill(sql::CHECK_PUBLICATION, &[("publication", name)]);
    Ok(query::rows(client, "read the publication", &query).await?.pop())
}

pub(crate) async fn tables(
    client: &Client,
    publication: &str,
) -> Result<Vec<TableRow>, QueryError> {
    let query = fill(sql::CHECK_TABLES, &[("publication", publication)]);
    query::rows(client, "list the tables", &query).await
}

pub(crate) async fn slot(client: &Client, name: &str) -> Result<Option<SlotRow>, QueryError> {
    let query = fill(sql::CHECK_SLOT, &[("slot", name)]);
    Ok(query::rows(client, "read the replication slot", &query).await?.pop())
}

async fn one<T: serde::de::DeserializeOwned>(
    client: &Client,
    purpose: &str,
    query: &str,
) -> Result<T, QueryError> {
    let row = query::rows(client, purpose, query).await?.pop();
    row.ok_or_else(|| QueryError {
        purpose: purpose.to_owned(),
        message: "the query returned no row".into(),
        sqlstate: None,
    })
}

pub(crate) fn provider_of(address: &str, server: &ServerRow) -> Option<Provider> {
    // The host name first: roles may have been restored from another provider's dump.
    provider_of_host(address)
        .or_else(|| Provider::of_roles(server.provider_roles.as_deref().unwrap_or_default()))
}

fn provider_of_host(address: &str) -> Option<Provider> {
    Provider::of_host(address.rsplit_once(':').map_or(address, |(host, _)| host))
}

fn connection(
    address: &str,
    provider: Option<Provider>,
    inputs: &CheckInputs,
    stream: StreamProbe,
) -> Vec<Finding> {
    let pids = inputs.pids.each_ref().map(|session| session.backend_pid);
    pooler::findings(&ServerRoute { address, provider, pids, stream })
}
