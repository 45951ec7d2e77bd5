//! Failures of commands and their exit codes.

use std::io;
use std::process::ExitCode;

use crate::config::ConfigErrors;
use crate::database::QueryError;
use crate::database::setup::SetupError;
use crate::wire::ConnectError;

/// The reason why a command did not succeed.
#[derive(Debug)]
pub(crate) enum CommandFailure {
    /// Invalid usage or configuration: exit code 2.
    Usage(String),
    /// Any other failure: exit code 1.
    Failed(String),
    /// A failure that standard output describes already: exit code 1.
    Reported,
    /// The reader of standard output has closed it (`| head`): exit code 0.
    BrokenPipe,
}

impl CommandFailure {
    pub(crate) fn failed(error: impl Into<Box<dyn std::error::Error>>) -> Self {
        Self::Failed(error.into().to_string())
    }

    /// A failure with its causes. A cause that the message contains already is not repeated: many
    /// errors include theirs because the remedy depends on it.
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

    /// Prints the failure to standard error and returns the exit code.
    pub(crate) fn report(self) -> ExitCode {
        let (message, code) = match self {
            Self::Usage(message) => (message, 2),
            Self::Failed(message) => (message, 1),
            Self::Reported => return ExitCode::from(1),
            Self::BrokenPipe => return ExitCode::SUCCESS,
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

/// For errors of writing to standard output only.
impl From<io::Error> for CommandFailure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::BrokenPipe;
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
    struct ErrorWithCause(#[source] io::Error);

    fn message(error: &anyhow::Error) -> String {
        match CommandFailure::with_causes(error) {
            CommandFailure::Failed(message) => message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn causes_are_not_repeated() {
        let full = ErrorWithCause(io::Error::other("all are in use"));
        assert_eq!(
            message(&anyhow::Error::from(full)),
            "create slot: all are in use; raise max_replication_slots"
        );
        let plain = Err::<(), _>(io::Error::other("no memory")).context("start the runtime");
        assert_eq!(message(&plain.unwrap_err()), "start the runtime: no memory");
    }
}
