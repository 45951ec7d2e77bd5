//! Errors of cached rows as problems.

use crate::http::response::problem::{Problem, ProblemType};
use crate::store::{Resource, RowsError};
use crate::table::{RowCachePlan, RowCaching};

/// The plan of the table's row cache; 409 where its rows are not cached.
pub(crate) fn require_cached(table: &Resource) -> Result<&RowCachePlan, Problem> {
    match table.row_caching() {
        RowCaching::Enabled(plan) => Ok(plan),
        RowCaching::Disabled => Err(RowsError::NotCached(table.name.clone()).into()),
        RowCaching::Unavailable(reason) => {
            let (table, reason) = (table.name.clone(), reason.clone());
            Err(RowsError::Unavailable { table, reason }.into())
        }
    }
}

impl From<RowsError> for Problem {
    fn from(error: RowsError) -> Self {
        let message = error.to_string();
        match error {
            RowsError::NotCached(_) => Self::new(
                ProblemType::RowsNotCached,
                format!(
                    "{message}; to cache them, set rows = \"lazy\" or \"preload\" in the configuration"
                ),
            ),
            RowsError::NotPreloaded(_) => Self::new(
                ProblemType::RowsNotCached,
                format!(
                    "{message}, so they can be read by id only; to read all of them, set \
                     rows = \"preload\" in the configuration"
                ),
            ),
            RowsError::Unavailable { .. } | RowsError::Unencodable(_) => {
                Self::new(ProblemType::RowsNotCached, message)
            }
            RowsError::BadKey(_) => Self::invalid(message),
            RowsError::TemporarilyUnavailable(_) => {
                Self::new(ProblemType::RowsUnavailable, message)
            }
        }
    }
}
