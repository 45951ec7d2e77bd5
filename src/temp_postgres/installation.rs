//! PostgreSQL's server programs on this machine: where they are, and of which version.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::error::TempPostgresError;
use super::server_user::ServerUser;

/// Directories in which systems install one folder per major version; `*` stands for it.
const INSTALL_PATHS: &[(&str, &str)] = &[
    // Debian, Ubuntu
    ("/usr/lib/postgresql", "*/bin"),
    // Red Hat and its relatives, from PostgreSQL's own repository
    ("/usr", "pgsql-*/bin"),
    // Alpine
    ("/usr/libexec", "postgresql*"),
    // Homebrew on Apple silicon, on Intel, on Linux
    ("/opt/homebrew/opt", "postgresql@*/bin"),
    ("/usr/local/opt", "postgresql@*/bin"),
    ("/home/linuxbrew/.linuxbrew/opt", "postgresql@*/bin"),
    // Postgres.app
    ("/Applications/Postgres.app/Contents/Versions", "*/bin"),
    // EnterpriseDB's installer
    ("/Library/PostgreSQL", "*/bin"),
];

/// Where to search for server programs, and of which version.
#[derive(Clone, Debug, Default)]
pub struct FindOptions {
    /// The directory that holds the programs (`HIGHWATER_PG_BIN`); no other is searched then.
    pub bin_dir: Option<PathBuf>,
    /// The search path (`PATH`).
    pub path: Option<OsString>,
    /// Highwater's own cache directory, which holds downloaded programs. `None` disables downloads.
    pub cache_dir: Option<PathBuf>,
    /// The only acceptable major version; `None` accepts any.
    pub major: Option<u16>,
}

/// PostgreSQL's server programs in one directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installation {
    bin_dir: PathBuf,
    version: String,
    major: u16,
}

impl Installation {
    /// The installation to use: the named directory, else the first on the search path, else the
    /// newest of the standard directories and the cache.
    pub fn find(options: &FindOptions) -> Result<Self, TempPostgresError> {
        if let Some(bin_dir) = &options.bin_dir {
            return Self::named(bin_dir, options.major);
        }
        let not_found = || TempPostgresError::NotFound { major: options.major };
        Self::all(options)?.into_iter().next().ok_or_else(not_found)
    }

    /// Every installation of the requested major version, in the order of preference of
    /// [`Installation::find`].
    pub fn all(options: &FindOptions) -> Result<Vec<Self>, TempPostgresError> {
        if let Some(bin_dir) = &options.bin_dir {
            return Ok(vec![Self::named(bin_dir, options.major)?]);
        }
        let server_user = ServerUser::unprivileged()?;
        let usable = |bin_dir: PathBuf| {
            let enterable = server_user.as_ref().is_none_or(|user| user.can_enter(&bin_dir));
            enterable.then(|| Self::in_directory(&bin_dir).ok()).flatten()
        };
        let mut off_path: Vec<Self> = standard_directories()
            .into_iter()
            .chain(options.cache_dir.as_deref().map(cached).unwrap_or_default())
            .filter_map(usable)
            .collect();
        off_path.sort_by_key(|installation| std::cmp::Reverse(installation.major));

        let path = options.path.as_deref().map(std::env::split_paths);
        let on_path = path.into_iter().flatten().filter_map(usable);
        let mut all: Vec<Self> = Vec::new();
        for installation in on_path.chain(off_path) {
            let matches = options.major.is_none_or(|major| major == installation.major);
            if matches && !all.contains(&installation) {
                all.push(installation);
            }
        }
        Ok(all)
    }

    /// The installation in an explicitly named directory: unusable programs are an error.
    pub(crate) fn named(bin_dir: &Path, major: Option<u16>) -> Result<Self, TempPostgresError> {
        let not_one =
            |why| TempPostgresError::NotAnInstallation { bin_dir: bin_dir.to_path_buf(), why };
        let installation = Self::in_directory(bin_dir).map_err(not_one)?;
        if let Some(major) = major.filter(|major| *major != installation.major) {
            let found = installation.major;
            return Err(not_one(format!("they are of version {found}, not {major}")));
        }
        if let Some(server_user) =
            ServerUser::unprivileged()?.filter(|user| !user.can_enter(bin_dir))
        {
            return Err(not_one(format!(
                "user {}, as which the server has to run because root may not run it, can't enter \
                 it",
                server_user.name()
            )));
        }
        Ok(installation)
    }

    /// The installation in `bin_dir`, or the reason why it is unusable.
    pub(crate) fn in_directory(bin_dir: &Path) -> Result<Self, String> {
        for program in ["postgres", "initdb"] {
            if !bin_dir.join(program).is_file() {
                return Err(format!("`{program}` is missing"));
            }
        }
        let output = Command::new(bin_dir.join("postgres"))
            .arg("--version")
            .output()
            .map_err(|error| error.to_string())?;
        let stdout = String::from_utf8_lossy(&output.stdout);
        let (version, major) = parse_version(&stdout).ok_or_else(|| {
            let stderr = String::from_utf8_lossy(&output.stderr);
            format!("`postgres --version` printed \"{}{}\"", stdout.trim(), stderr.trim())
        })?;
        // One installation may have several paths; the canonical one identifies it.
        let postgres =
            bin_dir.join("postgres").canonicalize().map_err(|error| error.to_string())?;
        let bin_dir = postgres.parent().unwrap_or(bin_dir).to_path_buf();
        Ok(Self { bin_dir, version, major })
    }

    /// The directory that holds the programs.
    pub fn bin_dir(&self) -> &Path {
        &self.bin_dir
    }

    /// The version as PostgreSQL prints it, such as `15.18` or `18beta1`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The major version, such as 15.
    pub fn major(&self) -> u16 {
        self.major
    }

