//! Is this database ready? What is looked at, and what is made of it.
//!
//! One file per topic: each holds the row that its query in `sql/` answers and a pure function from
//! rows to [`Finding`]s. Only what many ask about, a table, has a file of its own ([`table_row`]).

mod finding;
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
#[cfg(test)]
pub(crate) mod testing;

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

/// What Highwater would run with.
#[derive(Clone, Copy, Debug)]
pub struct CheckOptions<'a> {
    /// `postgres.publication`.
    pub publication: &'a str,
    /// `postgres.slot`.
    pub slot: &'a str,
    /// `postgres.temporary_slot`: no slot of that name is expected, and none is kept.
    pub temporary_slot: bool,
    /// `postgres.setup` is auto.
    pub creates_publication: bool,
    /// `postgres.resume_max_wal`, bytes.
    pub resume_max_wal: u64,
    /// Tables whose rows are to be held.
    pub rows: &'a [RowsConfig],
    /// Tables whose changes are to be told to each scope by itself.
    pub scopes: &'a [ScopeConfig],
}

/// Looks at everything. `server` is `host:port/database`, `stream` how a replication connection
/// to it went.
pub async fn inspect(
    client: &Client,
    server: &str,
    wanted: &CheckOptions<'_>,
    stream: StreamProbe,
) -> Result<CheckReport, QueryError> {
    let seen = look(client, wanted).await?;
    let address = server.rsplit_once('/').map_or(server, |(address, _)| address);
    let provider = provider_of(address, &seen.server);
    let mut findings = connection(address, provider, &seen, stream);
    let around = ServerContext {
        provider,
        slot_exists: seen.slot.is_some(),
        slot_active: seen.slot.as_ref().is_some_and(|slot| slot.active),
        resume_max_wal: wanted.resume_max_wal,
    };
    findings.extend(server::findings(&seen.server, around));
    findings.extend(role::findings(&seen.role, &seen.server.database, provider));
    match &seen.publication {
        None => findings.push(publication::missing(wanted.publication, wanted.creates_publication)),
        Some(found) => {
            findings.extend(publication::findings(wanted.publication, found, &seen.tables));
            findings.extend(tables::findings(found, &seen.tables));
            findings.extend(rows::findings(wanted.rows, &seen.tables, &seen.role));
            findings.extend(scope::findings(wanted.scopes, &seen.tables));
        }
    }
    findings.extend(slot::findings(wanted.slot, seen.slot.as_ref(), wanted.temporary_slot));
    findings.extend(sessions::findings(&seen.sessions, seen.slot.is_some()));
    Ok(CheckReport { server: server.to_owned(), provider: provider.map(Provider::name), findings })
}

/// The report when there is no connection to look through.
pub fn unreachable(server: &str, why: &str) -> CheckReport {
    let address = server.rsplit_once('/').map_or(server, |(address, _)| address);
    let provider = provider_of_host(address);
    let finding = Finding::error("connection", why);
    let finding =
        provider.and_then(Provider::connection_hint).into_iter().fold(finding, Finding::fix);
    let provider = provider.map(Provider::name);
    CheckReport { server: server.to_owned(), provider, findings: vec![finding] }
}

/// Everything the queries answer.
struct CheckInputs {
    pids: [SessionIdentity; 2],
    server: ServerRow,
    role: RoleRow,
    publication: Option<PublicationRow>,
    tables: Vec<TableRow>,
    slot: Option<SlotRow>,
    sessions: Vec<SessionRow>,
}

async fn look(client: &Client, wanted: &CheckOptions<'_>) -> Result<CheckInputs, QueryError> {
    let first = one(client, "look at the session", sql::CHECK_POOLER).await?;
    let seen = CheckInputs {
        server: server(client).await?,
        role: role(client).await?,
        publication: publication(client, wanted.publication).await?,
        tables: tables(client, wanted.publication).await?,
        slot: slot(client, wanted.slot).await?,
        sessions: query::rows(client, "look for open transactions", sql::CHECK_SESSIONS).await?,
        pids: [first, one(client, "look at the session", sql::CHECK_POOLER).await?],
    };
    Ok(seen)
}

pub(crate) async fn server(client: &Client) -> Result<ServerRow, QueryError> {
    one(client, "look at the settings", sql::CHECK_SETTINGS).await
}

pub(crate) async fn role(client: &Client) -> Result<RoleRow, QueryError> {
    one(client, "look at the role", sql::CHECK_ROLE).await
}

pub(crate) async fn publication(
    client: &Client,
    name: &str,
) -> Result<Option<PublicationRow>, QueryError> {
    let query = fill(sql::CHECK_PUBLICATION, &[("publication", name)]);
    Ok(query::rows(client, "look at the publication", &query).await?.pop())
}

pub(crate) async fn tables(
    client: &Client,
    publication: &str,
) -> Result<Vec<TableRow>, QueryError> {
    let query = fill(sql::CHECK_TABLES, &[("publication", publication)]);
    query::rows(client, "look at the tables", &query).await
}

pub(crate) async fn slot(client: &Client, name: &str) -> Result<Option<SlotRow>, QueryError> {
    let query = fill(sql::CHECK_SLOT, &[("slot", name)]);
    Ok(query::rows(client, "look at the slot", &query).await?.pop())
}

async fn one<T: serde::de::DeserializeOwned>(
    client: &Client,
    purpose: &str,
    query: &str,
) -> Result<T, QueryError> {
    let row = query::rows(client, purpose, query).await?.pop();
    row.ok_or_else(|| QueryError {
        purpose: purpose.to_owned(),
        message: "the server answered no row".into(),
        sqlstate: None,
    })
}

pub(crate) fn provider_of(address: &str, server: &ServerRow) -> Option<Provider> {
    // The host's name first: roles may have been restored from another provider's dump.
    provider_of_host(address)
        .or_else(|| Provider::of_roles(server.provider_roles.as_deref().unwrap_or_default()))
}

fn provider_of_host(address: &str) -> Option<Provider> {
    Provider::of_host(address.rsplit_once(':').map_or(address, |(host, _)| host))
}

fn connection(
    address: &str,
    provider: Option<Provider>,
    seen: &CheckInputs,
    stream: StreamProbe,
) -> Vec<Finding> {
    let pids = seen.pids.each_ref().map(|session| session.backend_pid);
    pooler::findings(&ServerRoute { address, provider, pids, stream })
}
