//! What was done and checked, counted; too little is a failure.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

/// Things that are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Count {
    Commits,
    /// Statements the server refused, or that a fault ended.
    Refused,
    Migrations,
    Answers,
    Changes,
    Resets,
    /// A service did not answer, or said "not now".
    Waits,
    /// A mirror's table against the database.
    Comparisons,
    RowsCompared,
    SumsChecked,
    OwnWritesRead,
    RowsWatched,
    QuietPoints,
}

/// The least of each that means something, a second of the whole run.
const LEAST_A_SECOND: &[(Count, f64)] = &[
    (Count::Commits, 10.0),
    (Count::Migrations, 0.1),
    (Count::Answers, 10.0),
    (Count::Changes, 50.0),
    (Count::Comparisons, 3.0),
    (Count::RowsCompared, 50.0),
    (Count::SumsChecked, 1.0),
    (Count::OwnWritesRead, 0.5),
    (Count::RowsWatched, 5.0),
    (Count::QuietPoints, 0.02),
];
const FAULTS_A_SECOND: f64 = 0.1;

/// Counts from all tasks.
#[derive(Default)]
pub(crate) struct ChaosCounters {
    counts: Mutex<BTreeMap<Count, usize>>,
    faults: Mutex<BTreeMap<&'static str, usize>>,
}

impl ChaosCounters {
    pub(crate) fn add(&self, what: Count, many: usize) {
        *self.counts.lock().unwrap().entry(what).or_default() += many;
    }

    pub(crate) fn fault(&self, name: &'static str) {
        *self.faults.lock().unwrap().entry(name).or_default() += 1;
    }

    pub(crate) fn of(&self, what: Count) -> usize {
        self.counts.lock().unwrap().get(&what).copied().unwrap_or(0)
    }

    fn faults(&self) -> usize {
        self.faults.lock().unwrap().values().sum()
    }

    /// What there was too little of to have shown anything.
    pub(crate) fn too_little(&self, duration: Duration) -> Vec<String> {
        let least = |rate: f64| rate * duration.as_secs_f64();
        let counts =
            LEAST_A_SECOND.iter().map(|(what, rate)| (format!("{what:?}"), self.of(*what), *rate));
        counts
            .chain([("faults".to_owned(), self.faults(), FAULTS_A_SECOND)])
            .filter(|(_, count, rate)| (*count as f64) < least(*rate))
            .map(|(what, count, rate)| format!("{what}: {count}, at least {:.0}", least(rate)))
            .collect()
    }
}

impl fmt::Display for ChaosCounters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} faults: {:?}", self.faults(), self.faults.lock().unwrap())?;
        write!(f, "{:?}", self.counts.lock().unwrap())
    }
}
