//! What whoever asks may read: the one place where names of tables become tables.
//!
//! A table that the caller may not read is, for them, not there: it is no part of "all tables", and
//! asking for it by name is answered as if nobody had ever made it.

use std::sync::Arc;

use axum::http::Extensions;

use super::problem::Problem;
use crate::auth::{Access, Identity};
use crate::scope::Conditions;
use crate::store::{Directory, PublishedTable, Selection};

/// Whoever asks.
#[derive(Clone, Debug)]
pub(crate) enum Caller {
    /// Nobody is asked who they are (`auth.mode = "none"`, or a listener of operators' own).
    Anybody,
    /// Who brought a token, as [`super::gate`] found it.
    Known(Arc<Identity>),
    /// Who brought none, on a route that is open.
    Stranger,
}

/// A table as the caller may read it.
#[derive(Clone, Debug)]
pub(crate) struct Readable {
    pub(crate) table: Arc<PublishedTable>,
    /// Which of its rows.
    pub(crate) rows: Conditions,
}

impl Caller {
    /// Who sent this request: put there by the gate, without which nobody is known.
    pub(crate) fn of(extensions: &Extensions) -> Self {
        extensions.get::<Self>().cloned().unwrap_or(Self::Stranger)
    }

    /// Whether operators' details may be told.
    pub(crate) fn is_operator(&self) -> bool {
        match self {
            Self::Anybody => true,
            Self::Known(identity) => identity.operator,
            Self::Stranger => false,
        }
    }

    /// The published table that the caller calls `name`.
    pub(crate) fn table(&self, directory: &Directory, name: &str) -> Result<Readable, Problem> {
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
    ) -> Result<Vec<Readable>, Problem> {
        let mut tables: Vec<Readable> = Vec::with_capacity(names.len());
        for name in names {
            let readable = self.table(directory, name)?;
            if !tables.iter().any(|known| known.table.oid() == readable.table.oid()) {
                tables.push(readable);
            }
        }
        Ok(tables)
    }

    /// Every table that the caller may read, ordered by displayed name.
    pub(crate) fn all(&self, directory: &Directory) -> Vec<Readable> {
        let tables = directory.tables().iter();
        tables.filter_map(|table| self.readable(directory, table)).collect()
    }

    /// The tables a question is about; `None` asks for all that may be read.
    pub(crate) fn selection(
        &self,
        directory: &Directory,
        names: Option<&[String]>,
    ) -> Result<Selection, Problem> {
        let tables = match names {
            Some(names) => self.tables(directory, names)?,
            None if self.reads_everything() => return Ok(Selection::All),
            None => self.all(directory),
        };
        Ok(Selection::tables(tables.into_iter().map(|readable| readable.table)))
    }

    fn reads_everything(&self) -> bool {
        match self {
            Self::Anybody => true,
            Self::Known(identity) => identity.access == Access::Everything,
            Self::Stranger => false,
        }
    }

    /// The table as the caller may read it; `None`: not at all.
    fn readable(&self, directory: &Directory, table: &Arc<PublishedTable>) -> Option<Readable> {
        let rows = match self {
            Self::Anybody => Conditions::default(),
            Self::Known(identity) => granted(&identity.access, directory, table)?,
            Self::Stranger => return None,
        };
        let readable = Readable { table: table.clone(), rows };
        // Rows can't be told apart here yet, so who may not see all of them sees none.
        readable.rows.is_empty().then_some(readable)
    }
}

fn granted(
    access: &Access,
    directory: &Directory,
    table: &Arc<PublishedTable>,
) -> Option<Conditions> {
    let Access::Tables(granted) = access else { return Some(Conditions::default()) };
    let mut all = granted.iter().filter(|granted| {
        directory.resolve(&granted.table).is_some_and(|known| Arc::ptr_eq(known, table))
    });
    let first = all.next()?.rows.clone();
    Some(all.fold(first, |rows, more| rows.and(&more.rows)))
}
