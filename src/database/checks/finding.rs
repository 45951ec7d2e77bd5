//! The results of the checks: findings, and the report that collects them.

use std::fmt;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// No action needed.
    Ok,
    /// Works; worth knowing.
    Note,
    /// Runs, but will cause trouble later.
    Warn,
    /// Highwater would not run, or the application's own writes fail.
    Error,
}

impl Severity {
    /// The word in text output, as in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// How urgent it is.
    pub severity: Severity,
    /// The setting or object checked: `wal_level`, `table items`.
    pub topic: String,
    /// The state found, as a sentence.
    pub what: String,
    /// The consequence; empty when no action is needed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// The fix, one step per entry: SQL to run, settings to change.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fix: Vec<String>,
}

impl Finding {
    fn new(severity: Severity, topic: impl Into<String>, what: impl Into<String>) -> Self {
        Self {
            severity,
            topic: topic.into(),
            what: what.into(),
            why: String::new(),
            fix: Vec::new(),
        }
    }

    pub(crate) fn ok(topic: impl Into<String>, what: impl Into<String>) -> Self {
        Self::new(Severity::Ok, topic, what)
    }

    pub(crate) fn note(topic: impl Into<String>, what: impl Into<String>) -> Self {
        Self::new(Severity::Note, topic, what)
    }

    pub(crate) fn warn(topic: impl Into<String>, what: impl Into<String>) -> Self {
        Self::new(Severity::Warn, topic, what)
    }

    pub(crate) fn error(topic: impl Into<String>, what: impl Into<String>) -> Self {
        Self::new(Severity::Error, topic, what)
    }

    pub(crate) fn why(mut self, why: impl Into<String>) -> Self {
        self.why = why.into();
        self
    }

    pub(crate) fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix.push(fix.into());
        self
    }
}

/// The output of `highwater check`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct CheckReport {
    /// `host:port/database`.
    pub server: String,
    /// The managed service that runs the server, if it is recognized.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<&'static str>,
    /// In the order of the checks.
    pub findings: Vec<Finding>,
}

impl CheckReport {
    /// The highest severity among the findings; [`Severity::Ok`] without any.
    pub fn worst(&self) -> Severity {
        self.findings.iter().map(|finding| finding.severity).max().unwrap_or(Severity::Ok)
    }

    /// The number of findings of this severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }
}

/// The first ten names, and how many more there are.
pub(crate) fn some_of(names: &[String]) -> String {
    const SHOWN: usize = 10;
    let shown = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