    /// The path of one of the programs; it may not exist.
    pub fn program(&self, name: &str) -> PathBuf {
        self.bin_dir.join(name)
    }
}

/// `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)` → `15.18`, 15.
fn parse_version(output: &str) -> Option<(String, u16)> {
    let version = output.strip_prefix("postgres (PostgreSQL) ")?.split_whitespace().next()?;
    let digits = version.find(|c: char| !c.is_ascii_digit()).unwrap_or(version.len());
    let major = version.get(..digits)?.parse().ok()?;
    Some((version.to_owned(), major))
}

fn standard_directories() -> Vec<PathBuf> {
    INSTALL_PATHS
        .iter()
        .flat_map(|(parent, pattern)| matching(Path::new(parent), pattern))
        .collect()
}

/// Downloaded installations in the cache directory: one folder per major version.
fn cached(cache_dir: &Path) -> Vec<PathBuf> {
    matching(&cache_dir.join("postgresql"), "*/bin")
}

/// The directories `parent/pattern`. The first component of the pattern may contain one `*`.
fn matching(parent: &Path, pattern: &str) -> Vec<PathBuf> {
    let (name, rest) = pattern.split_once('/').unwrap_or((pattern, ""));
    let (before, after) = name.split_once('*').unwrap_or((name, ""));
    let Ok(entries) = std::fs::read_dir(parent) else { return Vec::new() };
    let matches = |name: &str| name.starts_with(before) && name.ends_with(after);
    entries
        .flatten()
        .filter(|entry| entry.file_name().to_str().is_some_and(matches))
        .map(|entry| entry.path().join(rest))
        .collect()
}

/// Writes an executable shell script, from another process: a file that one thread has open for
/// writing while another one forks can't be executed ("text file busy").
#[cfg(test)]
pub(crate) fn write_script(file: &Path, script: &str) {
    let written = Command::new("/bin/sh")
        .args(["-c", r#"printf '#!/bin/sh\n%s\n' "$2" > "$1" && chmod 755 "$1""#, "sh"])
        .args([file.as_os_str(), script.as_ref()])
        .status()
        .expect("there is a shell");
    assert!(written.success());
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// Creates programs that only print their version.
    fn fake_programs(bin_dir: &Path, version: &str) {
        std::fs::create_dir_all(bin_dir).unwrap();
        for program in ["postgres", "initdb"] {
            let script = format!("echo 'postgres (PostgreSQL) {version}'");
            write_script(&bin_dir.join(program), &script);
        }
    }

    fn directory_for(mode: u32) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(directory.path(), permissions).unwrap();
        directory
    }

    #[test]
    fn parses_versions_as_the_programs_print_them() {
        let debian = "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n";
        assert_eq!(parse_version(debian), Some(("15.18".into(), 15)));
        assert_eq!(parse_version("postgres (PostgreSQL) 19devel\n"), Some(("19devel".into(), 19)));
        assert_eq!(parse_version("postgres (PostgreSQL) 18beta1"), Some(("18beta1".into(), 18)));
        assert_eq!(parse_version("postgres (PostgreSQL) "), None);
        assert_eq!(parse_version("redis-server 7"), None);
    }

    #[test]
    fn a_named_directory_is_the_only_one_searched() {
        let directory = directory_for(0o755);
        fake_programs(&directory.path().join("here"), "77.1");
        fake_programs(&directory.path().join("there"), "78.1");
        let options = FindOptions {
            bin_dir: Some(directory.path().join("here")),
            path: Some(directory.path().join("there").into()),
            ..FindOptions::default()
        };
        assert_eq!(Installation::find(&options).unwrap().major(), 77);

        let other = FindOptions { major: Some(78), ..options };
        let error = Installation::find(&other).unwrap_err().to_string();
        assert!(error.ends_with("they are of version 77, not 78"), "{error}");
    }

    #[test]
    fn a_named_directory_without_programs_is_an_error() {
        let directory = directory_for(0o755);
        let options =
            FindOptions { bin_dir: Some(directory.path().into()), ..FindOptions::default() };
        let error = Installation::find(&options).unwrap_err().to_string();
        assert!(error.ends_with("`postgres` is missing"), "{error}");
    }

    #[test]
    fn the_search_path_comes_first_and_cached_programs_are_found() {
        let directory = directory_for(0o755);
        fake_programs(&directory.path().join("first"), "77.1");
        fake_programs(&directory.path().join("cache/postgresql/88/bin"), "88.0");
        fake_programs(&directory.path().join("cache/postgresql/99/bin"), "99.0");
        let mut options = FindOptions {
            path: Some(directory.path().join("first").into()),
            cache_dir: Some(directory.path().join("cache")),
            ..FindOptions::default()
        };
        let majors: Vec<u16> =
            Installation::all(&options).unwrap().iter().map(Installation::major).collect();
        assert_eq!(majors[..3], [77, 99, 88]);
        options.major = Some(88);
        assert_eq!(Installation::find(&options).unwrap().version(), "88.0");
        options.major = Some(66);
        let missing = Installation::find(&options).unwrap_err().to_string();
        assert!(missing.starts_with("no PostgreSQL server programs of version 66"), "{missing}");
    }

    #[test]
    fn as_root_programs_that_the_server_user_can_t_reach_are_skipped() {
        let directory = directory_for(0o700);
        fake_programs(&directory.path().join("bin"), "77.1");
        let Some(server_user) = ServerUser::unprivileged().unwrap() else { return };
        assert!(!server_user.can_enter(&directory.path().join("bin")));
        let path = Some(directory.path().join("bin").into());
        let options = FindOptions { path, major: Some(77), ..FindOptions::default() };
        assert_eq!(Installation::all(&options).unwrap(), []);
    }
}
