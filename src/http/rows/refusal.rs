//! Why rows can't be had, as clients are told.

use crate::http::problem::{Kind, Problem};
use crate::store::{PublishedTable, RowsError};
use crate::table::{RowCachePlan, RowCaching};

/// How the table's rows are held; a problem where they are not.
pub(crate) fn held(table: &PublishedTable) -> Result<&RowCachePlan, Problem> {
    match &table.table.rows {
        RowCaching::Enabled(held) => Ok(held),
        RowCaching::Disabled => Err(RowsError::Off(table.name.clone()).into()),
        RowCaching::Unavailable(reason) => {
            let (table, reason) = (table.name.clone(), reason.clone());
            Err(RowsError::Refused { table, reason }.into())
        }
    }
}

impl From<RowsError> for Problem {
    fn from(error: RowsError) -> Self {
        let said = error.to_string();
        match error {
            RowsError::Off(_) => Self::new(
                Kind::RowsNotHeld,
                format!(
                    "{said}; to be served, they need rows = \"lazy\" or \"preload\" in the configuration"
                ),
            ),
            RowsError::NotPreloaded(_) => Self::new(
                Kind::RowsNotHeld,
                format!(
                    "{said}, so they can be read by id only; to read all of them, they need \
                     rows = \"preload\" in the configuration"
                ),
            ),
            RowsError::Refused { .. } | RowsError::Unwritable(_) => {
                Self::new(Kind::RowsNotHeld, said)
            }
            RowsError::BadKey(_) => Self::invalid(said),
            RowsError::NotNow(_) => Self::new(Kind::RowsNotNow, said),
        }
    }
}
