//! The files of a database cluster: created by `initdb` in a temporary directory and configured
//! before the server starts.

use std::fs::{OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::error::{TempPostgresError, last_lines};
use super::installation::Installation;
use super::server_user::{ServerUser, change_owner, command_as};

/// The superuser of every temporary cluster.
pub(crate) const SUPERUSER: &str = "postgres";

/// Default settings. A caller's settings follow them in `postgresql.conf` and so override them.
/// The data does not outlive this process, so nothing has to reach the disk.
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

/// Environment variables of libpq and of the server that would change what the programs do.
const VARIABLES_UNSET: &[&str] =
    &["PGDATA", "PGPORT", "PGHOST", "PGUSER", "PGDATABASE", "PGOPTIONS", "PGTZ", "PGDATESTYLE"];

/// A cluster on disk, without a server. Dropping it deletes its files.
pub(crate) struct Cluster {
    installation: Installation,
    server_user: Option<ServerUser>,
    directory: TempDir,
}

impl Cluster {
    /// Creates a cluster with trust authentication and the databases `postgres`, `template0` and
    /// `template1`, encoding UTF8, locale C. With `templates` it is a copy of the cluster that is
    /// stored in that directory for this server version, and so has the same system identifier.
    pub(crate) fn init(
        installation: &Installation,
        templates: Option<&Path>,
        parent: Option<&Path>,
    ) -> Result<Self, TempPostgresError> {
        let server_user = ServerUser::unprivileged()?;
        let directory = temporary_directory(server_user.as_ref(), parent)?;
        let cluster = Self { installation: installation.clone(), server_user, directory };
        let Some(templates) = templates else {
            cluster.initdb()?;
            return Ok(cluster);
        };
        let template = templates.join(installation.version());
        if template.is_dir() {
            copy_tree(&template, &cluster.data(), cluster.server_user())?;
        } else {
            cluster.initdb()?;
            cluster.store_as(&template)?;
        }
        Ok(cluster)
    }

    fn initdb(&self) -> Result<(), TempPostgresError> {
        let initdb = self.installation.program("initdb");
        let output = self
            .command(&initdb)
            .arg("--pgdata")
            .arg(self.data())
            .args(["--username", SUPERUSER, "--auth", "trust"])
            .args(["--encoding", "UTF8", "--locale", "C", "--no-sync"])
            .stdin(Stdio::null())
            .output()
            .map_err(|source| TempPostgresError::Run { program: initdb, source })?;
        if output.status.success() {
            return Ok(());
        }
        let output = last_lines(&String::from_utf8_lossy(&output.stderr));
        Err(TempPostgresError::Failed { program: "initdb".into(), output })
    }

    /// Stores a copy of the new cluster as a template, atomically.
    fn store_as(&self, template: &Path) -> Result<(), TempPostgresError> {
        let parent = template.parent().unwrap_or(template);
        let doing = || TempPostgresError::files(format!("store {}", template.display()));
        std::fs::create_dir_all(parent).map_err(doing())?;
        let unfinished = TempDir::with_prefix_in("unfinished-", parent).map_err(doing())?;
        let copy = unfinished.path().join("data");
        copy_tree(&self.data(), &copy, None)?;
        match std::fs::rename(&copy, template) {
            // Another process created the same template first: use that one.
            Err(_) if template.is_dir() => Ok(()),
            outcome => outcome.map_err(doing()),
        }
    }

    /// Appends settings to `postgresql.conf`.
    pub(crate) fn configure<'a>(
        &self,
        settings: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<(), TempPostgresError> {
        use std::fmt::Write as _;
        let mut text = String::new();
        for (name, value) in settings {
            // Writing to a `String` can't fail.
            let _ = writeln!(text, "{name} = '{}'", value.replace('\'', "''"));
        }
        let file = self.data().join("postgresql.conf");
        OpenOptions::new()
            .append(true)
            .open(&file)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(TempPostgresError::files(format!("write {}", file.display())))
    }

    /// Writes the default settings.
    pub(crate) fn configure_defaults(&self) -> Result<(), TempPostgresError> {
        let socket_dir = self.socket_dir().to_string_lossy().into_owned();
        let settings = SETTINGS.iter().copied();
        self.configure(settings.chain([("unix_socket_directories", socket_dir.as_str())]))
    }

    /// Writes a file into the data directory that only the server's user can read, as PostgreSQL
    /// requires of keys and password files.
    pub(crate) fn write_file(
        &self,
        name: &str,
        content: &str,
    ) -> Result<PathBuf, TempPostgresError> {
        let file = self.data().join(name);
        let doing = format!("write {}", file.display());
        std::fs::write(&file, content)
            .and_then(|()| std::fs::set_permissions(&file, Permissions::from_mode(0o600)))
            .map_err(TempPostgresError::files(doing))?;
        change_owner(self.server_user.as_ref(), &file)?;
        Ok(file)
    }

    /// One of PostgreSQL's programs, run as the server's user and without the variables of this
    /// process that would change what it does.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = command_as(self.server_user.as_ref(), program);
        command.current_dir(self.directory.path()).env("LC_ALL", "C");
        for name in VARIABLES_UNSET {
            command.env_remove(name);
        }
        command
    }

    /// The path of the server program.
    pub(crate) fn postgres(&self) -> PathBuf {
        self.installation.program("postgres")
    }

    /// The installation that created the cluster.
    pub(crate) fn installation(&self) -> &Installation {
        &self.installation
    }

    /// The user the server runs as; `None` is the current one.
    pub(crate) fn server_user(&self) -> Option<&ServerUser> {
        self.server_user.as_ref()
    }

    /// The temporary directory that holds everything of the cluster.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The directory of the Unix socket, which other users can't enter.
    pub(crate) fn socket_dir(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// The server's log file.
    pub(crate) fn log(&self) -> PathBuf {
        self.directory.path().join("log")
    }
}

/// Creates a directory in `parent` that only the server's user can enter.
fn temporary_directory(
    user: Option<&ServerUser>,
    parent: Option<&Path>,
) -> Result<TempDir, TempPostgresError> {
    let parent = parent.map_or_else(|| default_parent(user), Path::to_path_buf);
    let directory = tempfile::Builder::new()
        .prefix("highwater-")
        .permissions(Permissions::from_mode(0o700))
        .tempdir_in(&parent)
        .map_err(TempPostgresError::files(format!("create a directory in {}", parent.display())))?;
    change_owner(user, directory.path())?;
    Ok(directory)
}

/// The system's directory for temporary files, or `/tmp` if the server's user can't enter it or
/// the path of a Unix socket in it would be too long.
fn default_parent(user: Option<&ServerUser>) -> PathBuf {
    /// The shortest limit of a Unix socket's path is 104 bytes (macOS), with `/.s.PGSQL.12345`.
    const LENGTH_MAX: usize = 70;
    let preferred = std::env::temp_dir();
    let short = preferred.as_os_str().len() <= LENGTH_MAX;
    let usable = short && user.is_none_or(|user| user.can_enter(&preferred));
    if usable { preferred } else { PathBuf::from("/tmp") }
}

/// Copies a directory recursively; the copies belong to `user`. A new cluster holds only files and
/// directories.
fn copy_tree(from: &Path, to: &Path, user: Option<&ServerUser>) -> Result<(), TempPostgresError> {
    let doing = || TempPostgresError::files(format!("copy {} to {}", from.display(), to.display()));
    std::fs::create_dir(to).map_err(doing())?;
    let permissions = std::fs::metadata(from).map_err(doing())?.permissions();
    std::fs::set_permissions(to, permissions).map_err(doing())?;
    change_owner(user, to)?;
    for entry in std::fs::read_dir(from).map_err(doing())? {
        let entry = entry.map_err(doing())?;
        let copy = to.join(entry.file_name());
        if entry.file_type().map_err(doing())?.is_dir() {
            copy_tree(&entry.path(), &copy, user)?;
        } else {
            std::fs::copy(entry.path(), &copy).map_err(doing())?;
            change_owner(user, &copy)?;
        }
    }
    Ok(())
}
