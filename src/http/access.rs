//! The caller of a request and the tables it may read: the one place where names become tables.
//!
//! To a caller, a table outside its grant does not exist: it is no part of "all tables", and the
//! response to its name is that to an unknown table.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use axum::http::Extensions;

use crate::auth::{Access, TokenIdentity};
use crate::http::params::RowFilter;
use crate::http::response::problem::{Problem, shown};
use crate::scope::{RowScope, ScopeCondition, ScopeConditions};
use crate::store::{Directory, Resource, ResourceSelection, ScopedResource};

/// The caller of a request.
#[derive(Clone, Debug)]
pub(crate) enum Principal {
    /// Requests are not authenticated (`auth.mode = "none"`, or the admin listener).
    Unrestricted,
    /// A caller with a valid token, as the [auth layer](super::middleware::auth_layer) identified it.
    Authenticated(Arc<TokenIdentity>),
    /// A caller without a token, on a public route.
    Anonymous,
}

/// A table that the caller may read.
#[derive(Clone, Debug)]
pub(crate) struct AuthorizedResource {
    pub(crate) table: Arc<Resource>,
    /// Conditions on the rows that the caller may read.
    pub(crate) rows: ScopeConditions,
}

impl Principal {
    /// The caller that the auth layer put into a request's extensions; without that layer, anonymous.
    pub(crate) fn of(extensions: &Extensions) -> Self {
        extensions.get::<Self>().cloned().unwrap_or(Self::Anonymous)
    }

    /// Whether responses to the caller may contain operational details.
    pub(crate) fn is_admin(&self) -> bool {
        match self {
            Self::Unrestricted => true,
            Self::Authenticated(identity) => identity.is_admin,
            Self::Anonymous => false,
        }
    }

    /// Whether the caller's token can become invalid while the process runs.
    pub(crate) fn can_expire(&self) -> bool {
        matches!(self, Self::Authenticated(identity) if identity.can_expire())
    }

    /// Waits until the caller's token is no longer valid; for ever without one. Cancel safe.
    pub(crate) async fn expired(&self) {
        match self {
            // Boxed, so that a waiting request without a token takes less memory.
            Self::Authenticated(identity) => Box::pin(identity.expired()).await,
            Self::Unrestricted | Self::Anonymous => std::future::pending().await,
        }
    }

    /// Rejects a caller whose token expired, or lost its key, after it was authenticated.
    pub(crate) fn require_valid(&self) -> Result<(), Problem> {
        match self {
            Self::Authenticated(identity) if identity.has_expired() => {
                Err(Problem::invalid_token())
            }
            _ => Ok(()),
        }
    }

    /// A hash of the caller's grants: callers with different ones may get different responses to the
    /// same request. `None` for callers that may read everything.
    pub(crate) fn grant_hash(&self) -> Option<u64> {
        let access = match self {
            Self::Authenticated(identity) if !self.reads_everything() => &identity.access,
            _ => return None,
        };
        // The same in every process: the client's next request may reach another instance.
        let mut hasher = DefaultHasher::new();
        access.hash(&mut hasher);
        Some(hasher.finish())
    }

    /// The published table that `name` means to the caller.
    pub(crate) fn table(
        &self,
        directory: &Directory,
        name: &str,
    ) -> Result<AuthorizedResource, Problem> {
        let table = directory.resolve(name).and_then(|table| self.authorized(directory, table));
        table.ok_or_else(|| {
            let known = self.all(directory);
            let known: Vec<&str> = known.iter().map(|known| known.table.name.as_str()).collect();
            Problem::unknown_table(name, &known)
        })
    }

    /// The tables with these names, without duplicates.
    pub(crate) fn tables(
        &self,
        directory: &Directory,
        names: &[String],
    ) -> Result<Vec<AuthorizedResource>, Problem> {
        let mut tables: Vec<AuthorizedResource> = Vec::with_capacity(names.len());
        for name in names {
            let authorized = self.table(directory, name)?;
            if !tables.iter().any(|known| known.table.oid() == authorized.table.oid()) {
                tables.push(authorized);
            }
        }
        Ok(tables)
    }

    /// Every table that the caller may read, ordered by displayed name.
    pub(crate) fn all(&self, directory: &Directory) -> Vec<AuthorizedResource> {
        let tables = directory.resources().iter();
        tables.filter_map(|table| self.authorized(directory, table)).collect()
    }

