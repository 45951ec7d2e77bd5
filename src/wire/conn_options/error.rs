//! Errors in a connection URL.

/// The connection URL or keyword string can't be used. Never quotes a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectOptionsError {
    /// Neither a URL nor a keyword string; the text describes the error.
    #[error("the connection URL is malformed: {0}")]
    Malformed(String),
    /// A name that is not a parameter of libpq's.
    #[error("unknown connection parameter \"{name}\"{}", suggestion(*.nearest))]
    Unknown {
        /// The name in the connection URL.
        name: String,
        /// The most similar known name.
        nearest: Option<&'static str>,
    },
    /// A parameter of libpq's that Highwater does not support.
    #[error("connection parameter \"{0}\" is not supported; remove it from the connection URL")]
    Unsupported(String),
    /// An invalid value of a parameter.
    #[error("invalid value \"{value}\" for connection parameter \"{name}\" (expected {expected})")]
    Invalid {
        /// The parameter's name.
        name: &'static str,
        /// The value in the connection URL.
        value: String,
        /// A description of the accepted values.
        expected: String,
    },
    /// Two parameters that contradict each other; the text names them and the remedy.
    #[error("{0}")]
    Contradiction(String),
    /// No user is given, and the operating system knows no name for the process's user.
    #[error("no user name: name the role in the connection URL (postgres://ROLE@host/database)")]
    NoUser,
}

fn suggestion(nearest: Option<&'static str>) -> String {
    nearest.map(|name| format!(" (did you mean \"{name}\"?)")).unwrap_or_default()
}
