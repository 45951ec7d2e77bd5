//! A cluster's files: made by `initdb` in a temporary directory, configured before it starts.

use std::fs::{OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::account::{Account, command_as, give};
use super::error::{ThrowawayError, last_lines};
use super::installation::Installation;

/// The superuser of every throw-away cluster.
pub(crate) const SUPERUSER: &str = "postgres";

/// Settings of every throw-away cluster; what a caller sets comes after them and so wins.
/// Nothing of it outlives the process, so nothing needs to reach the disk.
const SETTINGS: &[(&str, &str)] = &[
    ("wal_level", "logical"),
    ("fsync", "off"),
    ("full_page_writes", "off"),
    ("max_wal_senders", "50"),
    ("max_replication_slots", "50"),
    ("max_connections", "200"),
    ("shared_buffers", "32MB"),
    ("log_timezone", "UTC"),
    ("timezone", "UTC"),
];

/// libpq's and the server's variables that would change what the programs do.
const VARIABLES_UNSET: &[&str] =
    &["PGDATA", "PGPORT", "PGHOST", "PGUSER", "PGDATABASE", "PGOPTIONS", "PGTZ", "PGDATESTYLE"];

/// A cluster that isn't running. Dropping it removes it.
pub(crate) struct Cluster {
    installation: Installation,
    account: Option<Account>,
    directory: TempDir,
}

impl Cluster {
    /// Makes a new cluster with trust authentication: a system identifier of its own, the
    /// databases `postgres`, `template0` and `template1`, encoding UTF8, locale C.
    pub(crate) fn init(installation: &Installation) -> Result<Self, ThrowawayError> {
        let account = Account::unprivileged()?;
        let directory = temporary_directory(account.as_ref())?;
        let cluster = Self { installation: installation.clone(), account, directory };
        let initdb = installation.program("initdb");
        let output = cluster
            .command(&initdb)
            .arg("--pgdata")
            .arg(cluster.data())
            .args(["--username", SUPERUSER, "--auth", "trust"])
            .args(["--encoding", "UTF8", "--locale", "C", "--no-sync"])
            .stdin(Stdio::null())
            .output()
            .map_err(|source| ThrowawayError::Run { program: initdb, source })?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let output = last_lines(&said);
            return Err(ThrowawayError::Failed { program: "initdb".into(), output });
        }
        Ok(cluster)
    }

    /// Appends settings to `postgresql.conf`.
    pub(crate) fn configure<'a>(
        &self,
        settings: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<(), ThrowawayError> {
        use std::fmt::Write as _;
        let mut text = String::new();
        for (name, value) in settings {
            // Writing to a string can't fail.
            let _ = writeln!(text, "{name} = '{}'", value.replace('\'', "''"));
        }
        let file = self.data().join("postgresql.conf");
        OpenOptions::new()
            .append(true)
            .open(&file)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(ThrowawayError::files(format!("write {}", file.display())))
    }

    /// The settings of every throw-away cluster.
    pub(crate) fn configure_basics(&self) -> Result<(), ThrowawayError> {
        let socket_dir = self.socket_dir().to_string_lossy().into_owned();
        let settings = SETTINGS.iter().copied();
        self.configure(settings.chain([("unix_socket_directories", socket_dir.as_str())]))
    }

    /// Writes a file into the data directory that only the server's user can read: what
    /// PostgreSQL demands of keys and password files.
    pub(crate) fn write_file(&self, name: &str, content: &str) -> Result<PathBuf, ThrowawayError> {
        let file = self.data().join(name);
        let doing = format!("write {}", file.display());
        std::fs::write(&file, content)
            .and_then(|()| std::fs::set_permissions(&file, Permissions::from_mode(0o600)))
            .map_err(ThrowawayError::files(doing))?;
        give(self.account.as_ref(), &file)?;
        Ok(file)
    }

    /// One of PostgreSQL's programs, to be run as the server's user, untouched by our environment.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = command_as(self.account.as_ref(), program);
        command.current_dir(self.directory.path()).env("LC_ALL", "C");
        for name in VARIABLES_UNSET {
            command.env_remove(name);
        }
        command
    }

    /// The server program.
    pub(crate) fn postgres(&self) -> PathBuf {
        self.installation.program("postgres")
    }

    /// The installation the cluster was made with.
    pub(crate) fn installation(&self) -> &Installation {
        &self.installation
    }

    /// Whom the server runs as.
    pub(crate) fn account(&self) -> Option<&Account> {
        self.account.as_ref()
    }

    /// Everything there is of the cluster.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Where the Unix socket is: others can't enter it.
    pub(crate) fn socket_dir(&self) -> &Path {
        self.directory.path()
    }

    /// The data directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// The server's log.
    pub(crate) fn log(&self) -> PathBuf {
        self.directory.path().join("log")
    }
}

/// A new directory that only the server's user can enter, short enough for a socket's path.
fn temporary_directory(account: Option<&Account>) -> Result<TempDir, ThrowawayError> {
    /// The shortest limit of a Unix socket's path is 104 bytes (macOS), with `/.s.PGSQL.12345`.
    const PARENT_LENGTH_MAX: usize = 70;
    let usual = std::env::temp_dir();
    let suits = usual.as_os_str().len() <= PARENT_LENGTH_MAX
        && account.is_none_or(|account| account.can_enter(&usual));
    let parent = if suits { usual } else { PathBuf::from("/tmp") };
    let directory = tempfile::Builder::new()
        .prefix("highwater-")
        .permissions(Permissions::from_mode(0o700))
        .tempdir_in(&parent)
        .map_err(ThrowawayError::files(format!("make a directory in {}", parent.display())))?;
    give(account, directory.path())?;
    Ok(directory)
}
