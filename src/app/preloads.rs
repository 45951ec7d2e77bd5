//! How far the tables are that are loaded as a whole at the start.

use crate::store::{RowsState, RowsStatus, Store};

/// Tells how far they are.
#[derive(Clone, Debug)]
pub struct Preloads(Store);

/// How far they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Preloading {
    /// Which tables there are is not known yet.
    NotYet,
    /// A table is being copied, or waits for it.
    Copying {
        /// Its displayed name.
        table: String,
        /// Rows copied so far.
        rows: u64,
        /// About so many there are; 0 where PostgreSQL has not counted them.
        estimate: u64,
        /// Tables that are not in memory yet, this one included.
        left: usize,
    },
    /// All that can be loaded is.
    Done,
}

impl Preloads {
    pub(super) fn of(store: Store) -> Self {
        Self(store)
    }

    /// How far they are now.
    pub fn now(&self) -> Preloading {
        match self.0.applied() {
            None => Preloading::NotYet,
            Some(_) => seen(self.0.rows_status()),
        }
    }
}

fn seen(tables: Vec<RowsStatus>) -> Preloading {
    let loading = tables.into_iter().filter_map(|table| match table.state {
        RowsState::Loading { rows, estimate } => Some((table.table, rows, estimate)),
        _ => None,
    });
    let loading: Vec<_> = loading.collect();
    let left = loading.len();
    // One is copied at a time; of those that wait nothing is known.
    match loading.into_iter().reduce(|one, next| if one.1.max(one.2) > 0 { one } else { next }) {
        Some((table, rows, estimate)) => Preloading::Copying { table, rows, estimate, left },
        None => Preloading::Done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::RowRequestCounts;

    fn told(tables: &[(&str, RowsState)]) -> Preloading {
        let status = |(table, state): &(&str, RowsState)| RowsStatus {
            table: (*table).into(),
            state: state.clone(),
            entries: 0,
            bytes: 0,
            requests: RowRequestCounts::default(),
        };
        seen(tables.iter().map(status).collect())
    }

    #[test]
    fn the_table_that_is_being_copied_is_told_and_how_many_are_left() {
        let loading = |rows, estimate| RowsState::Loading { rows, estimate };
        let (lazy, here) = (("a", RowsState::Lazy), ("b", RowsState::Complete));
        let refused = ("c", RowsState::Unavailable("too large".into()));
        assert_eq!(told(&[lazy.clone(), here.clone(), refused.clone()]), Preloading::Done);
        let copying = |table: &str, rows, estimate, left| Preloading::Copying {
            table: table.into(),
            rows,
            estimate,
            left,
        };
        let waits = |name| (name, loading(0, 0));
        let tables = [lazy, here, refused, waits("d"), ("e", loading(3, 9)), waits("f")];
        assert_eq!(told(&tables), copying("e", 3, 9, 3));
        assert_eq!(told(&[waits("d"), ("e", loading(3, 0))]), copying("e", 3, 0, 2));
        assert!(matches!(told(&[waits("d")]), Preloading::Copying { left: 1, .. }));
    }
}
