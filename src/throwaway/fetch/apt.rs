//! Debian's and Ubuntu's package, installed for the whole system by root.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Announce, run};
use crate::throwaway::error::ThrowawayError;
use crate::throwaway::installation::{FindOptions, Installation};

/// Read by `pg_createcluster`, which Debian's package runs when it is installed.
const NO_CLUSTER_FILE: &str = "/etc/postgresql-common/createcluster.d/highwater-demo.conf";

/// Installs `postgresql`, or `postgresql-<major>`.
pub(super) fn fetch(
    apt_get: &Path,
    options: &FindOptions,
    announce: Announce<'_>,
) -> Result<Installation, ThrowawayError> {
    let package =
        options.major.map_or_else(|| "postgresql".into(), |major| format!("postgresql-{major}"));
    if simulate(apt_get, &package).is_err() {
        announce(&format!("Looking for the package `{package}` with apt-get."));
        run(Command::new(apt_get).args(["update", "--quiet"]))?;
        // A release that doesn't have this major version says so here.
        simulate(apt_get, &package)?;
    }
    announce(&format!(
        "There are no PostgreSQL server programs here yet: installing the package `{package}` \
         with apt-get (this sets up no cluster and starts no server)."
    ));
    let no_cluster = NoCluster::ask(Path::new(NO_CLUSTER_FILE))?;
    run(&mut install(apt_get, &package))?;
    drop(no_cluster);
    Installation::find(options)
}

fn install(apt_get: &Path, package: &str) -> Command {
    let mut command = Command::new(apt_get);
    command.env("DEBIAN_FRONTEND", "noninteractive").args([
        "install",
        "--yes",
        "--quiet",
        "--no-install-recommends",
        package,
    ]);
    command
}

fn simulate(apt_get: &Path, package: &str) -> Result<String, ThrowawayError> {
    run(install(apt_get, package).arg("--simulate"))
}

/// While it exists, installing a PostgreSQL makes no cluster `main`, which would be a server
/// nobody asked for.
struct NoCluster {
    file: PathBuf,
}

impl NoCluster {
    fn ask(file: &Path) -> Result<Self, ThrowawayError> {
        let directory = file.parent().unwrap_or(file);
        std::fs::create_dir_all(directory)
            .and_then(|()| std::fs::write(file, "create_main_cluster = false\n"))
            .map_err(ThrowawayError::files(format!("write {}", file.display())))?;
        Ok(Self { file: file.to_path_buf() })
    }
}

impl Drop for NoCluster {
    fn drop(&mut self) {
        // Of no consequence if it stays: it only speaks of clusters made at installation.
        let _ = std::fs::remove_file(&self.file);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_for_no_cluster_ends_with_the_installation() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("createcluster.d/highwater.conf");
        let asked = NoCluster::ask(&file).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "create_main_cluster = false\n");
        drop(asked);
        assert!(!file.exists());
    }
}
