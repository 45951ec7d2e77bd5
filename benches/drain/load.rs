//! Backlogs: the shape of the rows, the size of the commits, and the existing rows.

use clap::ValueEnum;

/// The columns of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LoadShape {
    /// An id and a number.
    Small,
    /// About 30 columns and 500 bytes, like many tables of applications.
    Wide,
}

impl LoadShape {
    /// Columns beside the id.
    const WIDE_COLUMNS: u32 = 30;

    /// The table's columns.
    pub(crate) fn columns(self) -> String {
        match self {
            Self::Small => "id bigint PRIMARY KEY, v int".to_owned(),
            Self::Wide => {
                let texts = (1..=Self::WIDE_COLUMNS).map(|n| format!(", c{n} text"));
                format!("id bigint PRIMARY KEY, v int{}", texts.collect::<String>())
            }
        }
    }

    /// The values of a row whose id is the SQL expression `id`.
    fn values(self, id: &str) -> String {
        match self {
            Self::Small => format!("{id}, 0"),
            Self::Wide => {
                let texts = (1..=Self::WIDE_COLUMNS).map(|n| format!(", 'value of column {n:02}'"));
                format!("{id}, 0{}", texts.collect::<String>())
            }
        }
    }
}

/// One kind of backlog.
#[derive(Clone, Copy)]
pub(crate) struct WalLoad {
    pub(crate) shape: LoadShape,
    pub(crate) rows: u32,
    pub(crate) rows_per_commit: u32,
    /// The first id.
    pub(crate) first: u32,
    /// Existing rows that are updated repeatedly, instead of new ones.
    pub(crate) updated: Option<u32>,
}

impl WalLoad {
    pub(crate) fn name(&self) -> String {
        let Self { rows, rows_per_commit, .. } = self;
        match rows_per_commit {
            1 => "commits of 1 row".to_owned(),
            all if all == rows => "one commit".to_owned(),
            some => format!("commits of {some} rows"),
        }
    }

    /// Whether the backlog is one commit, so large that it becomes a reset by default.
    pub(crate) fn is_one_commit(&self) -> bool {
        self.rows_per_commit == self.rows
    }

    /// The statement that writes the backlog.
    pub(crate) fn sql(&self) -> String {
        let Self { rows, rows_per_commit, first, .. } = *self;
        let commits = rows / rows_per_commit;
        let change = match self.updated {
            Some(there) => format!(
                "UPDATE items SET v = v + 1 WHERE id = ANY (ARRAY(SELECT 1 + (i::bigint * {rows_per_commit} + n) \
                 * 7919 % {there} FROM generate_series(0, {rows_per_commit} - 1) n));"
            ),
            None => format!(
                "INSERT INTO items SELECT {} FROM generate_series({first}::bigint + i * {rows_per_commit}, \
                 {first}::bigint + (i + 1) * {rows_per_commit} - 1) id;",
                self.shape.values("id")
            ),
        };
        let change = match (self.updated, rows_per_commit) {
            (None, 1) => {
                let id = format!("{first}::bigint + i");
                format!("INSERT INTO items VALUES ({});", self.shape.values(&id))
            }
            _ => change,
        };
        format!("DO $$ BEGIN FOR i IN 0 .. {commits} - 1 LOOP {change} COMMIT; END LOOP; END $$")
    }

    /// The statement that inserts the existing rows.
    pub(crate) fn rows_before(&self) -> Option<String> {
        let there = self.updated?;
        let values = self.shape.values("id");
        Some(format!("INSERT INTO items SELECT {values} FROM generate_series(1, {there}) id"))
    }
}
