//! A package being unpacked into the cache directory: seen by others whole, or not at all.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::throwaway::account::Account;
use crate::throwaway::error::ThrowawayError;
use crate::throwaway::installation::{FindOptions, Installation};

/// The cache directory; the clients that unpack are only used where there is one.
pub(super) fn cache_of(options: &FindOptions) -> Result<&Path, ThrowawayError> {
    options.cache_dir.as_deref().ok_or(ThrowawayError::NoPackageClient { major: options.major })
}

/// A directory beside where the package will be. Dropping it removes it.
pub(super) struct Unpacking {
    directory: TempDir,
    destination: PathBuf,
}

impl Unpacking {
    /// Makes the directory, and the cache directory around it where there is none: as root others
    /// may read them, because the server won't run as root.
    pub(super) fn start(cache_dir: &Path) -> Result<Self, ThrowawayError> {
        let destination = cache_dir.join("postgresql");
        let doing = || ThrowawayError::files(format!("make {}", destination.display()));
        let missing: Vec<&Path> =
            destination.ancestors().take_while(|ancestor| !ancestor.exists()).collect();
        std::fs::create_dir_all(&destination).map_err(doing())?;
        if Account::unprivileged()?.is_some() {
            for made in missing {
                std::fs::set_permissions(made, Permissions::from_mode(0o755)).map_err(doing())?;
            }
        }
        let directory = TempDir::with_prefix_in("unfinished-", &destination).map_err(doing())?;
        Ok(Self { directory, destination })
    }

    /// Where to unpack.
    pub(super) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The only file with this extension: what the package client downloaded.
    pub(super) fn only_file(&self, extension: &str) -> Result<PathBuf, ThrowawayError> {
        let doing = || ThrowawayError::files(format!("look for the downloaded .{extension} file"));
        let entries = std::fs::read_dir(self.directory()).map_err(doing())?;
        entries
            .flatten()
            .map(|entry| entry.path())
            .find(|path| path.extension().is_some_and(|found| found == extension))
            .ok_or_else(|| doing()(std::io::ErrorKind::NotFound.into()))
    }

    /// Tries the programs in `bin_dir`, a path inside the package, and moves everything to the
    /// folder of their major version, where [`Installation::find`] looks for `bin`.
    pub(super) fn finish(
        self,
        bin_dir: &str,
        major: Option<u16>,
    ) -> Result<Installation, ThrowawayError> {
        let unpacked = self.directory();
        open_to_all(unpacked)?;
        let programs = unpacked.join(bin_dir);
        make_executable(&programs)?;
        let not_one = |why| ThrowawayError::NotAnInstallation { bin_dir: programs.clone(), why };
        let found = Installation::in_directory(&programs).map_err(not_one)?.major();
        if let Some(major) = major.filter(|major| *major != found) {
            return Err(not_one(format!("they are of version {found}, not {major}")));
        }
        let folder = self.destination.join(found.to_string());
        let doing = || ThrowawayError::files(format!("keep {}", folder.display()));
        std::os::unix::fs::symlink(bin_dir, unpacked.join("bin")).map_err(doing())?;
        match std::fs::rename(unpacked, &folder) {
            // Another process was faster; what it has unpacked is as good, and ours is removed.
            Err(_) if folder.join("bin").exists() => {}
            outcome => outcome.map_err(doing())?,
        }
        Installation::named(&folder.join("bin"), major)
    }
}

/// Lets every user read what is in `directory`, whatever the umask was when it was unpacked.
fn open_to_all(directory: &Path) -> Result<(), ThrowawayError> {
    let doing = || ThrowawayError::files(format!("open {} to its users", directory.display()));
    std::fs::set_permissions(directory, Permissions::from_mode(0o755)).map_err(doing())?;
    for entry in std::fs::read_dir(directory).map_err(doing())? {
        let entry = entry.map_err(doing())?;
        let kind = entry.file_type().map_err(doing())?;
        if kind.is_dir() {
            open_to_all(&entry.path())?;
        } else if kind.is_file() {
            let mode = entry.metadata().map_err(doing())?.permissions().mode() | 0o444;
            std::fs::set_permissions(entry.path(), Permissions::from_mode(mode)).map_err(doing())?;
        }
    }
    Ok(())
}

/// Makes every file of the programs' directory executable: wheels are zip archives, and Python's
/// `zipfile` forgets modes.
fn make_executable(programs: &Path) -> Result<(), ThrowawayError> {
    let doing = || ThrowawayError::files(format!("make {} executable", programs.display()));
    for entry in std::fs::read_dir(programs).map_err(doing())? {
        let file = entry.map_err(doing())?.path();
        std::fs::set_permissions(file, Permissions::from_mode(0o755)).map_err(doing())?;
    }
    Ok(())
}
