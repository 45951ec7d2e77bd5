//! Counts of operations and checks; a run with too few of them is a failure.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

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

/// Fewest of each per second of the run for the run to prove anything.
const MIN_PER_SECOND: &[(Count, f64)] = &[
    (Count::Commits, 10.0),
    (Count::Migrations, 0.1),
    (Count::Responses, 10.0),
    (Count::Changes, 50.0),
    (Count::Comparisons, 3.0),
    (Count::RowsCompared, 50.0),
    (Count::SumsChecked, 1.0),
    (Count::OwnWritesRead, 0.5),
    (Count::RepeatedReads, 5.0),
    (Count::QuiescentPhases, 0.02),
];
const FAULTS_PER_SECOND_MIN: f64 = 0.1;

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

    /// Counts below their minimum for a run of this duration.
    pub(crate) fn shortfalls(&self, duration: Duration) -> Vec<String> {
        let least = |rate: f64| rate * duration.as_secs_f64();
        let counts = MIN_PER_SECOND
            .iter()
            .map(|(count, rate)| (format!("{count:?}"), self.of(*count), *rate));
        counts
            .chain([("faults".to_owned(), self.faults(), FAULTS_PER_SECOND_MIN)])
            .filter(|(_, count, rate)| (*count as f64) < least(*rate))
            .map(|(name, count, rate)| format!("{name}: {count}, at least {:.0}", least(rate)))
            .collect()
    }
}

impl fmt::Display for ChaosCounters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} faults: {:?}", self.faults(), self.faults.lock().unwrap())?;
        write!(f, "{:?}", self.counts.lock().unwrap())
    }
}
