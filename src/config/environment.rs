//! A snapshot of the process's environment.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use crate::secret::Secret;

/// The token of the commands that are clients of a running Highwater.
pub(super) const TOKEN_VARIABLE: &str = "HIGHWATER_TOKEN";

/// A snapshot of the environment variables, taken at startup.
///
/// It is passed explicitly, so that tests need no process of their own and no code depends on an
/// undocumented variable.
#[derive(Clone, Default)]
pub struct Environment {
    variables: BTreeMap<String, OsString>,
}

impl Environment {
    /// Reads the variables of this process. Names that are not UTF-8 are ignored.
    pub fn collect() -> Self {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
            .collect()
    }

    /// The value of a variable; `None` if it is not set, empty, or not UTF-8.
    ///
    /// Empty counts as not set because compose files and charts pass `NAME=` for an omitted value.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.variables.get(name)?.to_str().filter(|value| !value.is_empty())
    }

    /// The value of a variable as a path; `None` if it is not set or empty.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.variables.get(name).filter(|value| !value.is_empty()).map(PathBuf::from)
    }

    /// The user's home directory (`HOME`).
    pub fn home(&self) -> Option<PathBuf> {
        self.path("HOME")
    }

    /// The token for requests to a running Highwater (`HIGHWATER_TOKEN`).
    pub fn token(&self) -> Option<Secret> {
        self.text(TOKEN_VARIABLE).map(Secret::new)
    }

    /// The variables of libpq (`PGHOST`, `PGPASSWORD`, …) that are not empty.
    pub(super) fn libpq(&self) -> BTreeMap<String, String> {
        self.starting_with("PG")
            .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
            .collect()
    }

    /// The variables whose name starts with `prefix`, without empty ones. The value is `None` if it
    /// is not UTF-8.
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

/// Names only: values may be secrets.
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
