//! What can be wrong with a connection URL.

/// The connection URL or keyword string can't be used. Never quotes a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectOptionsError {
    /// Not of the form of a URL or keyword string; the text says where.
    #[error("the connection URL is malformed: {0}")]
    Malformed(String),
    /// No such parameter.
    #[error("unknown connection parameter \"{name}\"{}", suggestion(*.nearest))]
    Unknown {
        /// As written.
        name: String,
        /// The known one that looks most like it.
        nearest: Option<&'static str>,
    },
    /// libpq knows it, Highwater doesn't.
    #[error("connection parameter \"{0}\" is not supported; remove it from the connection URL")]
    Unsupported(String),
    /// The value makes no sense for the parameter.
    #[error("invalid value \"{value}\" for connection parameter \"{name}\" (expected {expected})")]
    Invalid {
        /// The parameter.
        name: &'static str,
        /// As written.
        value: String,
        /// What would be accepted.
        expected: String,
    },
    /// Two parameters contradict each other; the text says which and what to write instead.
    #[error("{0}")]
    Contradiction(String),
    /// No user is named and the operating system has no name for ours.
    #[error("no user name: name the role in the connection URL (postgres://ROLE@host/database)")]
    NoUser,
}

fn suggestion(nearest: Option<&'static str>) -> String {
    nearest.map(|name| format!(" (did you mean \"{name}\"?)")).unwrap_or_default()
}
