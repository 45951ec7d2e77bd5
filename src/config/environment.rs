//! A picture of the process's environment, taken once.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use crate::secret::Secret;

/// A token for the commands that ask a running Highwater.
pub(super) const TOKEN_VARIABLE: &str = "HIGHWATER_TOKEN";

/// The environment variables the program may look at, as they were when it started.
///
/// Everything below is handed what it needs, so tests need no process of their own and nothing
/// depends on a variable that no page names.
#[derive(Clone, Default)]
pub struct Environment {
    variables: BTreeMap<String, OsString>,
}

impl Environment {
    /// Takes the picture.
    pub fn collect() -> Self {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
            .collect()
    }

    /// A variable's value; `None` when it is not set, empty, or not UTF-8.
    ///
    /// Empty counts as not set because compose files and charts pass `NAME=` for what was left out.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.variables.get(name)?.to_str().filter(|value| !value.is_empty())
    }

    /// A variable's value as a path; `None` when it is not set or empty.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.variables.get(name).filter(|value| !value.is_empty()).map(PathBuf::from)
    }

    /// The user's home directory, as `HOME` names it.
    pub fn home(&self) -> Option<PathBuf> {
        self.path("HOME")
    }

    /// The token to show to a running Highwater (`HIGHWATER_TOKEN`).
    pub fn token(&self) -> Option<Secret> {
        self.text(TOKEN_VARIABLE).map(Secret::new)
    }

    /// The variables libpq knows (`PGHOST`, `PGPASSWORD`, …), empty ones left out.
    pub(super) fn libpq(&self) -> BTreeMap<String, String> {
        self.starting_with("PG")
            .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
            .collect()
    }

    /// Every variable whose name starts with `prefix`, except empty ones; the value is `None`
    /// where it is not UTF-8.
    pub(super) fn starting_with(&self, prefix: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.variables
            .iter()
            .filter(move |(name, value)| name.starts_with(prefix) && !value.is_empty())
            .map(|(name, value)| (name.as_str(), value.to_str()))
    }
}

impl<N: Into<String>, V: Into<OsString>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        let variables = variables.into_iter().map(|(name, value)| (name.into(), value.into()));
        Self { variables: variables.collect() }
    }
}

/// Shows names only: values may be secrets.
impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.variables.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_variable_counts_as_not_set() {
        let environment: Environment = [("PGHOST", ""), ("PGUSER", "app")].into_iter().collect();
        assert_eq!(environment.text("PGHOST"), None);
        assert_eq!(environment.text("PGUSER"), Some("app"));
        assert_eq!(environment.libpq().into_keys().collect::<Vec<_>>(), ["PGUSER"]);
    }

    #[test]
    fn values_are_not_shown() {
        let environment: Environment = [("PGPASSWORD", "hunter2")].into_iter().collect();
        assert_eq!(format!("{environment:?}"), r#"{"PGPASSWORD"}"#);
    }
}
