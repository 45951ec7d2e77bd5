//! Progress of the tables that are preloaded at startup.

use crate::store::{RowsState, RowsStatus, Store};

/// Access to the progress.
#[derive(Clone, Debug)]
pub struct Preloads(Store);

/// The progress of all preloads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Preloading {
    /// The tables are not known yet.
    NotStarted,
    /// At least one table is being copied or waits for its copy.
    Copying {
        /// The table, in the spelling of the API.
        table: String,
        /// Rows copied so far.
        rows: u64,
        /// PostgreSQL's estimate of the table's rows; 0 if there is none.
        estimate: u64,
        /// Tables that are not loaded yet, including this one.
        left: usize,
    },
    /// Every table is loaded, or cannot be.
    Done,
}

impl Preloads {
    pub(super) fn of(store: Store) -> Self {
        Self(store)
    }

    /// The progress now.
    pub fn now(&self) -> Preloading {
        match self.0.applied() {
            None => Preloading::NotStarted,
            Some(_) => progress(self.0.rows_status()),
        }
    }
}

fn progress(tables: Vec<RowsStatus>) -> Preloading {
    let loading = tables.into_iter().filter_map(|table| match table.state {
        RowsState::Loading { rows, estimate } => Some((table.table, rows, estimate)),
        _ => None,
    });
    let loading: Vec<_> = loading.collect();
    let left = loading.len();
    // One table is copied at a time; the others have no progress yet.
    match loading.into_iter().reduce(|one, next| if one.1.max(one.2) > 0 { one } else { next }) {
        Some((table, rows, estimate)) => Preloading::Copying { table, rows, estimate, left },
        None => Preloading::Done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::RowRequestCounts;

    fn progress_of(tables: &[(&str, RowsState)]) -> Preloading {
        let status = |(table, state): &(&str, RowsState)| RowsStatus {
            table: (*table).into(),
            state: state.clone(),
            entries: 0,
            bytes: 0,
            requests: RowRequestCounts::default(),
        };
        progress(tables.iter().map(status).collect())
    }

    #[test]
    fn progress_is_that_of_the_active_copy_and_the_number_of_tables_left() {
        let loading = |rows, estimate| RowsState::Loading { rows, estimate };
        let (lazy, loaded) = (("a", RowsState::Lazy), ("b", RowsState::Complete));
        let refused = ("c", RowsState::Unavailable("too large".into()));
        assert_eq!(progress_of(&[lazy.clone(), loaded.clone(), refused.clone()]), Preloading::Done);
        let copying = |table: &str, rows, estimate, left| Preloading::Copying {
            table: table.into(),
            rows,
            estimate,
            left,
        };
        let waits = |name| (name, loading(0, 0));
        let tables = [lazy, loaded, refused, waits("d"), ("e", loading(3, 9)), waits("f")];
        assert_eq!(progress_of(&tables), copying("e", 3, 9, 3));
        assert_eq!(progress_of(&[waits("d"), ("e", loading(3, 0))]), copying("e", 3, 0, 2));
        assert!(matches!(progress_of(&[waits("d")]), Preloading::Copying { left: 1, .. }));
    }
}
