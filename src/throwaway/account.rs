//! The user the server runs as: PostgreSQL's programs refuse root.

use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::unistd::{Uid, User};

use super::error::ThrowawayError;

/// An unprivileged user of this machine.
#[derive(Clone, Debug)]
pub struct Account {
    name: String,
    uid: u32,
    gid: u32,
}

impl Account {
    /// Whom to run the server as: `None` (ourselves) unless we are root; then `postgres` where
    /// there is such a user, else `nobody`.
    pub fn unprivileged() -> Result<Option<Self>, ThrowawayError> {
        if !Uid::effective().is_root() {
            return Ok(None);
        }
        ["postgres", "nobody"]
            .into_iter()
            .find_map(|name| User::from_name(name).ok().flatten())
            .map(|user| {
                Some(Self { name: user.name, uid: user.uid.as_raw(), gid: user.gid.as_raw() })
            })
            .ok_or(ThrowawayError::NoUnprivilegedUser)
    }

    /// The user's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether this user can go into `directory`, as far as the permission bits tell.
    pub(crate) fn can_enter(&self, directory: &Path) -> bool {
        let Ok(directory) = directory.canonicalize() else { return false };
        directory.ancestors().all(|ancestor| {
            ancestor.metadata().is_ok_and(|metadata| {
                let searchable = if metadata.uid() == self.uid {
                    0o100
                } else if metadata.gid() == self.gid {
                    0o010
                } else {
                    0o001
                };
                metadata.mode() & searchable != 0
            })
        })
    }
}

/// A command that will run as `account`, without the supplementary groups of root.
pub(crate) fn command_as(account: Option<&Account>, program: &Path) -> Command {
    let mut command = Command::new(program);
    if let Some(account) = account {
        command.uid(account.uid).gid(account.gid);
    }
    command
}

/// Gives one file or directory to `account`.
pub(crate) fn give(account: Option<&Account>, path: &Path) -> Result<(), ThrowawayError> {
    let Some(account) = account else { return Ok(()) };
    chown(path, Some(account.uid), Some(account.gid)).map_err(ThrowawayError::files(format!(
        "give {} to {}",
        path.display(),
        account.name
    )))
}
