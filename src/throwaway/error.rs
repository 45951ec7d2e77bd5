//! What can go wrong with a throw-away server.

use std::io;
use std::path::PathBuf;

/// Why there is no throw-away server.
#[derive(Debug, thiserror::Error)]
pub enum ThrowawayError {
    /// No server programs on this machine (of the major version asked for).
    #[error(
        "no PostgreSQL server programs{} on this machine; install the package `postgresql` \
         (`postgresql-server` on Red Hat), or name the directory that holds `postgres` and \
         `initdb` in HIGHWATER_PG_BIN",
        of_major(*.major)
    )]
    NotFound {
        /// The major version asked for.
        major: Option<u16>,
    },
    /// No server programs, and no way to get them.
    #[error(
        "no PostgreSQL server programs{} on this machine, and neither apt-get (as root), npm nor \
         pip to get them with; install the package `postgresql` (`postgresql-server` on Red Hat)",
        of_major(*.major)
    )]
    NoPackageClient {
        /// The major version asked for.
        major: Option<u16>,
    },
    /// Every package client at hand failed.
    #[error(
        "no PostgreSQL server programs on this machine, and they could not be got ({failures}); \
         install the package `postgresql` (`postgresql-server` on Red Hat)"
    )]
    NotFetched {
        /// What each client said.
        failures: String,
    },
    /// The directory named explicitly is not what was meant.
    #[error("{} does not hold PostgreSQL's server programs: {why}", .bin_dir.display())]
    NotAnInstallation {
        /// The directory named.
        bin_dir: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// We are root, and there is nobody else to run the server as.
    #[error(
        "PostgreSQL refuses to run as root, and this machine has neither a user `postgres` nor \
         `nobody`; run this as an ordinary user"
    )]
    NoUnprivilegedUser,
    /// A program could not be run at all.
    #[error("run {}: {source}", .program.display())]
    Run {
        /// The program.
        program: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A program ran and reported failure.
    #[error("{program} failed: {output}")]
    Failed {
        /// The program.
        program: String,
        /// The end of what it said.
        output: String,
    },
    /// The server did not get ready.
    #[error("the throw-away PostgreSQL did not start: {log}")]
    NotReady {
        /// The end of the server's log.
        log: String,
    },
    /// The server did not end.
    #[error("the throw-away PostgreSQL (process {pid}) did not stop")]
    NotStopped {
        /// The postmaster's process id.
        pid: u32,
    },
    /// No loopback port was free.
    #[error("no free port on 127.0.0.1 for the throw-away PostgreSQL")]
    NoPort,
    /// Something about its files.
    #[error("{doing}: {source}")]
    Files {
        /// What was being done.
        doing: String,
        /// Why it failed.
        source: io::Error,
    },
}

impl ThrowawayError {
    /// For `map_err`: what was being done with which files.
    pub(crate) fn files(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Files { doing, source }
    }
}

fn of_major(major: Option<u16>) -> String {
    major.map(|major| format!(" of version {major}")).unwrap_or_default()
}

/// The last lines of a program's output, on one line: what an error message has room for.
pub(crate) fn last_lines(output: &str) -> String {
    const LINES: usize = 8;
    let lines: Vec<&str> = output.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let from = lines.len().saturating_sub(LINES);
    lines.get(from..).unwrap_or_default().join(" | ")
}
