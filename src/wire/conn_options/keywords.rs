//! `host=localhost port=5432 password='it''s'`
//! (manual: libpq-connect, "Keyword/Value Connection Strings").

use super::ConnectOptionsError;
use super::parameters::RawParams;

/// Parses a keyword/value string. Values may be quoted with `'`; `\` escapes the next character.
pub(super) fn parse(text: &str) -> Result<RawParams, ConnectOptionsError> {
    let mut params = RawParams::default();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=').ok_or_else(not_a_pair)?;
        let name = name.trim_end();
        if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c == ':') {
            return Err(not_a_pair());
        }
        let (value, after) = take_value(name, after.trim_start())?;
        params.set(name, value)?;
        rest = after.trim_start();
    }
    Ok(params)
}

// Quotes no part of the text: it may contain a password.
fn not_a_pair() -> ConnectOptionsError {
    let expected = "expected postgres://user@host:port/database or \"host=… dbname=…\"";
    ConnectOptionsError::Malformed(expected.into())
}

fn take_value<'a>(name: &str, text: &'a str) -> Result<(String, &'a str), ConnectOptionsError> {
    let quoted = text.strip_prefix('\'');
    let body = quoted.unwrap_or(text);
    let mut value = String::new();
    let mut characters = body.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            '\'' if quoted.is_some() => return Ok((value, after(body, at + 1))),
            c if quoted.is_none() && c.is_whitespace() => return Ok((value, after(body, at))),
            c => value.push(c),
        }
    }
    if quoted.is_some() {
        return Err(ConnectOptionsError::Malformed(format!(
            "the value of \"{name}\" has no closing quote"
        )));
    }
    Ok((value, ""))
}

fn after(text: &str, at: usize) -> &str {
    text.get(at..).unwrap_or("")
}
