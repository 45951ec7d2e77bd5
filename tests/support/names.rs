//! Names that come to mean other addresses.
//!
//! The program's own lookups are changed, not the machine's: `/etc/hosts` and `/etc/resolv.conf` are
//! root's and everybody's, a mount namespace needs root or what many machines forbid, and glibc's
//! variables (`HOSTALIASES`, `LOCALDOMAIN`) lead to a DNS server all the same. So a few lines of C
//! stand before the C library's `getaddrinfo`, which is where every lookup of the program ends. They
//! are compiled by the `cc` that Rust links with.

use std::path::PathBuf;
use std::process::Command;

use super::CertificateFiles;

/// A name whose meaning the test says.
pub(crate) struct Name {
    files: CertificateFiles,
    library: PathBuf,
}

impl Name {
    /// What it is called.
    pub(crate) const NAME: &'static str = "db.highwater.test";

    /// A name that means nothing yet.
    pub(crate) fn new() -> Self {
        let files = CertificateFiles::new();
        let library = PathBuf::from(files.write("names", "")).with_file_name("libnames.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/names.c");
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-o"])
            .arg(&library)
            .args([source, "-ldl"])
            .status();
        assert!(compiled.expect("there is cc, with which Rust links").success(), "it compiles");
        Self { files, library }
    }

    /// From now on it means this address; empty: none.
    pub(crate) fn means(&self, address: &str) {
        // Replaced in one step: who looks it up meanwhile finds the one or the other.
        let new = self.files.write("names.new", address);
        std::fs::rename(&new, self.file()).expect("a file of ours");
    }

    /// The environment of a program that knows it.
    pub(crate) fn environment(&self) -> [(&'static str, String); 2] {
        [("LD_PRELOAD", shown(&self.library)), ("NAMES_FILE", shown(&self.file()))]
    }

    fn file(&self) -> PathBuf {
        self.library.with_file_name("names")
    }
}

fn shown(path: &std::path::Path) -> String {
    path.to_str().expect("UTF-8").to_owned()
}
