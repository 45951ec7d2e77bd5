//! What whoever asks may read: the one place where names of tables become tables.
//!
//! A table that the caller may not read is, for them, not there: it is no part of "all tables", and
//! asking for it by name is answered as if nobody had ever made it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use axum::http::Extensions;

use crate::auth::{Access, TokenIdentity};
use crate::http::params::RowFilter;
use crate::http::response::problem::{Problem, shown};
use crate::scope::{RowScope, ScopeCondition, ScopeConditions};
use crate::store::{Directory, Resource, ResourceSelection, ScopedResource};

/// Whoever asks.
#[derive(Clone, Debug)]
pub(crate) enum Principal {
    /// Nobody is asked who they are (`auth.mode = "none"`, or a listener of operators' own).
    Unrestricted,
    /// Who brought a token, as [`super::gate`] found it.
    Authenticated(Arc<TokenIdentity>),
    /// Who brought none, on a route that is open.
    Anonymous,
}

/// A table as the caller may read it.
#[derive(Clone, Debug)]
pub(crate) struct AuthorizedResource {
    pub(crate) table: Arc<Resource>,
    /// Which of its rows.
    pub(crate) rows: ScopeConditions,
}

impl Principal {
    /// Who sent this request: put there by the gate, without which nobody is known.
    pub(crate) fn of(extensions: &Extensions) -> Self {
        extensions.get::<Self>().cloned().unwrap_or(Self::Anonymous)
    }

    /// Whether operators' details may be told.
    pub(crate) fn is_operator(&self) -> bool {
        match self {
            Self::Unrestricted => true,
            Self::Authenticated(identity) => identity.is_admin,
            Self::Anonymous => false,
        }
    }

    /// Whether the caller's token can become invalid while we run.
    pub(crate) fn may_end(&self) -> bool {
        matches!(self, Self::Authenticated(identity) if identity.can_expire())
    }

    /// Waits until the caller's token isn't valid any more; most are for ever. Cancel safe.
    pub(crate) async fn ended(&self) {
        match self {
            // In a box, so that who needs none of it waits in less memory.
            Self::Authenticated(identity) => Box::pin(identity.expired()).await,
            Self::Unrestricted | Self::Anonymous => std::future::pending().await,
        }
    }

    /// Refuses who was let in, and whose token has expired since or lost its key.
    pub(crate) fn require_valid(&self) -> Result<(), Problem> {
        match self {
            Self::Authenticated(identity) if identity.has_expired() => {
                Err(Problem::token_refused())
            }
            _ => Ok(()),
        }
    }

    /// Tells callers apart who may be given different answers to one question; `None` for those
    /// who may read everything.
    pub(crate) fn mark(&self) -> Option<u64> {
        let access = match self {
            Self::Authenticated(identity) if !self.reads_everything() => &identity.access,
            _ => return None,
        };
        // The same in every process: clients may ask another instance.
        let mut hasher = DefaultHasher::new();
        access.hash(&mut hasher);
        Some(hasher.finish())
    }

    /// The published table that the caller calls `name`.
    pub(crate) fn table(
        &self,
        directory: &Directory,
        name: &str,
    ) -> Result<AuthorizedResource, Problem> {
        let table = directory.resolve(name).and_then(|table| self.readable(directory, table));
        table.ok_or_else(|| {
            let known = self.all(directory);
            let known: Vec<&str> = known.iter().map(|known| known.table.name.as_str()).collect();
            Problem::unknown_table(name, &known)
        })
    }

    /// The tables of these names, each once.
    pub(crate) fn tables(
        &self,
        directory: &Directory,
        names: &[String],
    ) -> Result<Vec<AuthorizedResource>, Problem> {
        let mut tables: Vec<AuthorizedResource> = Vec::with_capacity(names.len());
        for name in names {
            let readable = self.table(directory, name)?;
            if !tables.iter().any(|known| known.table.oid() == readable.table.oid()) {
                tables.push(readable);
            }
        }
        Ok(tables)
    }

    /// Every table that the caller may read, ordered by displayed name.
    pub(crate) fn all(&self, directory: &Directory) -> Vec<AuthorizedResource> {
        let tables = directory.resources().iter();
        tables.filter_map(|table| self.readable(directory, table)).collect()
    }

    /// The part of a table that a question is about.
    pub(crate) fn part(
        &self,
        directory: &Directory,
        name: &str,
        narrowing: &RowFilter,
    ) -> Result<ScopedResource, Problem> {
        let readable = [self.table(directory, name)?];
        let parts = narrowed(directory, &readable, narrowing)?;
        parts.into_iter().next().ok_or_else(|| Problem::unknown_table(name, &[]))
    }

