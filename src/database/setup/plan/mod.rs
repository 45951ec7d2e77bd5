//! Pure functions from a request and the state of the database to the steps of the setup.

use super::facts::SetupFacts;
use super::selection::{PublicationClause, choose};
use super::{PublishedSelection, SetupError, SetupPlan, SetupRequest, SetupStep};
use crate::database::checks::{Provider, SlotRow, TableRow, grants, replication_fix};
use crate::database::sql::{self, fill};
use crate::table::{RowsConfig, quoted};

/// The first major version with `FOR TABLES IN SCHEMA`.
const SCHEMAS_FROM: i32 = 15;

pub(super) fn plan(request: &SetupRequest, facts: &SetupFacts) -> Result<SetupPlan, SetupError> {
    let mut steps = Vec::new();
    steps.extend(request.role.as_deref().map(|role| role_step(role, facts)));
    steps.extend(
        request.role.as_deref().map_or(Vec::new(), |role| grant_steps(role, request, facts)),
    );
    let (publication, scope) = publication_step(request, facts)?;
    steps.push(publication);
    // The slot must be younger than the publication: decoding resolves the publication as of the
    // decoded change's position.
    if let Some(slot) = &request.slot {
        steps.push(slot_step(slot, facts)?);
    }
    steps.extend(request.event_trigger.then(|| event_trigger_step(facts)));
    Ok(SetupPlan { steps, remarks: scope.remarks, dangers: scope.dangers })
}

fn role_step(role: &str, facts: &SetupFacts) -> SetupStep {
    let file = match facts.provider {
        Some(Provider::Rds) => sql::ROLE_RDS,
        _ => sql::ROLE,
    };
    let values = [("role", role), ("database", facts.server.database.as_str())];
    SetupStep {
        what: format!("role {role}"),
        statement: (!facts.role_exists).then(|| fill(file, &values)),
        remedy: "a role with REPLICATION is created by a superuser (on managed servers: by the administrator's role)".into(),
    }
}

/// Grants are idempotent, so existing ones need no check.
fn grant_steps(role: &str, request: &SetupRequest, facts: &SetupFacts) -> Vec<SetupStep> {
    let named =
        |config: &RowsConfig| facts.tables.iter().find(|table| table.has_name(&config.table));
    let step = |table: &TableRow| SetupStep {
        what: format!("SELECT on {} for role {role}", table.full_name()),
        statement: Some(grants(role, table).join("\n")),
        remedy: "run it as the owner of the table, or as a superuser".into(),
    };
    request.rows.iter().filter_map(named).map(step).collect()
}

fn publication_step(
    request: &SetupRequest,
    facts: &SetupFacts,
) -> Result<(SetupStep, PublicationClause), SetupError> {
    let name = &request.publication;
    reject_unsupported(request, facts)?;
    let step = |statement: Option<String>| SetupStep {
        what: format!("publication {name}"),
        statement,
        remedy: publication_remedy(request, facts),
    };
    let Some(found) = &facts.publication else {
        let scope = choose(&request.tables, facts)?;
        let clause =
            scope.clause.as_ref().map_or_else(String::new, |clause| format!("FOR {clause}"));
        let values = [("publication", name.as_str()), ("scope", clause.as_str())];
        return Ok((step(Some(fill(sql::PUBLICATION, &values))), scope));
    };
    // Without requested tables an existing publication stays as its owner defined it.
    let is_complete = match request.tables {
        PublishedSelection::WithKeys => true,
        PublishedSelection::Tables(_) => false,
        PublishedSelection::Schemas(_) | PublishedSelection::All => found.all_tables,
    };
    if is_complete {
        return Ok((step(None), PublicationClause::default()));
    }
    let scope = choose(&request.tables, facts)?;
    let add = |clause: &String| {
        fill(sql::PUBLICATION_ADD, &[("publication", name.as_str()), ("scope", clause.as_str())])
    };
    Ok((step(scope.clause.as_ref().map(add)), scope))
}

fn reject_unsupported(request: &SetupRequest, facts: &SetupFacts) -> Result<(), SetupError> {
    let major = facts.server.major();
    if matches!(request.tables, PublishedSelection::Schemas(_)) && major < SCHEMAS_FROM {
        return Err(SetupError::Conflict(format!(
            "PostgreSQL {major} cannot publish whole schemas (15 and newer can); name the tables with --tables, or pass --all-tables"
        )));
    }
    let is_for_tables = facts.publication.as_ref().is_some_and(|found| !found.all_tables);
    if request.tables == PublishedSelection::All && is_for_tables {
        return Err(SetupError::Conflict(format!(
            "publication {} exists and contains certain tables only; PostgreSQL cannot turn it into one for all tables: drop it first (highwater teardown), or name another with --publication",
            request.publication
        )));
    }
    Ok(())
}

fn publication_remedy(request: &SetupRequest, facts: &SetupFacts) -> String {
    match request.tables {
        PublishedSelection::All | PublishedSelection::Schemas(_) => {
            "only a superuser can publish tables that do not exist yet; name the tables with --tables instead".into()
        }
        _ if !facts.connected.may_create && facts.publication.is_none() => format!(
            "GRANT CREATE ON DATABASE {} TO {}; or run it as a role that has it",
            quoted(&facts.server.database),
            quoted(&facts.connected.name)
        ),
        _ => "run it as the owner of the tables and of the publication, or as a superuser".into(),
    }
}

fn slot_step(slot: &str, facts: &SetupFacts) -> Result<SetupStep, SetupError> {
    if let Some(reason) = facts.slot.as_ref().and_then(SlotRow::unusable_reason) {
        return Err(SetupError::Conflict(format!(
            "slot {slot} exists and {reason}; choose another name with --slot"
        )));
    }
    Ok(SetupStep {
        what: format!("slot {slot}"),
        statement: facts.slot.is_none().then(|| fill(sql::SLOT, &[("slot", slot)])),
        remedy: replication_fix(&facts.connected.name, facts.provider),
    })
}

fn event_trigger_step(facts: &SetupFacts) -> SetupStep {
    SetupStep {
        what: "event trigger highwater_changed".into(),
        statement: (!facts.has_event_trigger).then(|| sql::EVENT_TRIGGER.to_owned()),
        remedy: "only a superuser can create event triggers; without them Highwater detects changed definitions by polling, within seconds".into(),
    }
}

#[cfg(test)]
mod tests;
