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
    /// Makes a new cluster with trust authentication: the databases `postgres`, `template0` and
    /// `template1`, encoding UTF8, locale C. Where `templates` names a directory it is a copy of
    /// the one kept there, and so has the same system identifier.
    pub(crate) fn init(
        installation: &Installation,
        templates: Option<&Path>,
        parent: Option<&Path>,
    ) -> Result<Self, ThrowawayError> {
        let account = Account::unprivileged()?;
        let directory = temporary_directory(account.as_ref(), parent)?;
        let cluster = Self { installation: installation.clone(), account, directory };
        let Some(templates) = templates else {
            cluster.initdb()?;
            return Ok(cluster);
        };
        let template = templates.join(installation.version());
        if template.is_dir() {
            copy_tree(&template, &cluster.data(), cluster.account())?;
        } else {
            cluster.initdb()?;
            cluster.keep_as(&template)?;
        }
        Ok(cluster)
    }

    fn initdb(&self) -> Result<(), ThrowawayError> {
        let initdb = self.installation.program("initdb");
        let output = self
            .command(&initdb)
            .arg("--pgdata")
            .arg(self.data())
            .args(["--username", SUPERUSER, "--auth", "trust"])
            .args(["--encoding", "UTF8", "--locale", "C", "--no-sync"])
            .stdin(Stdio::null())
            .output()
            .map_err(|source| ThrowawayError::Run { program: initdb, source })?;
        if output.status.success() {
            return Ok(());
        }
        let output = last_lines(&String::from_utf8_lossy(&output.stderr));
        Err(ThrowawayError::Failed { program: "initdb".into(), output })
    }

    /// Keeps a copy of the new cluster as a template, whole or not at all.
    fn keep_as(&self, template: &Path) -> Result<(), ThrowawayError> {
        let parent = template.parent().unwrap_or(template);
        let doing = || ThrowawayError::files(format!("keep {}", template.display()));
        std::fs::create_dir_all(parent).map_err(doing())?;
        let unfinished = TempDir::with_prefix_in("unfinished-", parent).map_err(doing())?;
        let copy = unfinished.path().join("data");
        copy_tree(&self.data(), &copy, None)?;
        match std::fs::rename(&copy, template) {
            // Another process was faster; its template is as good.
            Err(_) if template.is_dir() => Ok(()),
            outcome => outcome.map_err(doing()),
        }
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

/// A new directory in `parent` that only the server's user can enter.
fn temporary_directory(
    account: Option<&Account>,
    parent: Option<&Path>,
) -> Result<TempDir, ThrowawayError> {
    let parent = parent.map_or_else(|| usual_parent(account), Path::to_path_buf);
    let directory = tempfile::Builder::new()
        .prefix("highwater-")
        .permissions(Permissions::from_mode(0o700))
        .tempdir_in(&parent)
        .map_err(ThrowawayError::files(format!("make a directory in {}", parent.display())))?;
    give(account, directory.path())?;
    Ok(directory)
}

/// The system's directory for temporary files, unless the server's user can't enter it or it
/// would make the path of a Unix socket too long.
fn usual_parent(account: Option<&Account>) -> PathBuf {
    /// The shortest limit of a Unix socket's path is 104 bytes (macOS), with `/.s.PGSQL.12345`.
    const LENGTH_MAX: usize = 70;
    let usual = std::env::temp_dir();
    let short = usual.as_os_str().len() <= LENGTH_MAX;
    let suits = short && account.is_none_or(|account| account.can_enter(&usual));
    if suits { usual } else { PathBuf::from("/tmp") }
}

/// Copies a directory with everything in it, giving the copies to `account`. A new cluster holds
/// only files and directories.
fn copy_tree(from: &Path, to: &Path, account: Option<&Account>) -> Result<(), ThrowawayError> {
    let doing = || ThrowawayError::files(format!("copy {} to {}", from.display(), to.display()));
    std::fs::create_dir(to).map_err(doing())?;
    let permissions = std::fs::metadata(from).map_err(doing())?.permissions();
    std::fs::set_permissions(to, permissions).map_err(doing())?;
    give(account, to)?;
    for entry in std::fs::read_dir(from).map_err(doing())? {
        let entry = entry.map_err(doing())?;
        let copy = to.join(entry.file_name());
        if entry.file_type().map_err(doing())?.is_dir() {
            copy_tree(&entry.path(), &copy, account)?;
        } else {
            std::fs::copy(entry.path(), &copy).map_err(doing())?;
            give(account, &copy)?;
        }
    }
    Ok(())
}