    /// A table with the scope of a request: the caller's grant and the request's filter.
    pub(crate) fn scoped_table(
        &self,
        directory: &Directory,
        name: &str,
        filter: &RowFilter,
    ) -> Result<ScopedResource, Problem> {
        let authorized = [self.table(directory, name)?];
        let scoped = scoped_tables(directory, &authorized, filter)?;
        scoped.into_iter().next().ok_or_else(|| Problem::unknown_table(name, &[]))
    }

    /// The tables of a request; without names all that the caller may read.
    pub(crate) fn selection(
        &self,
        directory: &Directory,
        names: Option<&[String]>,
        filter: &RowFilter,
    ) -> Result<ResourceSelection, Problem> {
        let tables = match names {
            Some(names) => self.tables(directory, names)?,
            None if self.reads_everything() && filter.is_empty() => {
                return Ok(ResourceSelection::All);
            }
            None => self.all(directory),
        };
        Ok(ResourceSelection::scoped(scoped_tables(directory, &tables, filter)?))
    }

    fn reads_everything(&self) -> bool {
        match self {
            Self::Unrestricted => true,
            Self::Authenticated(identity) => identity.access == Access::Everything,
            Self::Anonymous => false,
        }
    }

    /// The table with the caller's grant; `None` without one.
    fn authorized(
        &self,
        directory: &Directory,
        table: &Arc<Resource>,
    ) -> Option<AuthorizedResource> {
        let rows = match self {
            Self::Unrestricted => ScopeConditions::default(),
            Self::Authenticated(identity) => granted(&identity.access, directory, table)?,
            Self::Anonymous => return None,
        };
        // Where the grant's conditions can't be evaluated, the caller may not read any row.
        match RowScope::of(table.table(), &rows) {
            Ok(_) => Some(AuthorizedResource { table: table.clone(), rows }),
            Err(reason) => {
                tracing::debug!(%reason, "the condition of a grant can't be evaluated; the token does not grant the table");
                None
            }
        }
    }
}

/// The tables with the conditions of a request's filter added to those of the grants. A term applies to
/// every table that has its scope column, or to the one that qualifies it; a term that applies to none
/// is an error.
pub(crate) fn scoped_tables(
    directory: &Directory,
    tables: &[AuthorizedResource],
    filter: &RowFilter,
) -> Result<Vec<ScopedResource>, Problem> {
    let mut added: Vec<Vec<ScopeCondition>> = vec![Vec::new(); tables.len()];
    for term in filter.terms() {
        let mut applies = false;
        for (authorized, added) in tables.iter().zip(&mut added) {
            if let Some(column) = scope_column(directory, &authorized.table, &term.column) {
                added.push(ScopeCondition { column, value: term.value.clone() });
                applies = true;
            }
        }
        if !applies {
            return Err(no_scope_column(&term.column, tables));
        }
    }
    let scoped = tables.iter().zip(added).map(|(authorized, added)| {
        let conditions = authorized.rows.and(&added.into_iter().collect());
        // Every column was resolved before; if one is gone by now, no row matches.
        let scope =
            RowScope::of(authorized.table.table(), &conditions).unwrap_or(RowScope::Nothing);
        ScopedResource { resource: authorized.table.clone(), scope }
    });
    Ok(scoped.collect())
}

/// The table's scope column that `name` means: by itself, or qualified with the table's name.
fn scope_column(directory: &Directory, table: &Arc<Resource>, name: &str) -> Option<String> {
    let has = |column: &str| table.scope_columns().iter().any(|scope| scope.name == column);
    if has(name) {
        return Some(name.to_owned());
    }
    let (qualifier, column) = name.rsplit_once('.')?;
    let is_this = directory.resolve(qualifier).is_some_and(|known| Arc::ptr_eq(known, table));
    (is_this && has(column)).then(|| column.to_owned())
}

fn no_scope_column(name: &str, tables: &[AuthorizedResource]) -> Problem {
    let of_table = |authorized: &AuthorizedResource| {
        let table = authorized.table.clone();
        let columns = table.scope_columns().to_vec().into_iter();
        columns.map(move |column| format!("{}.{}", table.name, column.name))
    };
    let known: Vec<String> = tables.iter().flat_map(of_table).collect();
    let known = match known.as_slice() {
        [] => "there are none".to_owned(),
        known => known.join(", "),
    };
    Problem::invalid(format!(
        "`where`: {} is not a scope column of the requested tables; valid columns: {known}",
        shown(name)
    ))
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
