//! Errors that end the demo.

use std::error::Error;
use std::io;
use std::net::SocketAddr;

use crate::temp_postgres::TempPostgresError;

/// Why the demo failed.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The temporary server could not be provided.
    #[error(transparent)]
    Server(#[from] TempPostgresError),
    /// A bug: the thread that starts or stops the server panicked.
    #[error("start or stop the server: {0}")]
    Thread(#[from] tokio::task::JoinError),
    /// Binding the address failed.
    #[error("listen on {address}: {source}; name another with --listen")]
    Listen {
        /// The requested address.
        address: SocketAddr,
        /// The operating system's error.
        source: io::Error,
    },
    /// Other machines could reach the address.
    #[error(
        "the demo has no authentication, so it listens on loopback addresses only: {0} is not a \
         loopback address"
    )]
    NotLoopback(SocketAddr),
    /// A statement in the shop's database failed.
    #[error("{doing}: {}", server_message(.source))]
    Sql {
        /// The operation.
        doing: &'static str,
        /// tokio-postgres's error, with PostgreSQL's message inside.
        source: tokio_postgres::Error,
    },
    /// The service ended by itself, or did not stop.
    #[error("the service: {0}")]
    Service(Box<dyn Error + Send + Sync>),
    /// A poll failed, or its response was not understood.
    #[error("poll the service: {}", with_causes(.0))]
    Poll(reqwest::Error),
    /// Writing to the terminal failed.
    #[error("write to standard output: {0}")]
    Screen(io::Error),
}

impl DemoError {
    pub(super) fn sql(doing: &'static str) -> impl Fn(tokio_postgres::Error) -> Self {
        move |source| Self::Sql { doing, source }
    }

    pub(super) fn listen(address: SocketAddr) -> impl Fn(io::Error) -> Self {
        move |source| Self::Listen { address, source }
    }

    /// Whether the reader closed the pipe, as `head` does: the demo ends without a failure then.
    pub(super) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Screen(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

/// The server's own message, which tokio-postgres leaves out of its `Display` text.
pub(super) fn server_message(error: &tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), |error| error.message().to_owned())
}

/// The error with its causes: reqwest's own text only states that sending failed.
fn with_causes(error: &reqwest::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
