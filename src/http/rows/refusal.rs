//! Why rows can't be had, as clients are told.

use crate::http::problem::{Kind, Problem};
use crate::store::{PublishedTable, RowsError};
use crate::table::{HeldRows, Rows};

/// How the table's rows are held; a problem where they are not.
pub(crate) fn held(table: &PublishedTable) -> Result<&HeldRows, Problem> {
    match &table.table.rows {
        Rows::Held(held) => Ok(held),
        Rows::Off => Err(refused(RowsError::Off(table.name.clone()))),
        Rows::Refused(reason) => {
            Err(refused(RowsError::Refused { table: table.name.clone(), reason: reason.clone() }))
        }
    }
}

/// The problem that a refusal of the store is to its client.
pub(crate) fn refused(error: RowsError) -> Problem {
    let said = error.to_string();
    match error {
        RowsError::Off(_) => Problem::new(
            Kind::RowsNotHeld,
            format!(
                "{said}; to be served, the configuration must say rows = \"lazy\" or \"preload\" for it"
            ),
        ),
        RowsError::NotPreloaded(_) => Problem::new(
            Kind::RowsNotHeld,
            format!(
                "{said}, so they can be read by id only; all of them need rows = \"preload\" in the configuration"
            ),
        ),
        RowsError::Refused { .. } => Problem::new(Kind::RowsNotHeld, said),
        RowsError::BadKey(_) => Problem::invalid(said),
        RowsError::NotNow(_) => Problem::new(Kind::RowsNotNow, said),
    }
}
