//! The TOML file as a flat list of keys with their line numbers.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, SettingSource};
use super::raw::{RawSetting, SourcedSetting};

/// The scalars and lists of the file, each with the parts of its key.
pub(super) fn parse(
    path: &Path,
    text: &str,
) -> Result<Vec<(Vec<String>, SourcedSetting)>, ConfigError> {
    let table = DeTable::parse(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        let before = text.get(..start).unwrap_or(text);
        let column = before.rsplit('\n').next().unwrap_or(before).chars().count() + 1;
        // The parser's own rendering quotes the line, which may contain a password.
        let message = error.message().to_owned();
        ConfigError::Syntax { path: path.to_owned(), line: line_of(text, start), column, message }
    })?;
    let mut entries = Vec::new();
    let file = ConfigFile { path, text };
    file.flatten(table.get_ref(), &mut Vec::new(), &mut entries);
    Ok(entries)
}

struct ConfigFile<'a> {
    path: &'a Path,
    text: &'a str,
}

impl ConfigFile<'_> {
    fn flatten(
        &self,
        table: &DeTable<'_>,
        prefix: &mut Vec<String>,
        entries: &mut Vec<(Vec<String>, SourcedSetting)>,
    ) {
        for (key, value) in table {
            prefix.push(key.get_ref().to_string());
            match value.get_ref() {
                DeValue::Table(inner) => self.flatten(inner, prefix, entries),
                value => {
                    let line = line_of(self.text, key.span().start);
                    let location = SettingSource::File { path: self.path.to_owned(), line };
                    let setting = SourcedSetting { raw: raw(value), location };
                    entries.push((prefix.clone(), setting));
                }
            }
            prefix.pop();
        }
    }
}

fn raw(value: &DeValue<'_>) -> RawSetting {
    match value {
        DeValue::Array(items) => {
            RawSetting::List(items.iter().map(Spanned::get_ref).map(scalar).collect())
        }
        other => RawSetting::Text(scalar(other)),
    }
}

/// A scalar as text, so that values of the file and of the environment are interpreted by the same code.
fn scalar(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) => {
            let parsed = i128::from_str_radix(number.as_str(), number.radix());
            parsed.map_or_else(|_| number.to_string(), |number| number.to_string())
        }
        DeValue::Float(number) => number.as_str().to_owned(),
        DeValue::Boolean(boolean) => boolean.to_string(),
        DeValue::Datetime(datetime) => datetime.to_string(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a section".to_owned(),
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_with_their_lines() {
        let text =
            "[http]\n\nlisten = \"a\"\n[tables.\"x.y\"]\nrows = \"off\"\n[log]\nmax_changes = 0x10";
        let entries = parse(Path::new("f.toml"), text).unwrap();
        let shown: Vec<String> = entries
            .iter()
            .map(|(key, entry)| format!("{} {key:?} {:?}", entry.location, entry.raw))
            .collect();
        assert_eq!(
            shown,
            [
                r#"f.toml:3 ["http", "listen"] Text("a")"#,
                r#"f.toml:7 ["log", "max_changes"] Text("16")"#,
                r#"f.toml:5 ["tables", "x.y", "rows"] Text("off")"#,
            ]
        );
    }

    #[test]
    fn a_syntax_error_does_not_quote_the_file() {
        let text = "[postgres]\nurl = \"postgres://u:hunter2@h/d\n";
        let error = parse(Path::new("f.toml"), text).unwrap_err().to_string();
        assert!(error.starts_with("f.toml:2:"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}
