//! The selection of the tables to publish.

use super::SetupError;
use super::facts::SetupFacts;
use crate::database::checks::{TableIdentity, TableRow, some_of};
use crate::table::{TableName, quoted};

/// The tables to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublishedSelection {
    /// Every existing table that has a key and that the connected role can publish. Tables without a key
    /// are left out, because publishing them makes the application's UPDATE fail.
    WithKeys,
    /// These tables, in any of their spellings.
    Tables(Vec<String>),
    /// Every present and future table of these schemas. PostgreSQL permits this to superusers only.
    Schemas(Vec<String>),
    /// Every present and future table. PostgreSQL permits this to superusers only.
    All,
}

/// The clause after `CREATE PUBLICATION name FOR` or `ALTER PUBLICATION name ADD`, and its consequences.
#[derive(Default)]
pub(super) struct PublicationClause {
    /// `None` if every selected table is published already.
    pub(super) clause: Option<String>,
    pub(super) remarks: Vec<String>,
    pub(super) dangers: Vec<String>,
}

/// Selects the tables that are not published yet.
pub(super) fn choose(
    selection: &PublishedSelection,
    facts: &SetupFacts,
) -> Result<PublicationClause, SetupError> {
    match selection {
        PublishedSelection::WithKeys => with_keys(facts),
        PublishedSelection::Tables(names) => named(names, facts),
        PublishedSelection::Schemas(schemas) => Ok(in_schemas(schemas, facts)),
        PublishedSelection::All => {
            let tables: Vec<&TableRow> = publishable(facts).collect();
            Ok(PublicationClause {
                clause: Some("ALL TABLES".into()),
                remarks: Vec::new(),
                dangers: dangers(&tables),
            })
        }
    }
}

fn publishable(facts: &SetupFacts) -> impl Iterator<Item = &TableRow> {
    facts.tables.iter().filter(|table| table.persistence == "p" && !table.is_partition)
}

fn tables_of<'a>(schema: &'a str, facts: &'a SetupFacts) -> impl Iterator<Item = &'a TableRow> {
    publishable(facts).filter(move |table| table.schema == schema)
}

fn with_keys(facts: &SetupFacts) -> Result<PublicationClause, SetupError> {
    let mut chosen = Vec::new();
    let (mut keyless, mut not_owned) = (Vec::new(), Vec::new());
    for table in publishable(facts) {
        if table.identity() == TableIdentity::None {
            keyless.push(table);
        } else if facts.connected.superuser || table.owned {
            chosen.push(table);
        } else {
            not_owned.push(table.full_name());
        }
    }
    let mut remarks: Vec<String> = keyless
        .iter()
        .map(|table| {
            let (name, fix) = (table.full_name(), table.identity_fix().join("  "));
            format!("left out: {name} has no key, and its UPDATEs would fail once published; {fix}")
        })
        .collect();
    if !not_owned.is_empty() {
        let role = &facts.connected.name;
        remarks.push(format!(
            "left out: only the owner of a table can publish it, and {role} does not own {}",
            some_of(&not_owned)
        ));
    }
    if chosen.is_empty() {
        let none = "there are no tables yet; create them first, or pass --all-tables".to_owned();
        return Err(SetupError::NoTables(if remarks.is_empty() {
            none
        } else {
            remarks.join("; ")
        }));
    }
    Ok(PublicationClause { clause: Some(list(&chosen)), remarks, dangers: Vec::new() })
}

fn named(names: &[String], facts: &SetupFacts) -> Result<PublicationClause, SetupError> {
    let mut chosen = Vec::new();
    for name in names {
        let table = find(name, &facts.tables)?;
        if !chosen.contains(&table.quoted_name()) && !table.is_followed() {
            chosen.push(table.quoted_name());
        }
    }
    let tables: Vec<&TableRow> =
        facts.tables.iter().filter(|table| chosen.contains(&table.quoted_name())).collect();
    let clause = (!tables.is_empty()).then(|| list(&tables));
    Ok(PublicationClause { clause, remarks: Vec::new(), dangers: dangers(&tables) })
}

fn in_schemas(schemas: &[String], facts: &SetupFacts) -> PublicationClause {
    let missing: Vec<&String> = schemas
        .iter()
        // Whether a schema without tables is published is unknown here: add it, the server decides.
        .filter(|schema| {
            tables_of(schema, facts).next().is_none()
                || tables_of(schema, facts).any(|table| !table.is_followed())
        })
        .collect();
    let affected: Vec<&TableRow> =
        missing.iter().flat_map(|schema| tables_of(schema, facts)).collect();
    let quoted: Vec<String> = missing.iter().map(|schema| quoted(schema)).collect();
    let clause = (!missing.is_empty()).then(|| format!("TABLES IN SCHEMA {}", quoted.join(", ")));
    PublicationClause { clause, remarks: Vec::new(), dangers: dangers(&affected) }
}

fn list(tables: &[&TableRow]) -> String {
    let names: Vec<String> = tables.iter().map(|table| table.quoted_name()).collect();
    format!("TABLE {}", names.join(", "))
}

/// One warning for each table whose UPDATE would fail.
fn dangers(tables: &[&TableRow]) -> Vec<String> {
    let keyless = tables.iter().filter(|table| table.identity() == TableIdentity::None);
    keyless
        .map(|table| {
            let (name, fix) = (table.full_name(), table.identity_fix().join("  "));
            format!("{name} has no key; once published, UPDATE and DELETE on it FAIL. First: {fix}")
        })
        .collect()
}

fn find<'a>(name: &str, tables: &'a [TableRow]) -> Result<&'a TableRow, SetupError> {
    let named = |table: &TableRow| TableName::new(&*table.schema, &*table.name);
    // A table's displayed name takes precedence over other spellings of another table.
    let exact = tables.iter().find(|table| table.full_name() == name);
    let spelled = || tables.iter().find(|table| named(table).spellings().iter().any(|s| s == name));
    exact.or_else(spelled).ok_or_else(|| {
        let nearest = tables
            .iter()
            .map(TableRow::full_name)
            .max_by(|a, b| strsim::jaro_winkler(a, name).total_cmp(&strsim::jaro_winkler(b, name)));
        SetupError::UnknownTable { name: name.to_owned(), nearest }
    })
}
