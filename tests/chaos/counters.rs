//! Counts of operations and checks; a run in which one of them never happened is a failure.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;

/// Counted operations and checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Count {
    Commits,
    /// Statements that the server rejected or a fault interrupted.
    Rejected,
    Migrations,
    Responses,
    Changes,
    Resets,
    /// Requests without a response, or with 503.
    Unavailable,
    /// Tables of a client compared with the database.
    Comparisons,
    RowsCompared,
    SumsChecked,
    OwnWritesRead,
    RepeatedReads,
    QuiescentPhases,
}

/// Without at least one of each a run proves nothing. There is no minimum rate: it would measure the
/// machine.
const REQUIRED: &[Count] = &[
    Count::Commits,
    Count::Migrations,
    Count::Responses,
    Count::Changes,
    Count::Comparisons,
    Count::RowsCompared,
    Count::SumsChecked,
    Count::OwnWritesRead,
    Count::RepeatedReads,
    Count::QuiescentPhases,
];

/// The counts of all tasks.
#[derive(Default)]
pub(crate) struct ChaosCounters {
    counts: Mutex<BTreeMap<Count, usize>>,
    faults: Mutex<BTreeMap<&'static str, usize>>,
}

impl ChaosCounters {
    pub(crate) fn add(&self, count: Count, n: usize) {
        *self.counts.lock().unwrap().entry(count).or_default() += n;
    }

    pub(crate) fn fault(&self, name: &'static str) {
        *self.faults.lock().unwrap().entry(name).or_default() += 1;
    }

    pub(crate) fn of(&self, count: Count) -> usize {
        self.counts.lock().unwrap().get(&count).copied().unwrap_or(0)
    }

    fn faults(&self) -> usize {
        self.faults.lock().unwrap().values().sum()
    }

    /// Required operations and checks that never happened.
    pub(crate) fn missing(&self) -> Vec<String> {
        let counts = REQUIRED.iter().map(|count| (format!("{count:?}"), self.of(*count)));
        counts
            .chain([("faults".to_owned(), self.faults())])
            .filter(|(_, count)| *count == 0)
            .map(|(name, _)| format!("{name}: none in the whole run"))
            .collect()
    }
}

impl fmt::Display for ChaosCounters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} faults: {:?}", self.faults(), self.faults.lock().unwrap())?;
        write!(f, "{:?}", self.counts.lock().unwrap())
    }
}
