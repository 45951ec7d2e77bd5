//! The operating-system user that the server runs as: PostgreSQL's programs refuse root.

use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::unistd::{Uid, User};

use super::error::TempPostgresError;

/// An unprivileged user of this machine.
#[derive(Clone, Debug)]
pub struct ServerUser {
    name: String,
    uid: u32,
    gid: u32,
}

impl ServerUser {
    /// The user to run the server as: `None` (the current one) unless this process is root; then
    /// `postgres` if that user exists, else `nobody`.
    pub fn unprivileged() -> Result<Option<Self>, TempPostgresError> {
        if !Uid::effective().is_root() {
            return Ok(None);
        }
        ["postgres", "nobody"]
            .into_iter()
            .find_map(|name| User::from_name(name).ok().flatten())
            .map(|user| {
                Some(Self { name: user.name, uid: user.uid.as_raw(), gid: user.gid.as_raw() })
            })
            .ok_or(TempPostgresError::NoUnprivilegedUser)
    }

    /// The login name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the permission bits let this user enter `directory`. Access control lists are not
    /// considered.
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

/// A command that runs as `user`, without root's supplementary groups.
pub(crate) fn command_as(user: Option<&ServerUser>, program: &Path) -> Command {
    let mut command = Command::new(program);
    if let Some(user) = user {
        command.uid(user.uid).gid(user.gid);
    }
    command
}

/// Makes `user` the owner of one file or directory.
pub(crate) fn change_owner(
    user: Option<&ServerUser>,
    path: &Path,
) -> Result<(), TempPostgresError> {
    let Some(user) = user else { return Ok(()) };
    chown(path, Some(user.uid), Some(user.gid)).map_err(TempPostgresError::files(format!(
        "give {} to {}",
        path.display(),
        user.name
    )))
}