    /// What a question is about; `None` asks for all that may be read.
    pub(crate) fn selection(
        &self,
        directory: &Directory,
        names: Option<&[String]>,
        narrowing: &RowFilter,
    ) -> Result<ResourceSelection, Problem> {
        let tables = match names {
            Some(names) => self.tables(directory, names)?,
            None if self.reads_everything() && narrowing.is_empty() => {
                return Ok(ResourceSelection::All);
            }
            None => self.all(directory),
        };
        Ok(ResourceSelection::scoped(narrowed(directory, &tables, narrowing)?))
    }

    fn reads_everything(&self) -> bool {
        match self {
            Self::Unrestricted => true,
            Self::Authenticated(identity) => identity.access == Access::Everything,
            Self::Anonymous => false,
        }
    }

    /// The table as the caller may read it; `None`: not at all.
    fn readable(&self, directory: &Directory, table: &Arc<Resource>) -> Option<AuthorizedResource> {
        let rows = match self {
            Self::Unrestricted => ScopeConditions::default(),
            Self::Authenticated(identity) => granted(&identity.access, directory, table)?,
            Self::Anonymous => return None,
        };
        // Where the rows can't be told apart, who may not see all of them sees none.
        match RowScope::of(table.table(), &rows) {
            Ok(_) => Some(AuthorizedResource { table: table.clone(), rows }),
            Err(reason) => {
                tracing::debug!(%reason, "a token limits rows by it, so it does not read the table");
                None
            }
        }
    }
}

/// What is left of the tables under the conditions that the client adds. Each is for every table that
/// has such a scope column, or for the one named before it; one that is for none is a mistake.
pub(crate) fn narrowed(
    directory: &Directory,
    tables: &[AuthorizedResource],
    narrowing: &RowFilter,
) -> Result<Vec<ScopedResource>, Problem> {
    let mut added: Vec<Vec<ScopeCondition>> = vec![Vec::new(); tables.len()];
    for clause in narrowing.clauses() {
        let mut is_known = false;
        for (readable, added) in tables.iter().zip(&mut added) {
            if let Some(column) = meant(directory, &readable.table, &clause.column) {
                added.push(ScopeCondition { column, value: clause.value.clone() });
                is_known = true;
            }
        }
        if !is_known {
            return Err(no_scope_column(&clause.column, tables));
        }
    }
    let parts = tables.iter().zip(added).map(|(readable, added)| {
        let conditions = readable.rows.and(&added.into_iter().collect());
        // Every column was looked for before: a table without it shows nothing.
        let scope = RowScope::of(readable.table.table(), &conditions).unwrap_or(RowScope::Nothing);
        ScopedResource { resource: readable.table.clone(), scope }
    });
    Ok(parts.collect())
}

/// The scope column of the table that `name` means: alone, or behind the table's name.
fn meant(directory: &Directory, table: &Arc<Resource>, name: &str) -> Option<String> {
    let has = |column: &str| table.scope_columns().iter().any(|scope| scope.name == column);
    if has(name) {
        return Some(name.to_owned());
    }
    let (before, column) = name.rsplit_once('.')?;
    let is_it = directory.resolve(before).is_some_and(|known| Arc::ptr_eq(known, table));
    (is_it && has(column)).then(|| column.to_owned())
}

fn no_scope_column(name: &str, tables: &[AuthorizedResource]) -> Problem {
    let of_table = |readable: &AuthorizedResource| {
        let table = readable.table.clone();
        let columns = table.scope_columns().to_vec().into_iter();
        columns.map(move |column| format!("{}.{}", table.name, column.name))
    };
    let known: Vec<String> = tables.iter().flat_map(of_table).collect();
    let known = match known.as_slice() {
        [] => "there is none here".to_owned(),
        known => format!("there are {}", known.join(", ")),
    };
    Problem::invalid(format!("`where` takes scope columns, and {} is none; {known}", shown(name)))
}

fn granted(
    access: &Access,
    directory: &Directory,
    table: &Arc<Resource>,
) -> Option<ScopeConditions> {
    let Access::Tables(granted) = access else { return Some(ScopeConditions::default()) };
    let mut all = granted.iter().filter(|granted| {
        directory.resolve(&granted.table).is_some_and(|known| Arc::ptr_eq(known, table))
    });
    let first = all.next()?.rows.clone();
    Some(all.fold(first, |rows, more| rows.and(&more.rows)))
}
