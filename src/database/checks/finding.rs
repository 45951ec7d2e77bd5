//! What a check says.

use std::fmt;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// Works, and is worth knowing.
    Note,
    /// Runs, and will hurt someone some day.
    Warn,
    /// It would not run, or it breaks the application's own writes.
    Error,
}

impl Severity {
    /// The word shown.
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

/// One thing that was looked at, and how it was found.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What it is about: `wal_level`, `table items`.
    pub topic: String,
    /// What was found, as a sentence.
    pub what: String,
    /// Why it matters; empty when all is well.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// What mends it: SQL to run, settings to make, one a line.
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

/// Everything `highwater check` has to say.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct CheckReport {
    /// `host:port/database`.
    pub server: String,
    /// Who runs the server, where it can be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<&'static str>,
    /// The findings in the order of looking.
    pub findings: Vec<Finding>,
}

impl CheckReport {
    /// The worst that was found.
    pub fn worst(&self) -> Severity {
        self.findings.iter().map(|finding| finding.severity).max().unwrap_or(Severity::Ok)
    }

    /// How many findings are of `severity`.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }
}

/// A list that stays readable: the first few, and how many more.
pub(crate) fn some_of(names: &[String]) -> String {
    /// Names shown.
    const SHOWN: usize = 10;
    let shown = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
