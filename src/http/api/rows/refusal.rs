//! Why rows can't be had, as clients are told.

use crate::http::response::problem::{Problem, ProblemType};
use crate::store::{Resource, RowsError};
use crate::table::{RowCachePlan, RowCaching};

/// How the table's rows are held; a problem where they are not.
pub(crate) fn held(table: &Resource) -> Result<&RowCachePlan, Problem> {
    match table.row_caching() {
        RowCaching::Enabled(held) => Ok(held),
        RowCaching::Disabled => Err(RowsError::NotCached(table.name.clone()).into()),
        RowCaching::Unavailable(reason) => {
            let (table, reason) = (table.name.clone(), reason.clone());
            Err(RowsError::Unavailable { table, reason }.into())
        }
    }
}

impl From<RowsError> for Problem {
    fn from(error: RowsError) -> Self {
        let said = error.to_string();
        match error {
            RowsError::NotCached(_) => Self::new(
                ProblemType::RowsNotHeld,
                format!(
                    "{said}; to be served, they need rows = \"lazy\" or \"preload\" in the configuration"
                ),
            ),
            RowsError::NotPreloaded(_) => Self::new(
                ProblemType::RowsNotHeld,
                format!(
                    "{said}, so they can be read by id only; to read all of them, they need \
                     rows = \"preload\" in the configuration"
                ),
            ),
            RowsError::Unavailable { .. } | RowsError::Unencodable(_) => {
                Self::new(ProblemType::RowsNotHeld, said)
            }
            RowsError::BadKey(_) => Self::invalid(said),
            RowsError::TemporarilyUnavailable(_) => Self::new(ProblemType::RowsNotNow, said),
        }
    }
}
