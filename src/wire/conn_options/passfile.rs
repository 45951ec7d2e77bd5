//! The password file, `~/.pgpass` (manual: "The Password File").

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::Host;
use crate::secret::Secret;

/// The password file's entries, in order; the first that matches counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Passfile(Vec<PassfileEntry>);

#[derive(Clone, Debug)]
struct PassfileEntry {
    /// Host, port, database and user; `None` is `*`.
    fields: [Option<String>; 4],
    password: Secret,
}

impl Passfile {
    /// Reads the file. A missing file counts as empty, and so does one that other users may read, as in
    /// libpq.
    pub(super) fn read(path: &Path) -> Self {
        let Ok(metadata) = std::fs::metadata(path) else {
            return Self::default();
        };
        if !metadata.is_file() {
            tracing::warn!(file = %path.display(), "password file ignored: it is not a plain file");
            return Self::default();
        }
        if metadata.permissions().mode() & 0o077 != 0 {
            tracing::warn!(
                file = %path.display(),
                "password file ignored: others may read it; chmod 600 fixes this"
            );
            return Self::default();
        }
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text),
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "password file ignored");
                Self::default()
            }
        }
    }

    fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        Self(lines.filter_map(PassfileEntry::parse).collect())
    }

    /// The password for a session of `user` in `database` at `host`.
    pub(super) fn find(&self, host: &Host, database: &str, user: &str) -> Option<&Secret> {
        let wanted = [&host.passfile_name(), &host.port.to_string(), database, user];
        self.0.iter().find(|entry| entry.matches(wanted)).map(|entry| &entry.password)
    }
}

impl PassfileEntry {
    fn parse(line: &str) -> Option<Self> {
        let mut fields = split_fields(line).into_iter();
        let mut field = || {
            let (text, escaped) = fields.next()?;
            Some(if text == "*" && !escaped { None } else { Some(text) })
        };
        let named = [field()?, field()?, field()?, field()?];
        let (password, _) = fields.next()?;
        Some(Self { fields: named, password: Secret::new(password) })
    }

    fn matches(&self, wanted: [&str; 4]) -> bool {
        let same = |(field, wanted): (&Option<String>, &str)| {
            field.as_deref().is_none_or(|field| field == wanted)
        };
        self.fields.iter().zip(wanted).all(same)
    }
}

/// Fields between colons, each with whether it contains an escape (`\:` or `\\`).
fn split_fields(line: &str) -> Vec<(String, bool)> {
    let mut fields = vec![(String::new(), false)];
    let mut characters = line.chars();
    while let Some(c) = characters.next() {
        let Some((field, escaped)) = fields.last_mut() else { break };
        match c {
            ':' => fields.push((String::new(), false)),
            '\\' => {
                field.extend(characters.next());
                *escaped = true;
            }
            c => field.push(c),
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(text: &str, host: &str, port: u16, database: &str, user: &str) -> Option<String> {
        let host = Host::named(host, port);
        Passfile::parse(text).find(&host, database, user).map(|secret| secret.expose().to_owned())
    }

    #[test]
    fn the_first_matching_line_counts() {
        let text = "# c\ndb:5432:app:joe:one\ndb:*:*:joe:two\n*:*:*:*:three\n";
        assert_eq!(password(text, "db", 5432, "app", "joe").as_deref(), Some("one"));
        assert_eq!(password(text, "db", 5433, "app", "joe").as_deref(), Some("two"));
        assert_eq!(password(text, "other", 1, "x", "y").as_deref(), Some("three"));
        assert_eq!(password("db:1:a:b:c\nshort:line", "db", 2, "a", "b"), None);
    }

    #[test]
    fn colons_and_backslashes_are_escaped() {
        let text = r"\:\:1:5432:a\\b:\*:p\:w\\d";
        assert_eq!(password(text, "::1", 5432, r"a\b", "*").as_deref(), Some(r"p:w\d"));
        assert_eq!(password(text, "::1", 5432, r"a\b", "joe"), None);
    }

    #[test]
    fn sockets_in_the_default_directories_are_localhost() {
        assert_eq!(password("localhost:*:*:*:s", "/tmp", 5432, "a", "b").as_deref(), Some("s"));
        assert_eq!(password("localhost:*:*:*:s", "/srv/pg", 5432, "a", "b"), None);
        assert_eq!(password("/srv/pg:*:*:*:s", "/srv/pg", 5432, "a", "b").as_deref(), Some("s"));
    }

    #[test]
    fn a_file_that_others_may_read_is_ignored() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "*:*:*:*:s\n").unwrap();
        let host = Host::named("db", 1);
        for (mode, expected) in [(0o600, true), (0o640, false), (0o604, false)] {
            std::fs::set_permissions(file.path(), PermissionsExt::from_mode(mode)).unwrap();
            assert_eq!(
                Passfile::read(file.path()).find(&host, "a", "b").is_some(),
                expected,
                "{mode:o}"
            );
        }
    }
}
