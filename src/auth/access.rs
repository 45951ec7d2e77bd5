//! The tables that a caller may read, and which of their rows.

use crate::scope::ScopeConditions;

/// The tables that a caller may read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Every published table with all rows.
    Everything,
    /// These tables; an empty list permits nothing.
    Tables(Vec<Granted>),
}

/// A table that may be read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Granted {
    /// Its name in any spelling that clients may use.
    pub table: String,
    /// The conditions on its rows. If a table is granted twice, both must hold.
    pub rows: ScopeConditions,
}

impl Access {
    /// Access to no table.
    pub fn nothing() -> Self {
        Self::Tables(Vec::new())
    }
}
