//! A host name whose address changes during a test.
//!
//! Only the program's lookups are changed, not the machine's: `/etc/hosts` and `/etc/resolv.conf` belong
//! to root and affect every process, a mount namespace needs root or a permission that many machines
//! deny, and glibc's variables (`HOSTALIASES`, `LOCALDOMAIN`) still lead to a DNS server. Therefore a
//! few lines of C replace the C library's `getaddrinfo`, which every lookup of the program calls. The
//! `cc` that Rust links with compiles them.

use std::path::PathBuf;
use std::process::Command;

use super::CertificateFiles;

/// A host name whose address the test controls.
pub(crate) struct Name {
    files: CertificateFiles,
    library: PathBuf,
}

impl Name {
    /// The host name.
    pub(crate) const NAME: &'static str = "db.highwater.test";

    /// A name without an address.
    pub(crate) fn new() -> Self {
        let files = CertificateFiles::new();
        let library = PathBuf::from(files.write("names", "")).with_file_name("libnames.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/names.c");
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-o"])
            .arg(&library)
            .args([source, "-ldl"])
            .status();
        assert!(
            compiled.expect("cc, with which Rust links, is installed").success(),
            "it compiles"
        );
        Self { files, library }
    }

    /// Sets the address that it resolves to; an empty string means none.
    pub(crate) fn resolve_to(&self, address: &str) {
        // Replaced atomically: a concurrent lookup finds the old or the new address.
        let new = self.files.write("names.new", address);
        std::fs::rename(&new, self.file()).expect("a file of this test");
    }

    /// The environment variables of a program that resolves it.
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
