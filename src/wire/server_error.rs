//! ErrorResponse, the server's report of an error (manual: "Error and Notice Message Fields").

use std::fmt;

use super::message::take_text;

/// An error as PostgreSQL reports it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerError {
    /// `ERROR`, `FATAL` or `PANIC`, never translated.
    pub severity: String,
    /// The five-character SQLSTATE; empty when the server could not start a process to report it.
    pub sqlstate: String,
    /// The message, in the server's language.
    pub message: String,
    /// Secondary message with details.
    pub detail: Option<String>,
    /// The server's suggestion.
    pub hint: Option<String>,
    /// The server's function that raised it: distinguishes errors that share a SQLSTATE, in every language.
    pub routine: Option<String>,
}

impl ServerError {
    /// Parses an ErrorResponse's body; unknown fields and a truncated end are ignored.
    pub(crate) fn parse(mut body: &[u8]) -> Self {
        let mut error = Self::default();
        while let Some((field, rest)) = body.split_first().filter(|(field, _)| **field != 0) {
            let Some((text, rest)) = take_text(rest) else { break };
            error.set(*field, String::from_utf8_lossy(text).into_owned());
            body = rest;
        }
        error
    }

    /// Parses the error of a postmaster that can't start a process, which is in the protocol of 1997: `E` and
    /// a text.
    pub(crate) fn from_plain_text(bytes: &[u8]) -> Self {
        let text = take_text(bytes).map_or(bytes, |(text, _)| text);
        let message = String::from_utf8_lossy(text).trim().to_owned();
        Self { severity: "FATAL".into(), message, ..Self::default() }
    }

    fn set(&mut self, field: u8, text: String) {
        match field {
            b'V' => self.severity = text,
            b'C' => self.sqlstate = text,
            b'M' => self.message = text,
            b'D' => self.detail = Some(text),
            b'H' => self.hint = Some(text),
            b'R' => self.routine = Some(text),
            _ => {}
        }
    }

    /// Whether the server's function `routine` raised it.
    pub(crate) fn raised_by(&self, routine: &str) -> bool {
        self.routine.as_deref() == Some(routine)
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(detail) = &self.detail {
            write!(f, ": {detail}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, " (hint: {hint})")?;
        }
        if !self.sqlstate.is_empty() {
            write!(f, " [SQLSTATE {}]", self.sqlstate)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields_are_parsed() {
        let body = b"SFEHLER\0VFATAL\0C28P01\0MPasswort falsch\0Rauth_failed\0XY\0\0";
        let error = ServerError::parse(body);
        assert_eq!(error.severity, "FATAL");
        assert_eq!(error.to_string(), "Passwort falsch [SQLSTATE 28P01]");
        assert!(error.raised_by("auth_failed"));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_an_error(bytes: Vec<u8>) {
            let _ = ServerError::parse(&bytes).to_string();
            let _ = ServerError::from_plain_text(&bytes).to_string();
        }
    }
}
