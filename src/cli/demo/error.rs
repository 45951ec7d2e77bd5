//! What can end the demo early.

use std::error::Error;
use std::io;
use std::net::SocketAddr;

use crate::throwaway::ThrowawayError;

/// Why the demo failed.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// There is no server to show anything on.
    #[error(transparent)]
    Server(#[from] ThrowawayError),
    /// A bug: the thread that starts and stops the server panicked.
    #[error("start or stop the server: {0}")]
    Thread(#[from] tokio::task::JoinError),
    /// The address can't be listened on.
    #[error("listen on {address}: {source}; name another with --listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// Others could reach the address.
    #[error(
        "the demo asks nobody who they are, so it listens on this machine only: {0} is not a \
         loopback address"
    )]
    NotLoopback(SocketAddr),
    /// The shop's database refused something.
    #[error("{doing}: {}", said(.source))]
    Sql {
        /// What was being done.
        doing: &'static str,
        /// What PostgreSQL said.
        source: tokio_postgres::Error,
    },
    /// The service ended, or did not stop.
    #[error("the service: {0}")]
    Service(Box<dyn Error + Send + Sync>),
    /// The service did not answer as it should.
    #[error("poll the service: {}", with_causes(.0))]
    Poll(reqwest::Error),
    /// Nobody can read it.
    #[error("write the story: {0}")]
    Screen(io::Error),
}

impl DemoError {
    pub(super) fn sql(doing: &'static str) -> impl Fn(tokio_postgres::Error) -> Self {
        move |source| Self::Sql { doing, source }
    }

    pub(super) fn listen(address: SocketAddr) -> impl Fn(io::Error) -> Self {
        move |source| Self::Listen { address, source }
    }

    /// Whether the reader went away, as `head` does: no failure of the demo.
    pub(super) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Screen(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

/// The server's own message, which tokio-postgres keeps out of its text.
pub(super) fn said(error: &tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), |said| said.message().to_owned())
}

/// reqwest says only that sending failed; why is in its causes.
fn with_causes(error: &reqwest::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
