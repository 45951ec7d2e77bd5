//! How a command ends when it does not end well.

use std::io;
use std::process::ExitCode;

use crate::config::ConfigErrors;
use crate::database::QueryError;
use crate::database::setup::SetupError;
use crate::wire::ConnectError;

/// Why a command did not do what it was asked for.
#[derive(Debug)]
pub(crate) enum CommandFailure {
    /// Bad usage or configuration: exit code 2.
    Usage(String),
    /// It failed: exit code 1.
    Failed(String),
    /// Everything was said on standard output: exit code 1.
    Said,
    /// Nobody reads the output any more (`| head`): exit code 0.
    NobodyReads,
}

impl CommandFailure {
    pub(crate) fn failed(error: impl Into<Box<dyn std::error::Error>>) -> Self {
        Self::Failed(error.into().to_string())
    }

    /// A failure with its causes. Many of our errors say their cause in their own sentence already,
    /// because the remedy follows from it; it is not said twice.
    pub(crate) fn with_causes(error: &anyhow::Error) -> Self {
        let mut message = error.to_string();
        for cause in error.chain().skip(1).map(ToString::to_string) {
            if !message.contains(&cause) {
                message.push_str(": ");
                message.push_str(&cause);
            }
        }
        Self::Failed(message)
    }

    /// Says what failed and returns the exit code.
    pub(crate) fn report(self) -> ExitCode {
        let (message, code) = match self {
            Self::Usage(message) => (message, 2),
            Self::Failed(message) => (message, 1),
            Self::Said => return ExitCode::from(1),
            Self::NobodyReads => return ExitCode::SUCCESS,
        };
        for line in message.lines() {
            anstream::eprintln!("highwater: {line}");
        }
        ExitCode::from(code)
    }
}

impl From<ConfigErrors> for CommandFailure {
    fn from(errors: ConfigErrors) -> Self {
        Self::Usage(errors.to_string())
    }
}

impl From<ConnectError> for CommandFailure {
    fn from(error: ConnectError) -> Self {
        Self::failed(error)
    }
}

impl From<QueryError> for CommandFailure {
    fn from(error: QueryError) -> Self {
        Self::failed(error)
    }
}

impl From<SetupError> for CommandFailure {
    fn from(error: SetupError) -> Self {
        Self::failed(error)
    }
}

/// Only for errors of writing to standard output.
impl From<io::Error> for CommandFailure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::NobodyReads;
        }
        Self::failed(format!("write to standard output: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("create slot: {0}; raise max_replication_slots")]
    struct SaysItsCause(#[source] io::Error);

    fn message(error: &anyhow::Error) -> String {
        match CommandFailure::with_causes(error) {
            CommandFailure::Failed(message) => message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_cause_is_said_once() {
        let full = SaysItsCause(io::Error::other("all are in use"));
        assert_eq!(
            message(&anyhow::Error::from(full)),
            "create slot: all are in use; raise max_replication_slots"
        );
        let plain = Err::<(), _>(io::Error::other("no memory")).context("start the runtime");
        assert_eq!(message(&plain.unwrap_err()), "start the runtime: no memory");
    }
}
