//! What the server says when it refuses: ErrorResponse (manual: "Error and Notice Message Fields").

use std::fmt;

use super::message::take_text;

/// An error as PostgreSQL reports it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerError {
    /// `ERROR`, `FATAL` or `PANIC`, never translated.
    pub severity: String,
    /// The five-character SQLSTATE; empty when the server could not say (out of processes).
    pub sqlstate: String,
    /// The message, in the server's language.
    pub message: String,
    /// More about it.
    pub detail: Option<String>,
    /// What the server suggests.
    pub hint: Option<String>,
    /// The server's function that raised it: tells apart what shares a SQLSTATE, in every language.
    pub routine: Option<String>,
}

impl ServerError {
    /// Reads an ErrorResponse's body; fields we don't know, and a cut end, are passed over.
    pub(crate) fn parse(mut body: &[u8]) -> Self {
        let mut error = Self::default();
        while let Some((field, rest)) = body.split_first().filter(|(field, _)| **field != 0) {
            let Some((text, rest)) = take_text(rest) else { break };
            error.set(*field, String::from_utf8_lossy(text).into_owned());
            body = rest;
        }
        error
    }

    /// A postmaster that can't start a process says so in the protocol of 1997: `E` and a text.
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

    /// Whether `routine` raised it.
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
    fn is_read_field_by_field() {
        let body = b"SFEHLER\0VFATAL\0C28P01\0MPasswort falsch\0Rauth_failed\0XY\0\0";
        let error = ServerError::parse(body);
        assert_eq!(error.severity, "FATAL");
        assert_eq!(error.to_string(), "Passwort falsch [SQLSTATE 28P01]");
        assert!(error.raised_by("auth_failed"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_error(bytes: Vec<u8>) {
            let _ = ServerError::parse(&bytes).to_string();
            let _ = ServerError::from_plain_text(&bytes).to_string();
        }
    }
}
