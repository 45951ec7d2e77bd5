//! The files of the repository, read from the working tree.

use std::path::Path;

/// A file with its text.
#[derive(Clone, Debug)]
pub(crate) struct SourceFile {
    /// From the repository's root, with `/`.
    pub(crate) path: String,
    /// Empty for binary files.
    pub(crate) text: String,
}

impl SourceFile {
    /// Whether it lies somewhere in `folder` and its name ends with `.extension`.
    pub(crate) fn is_in(&self, folder: &str, extension: &str) -> bool {
        let inside = self.path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
        inside && self.has_extension(extension)
    }

    /// Whether its name ends with `.extension`.
    pub(crate) fn has_extension(&self, extension: &str) -> bool {
        Path::new(&self.path).extension().is_some_and(|found| found == extension)
    }
}

/// Directories of tools and build output.
const SKIPPED: &[&str] = &[".git", "target", "node_modules", "__pycache__"];

/// Every file, sorted by path.
pub(crate) fn files() -> Vec<SourceFile> {
    let mut files = Vec::new();
    collect(Path::new(env!("CARGO_MANIFEST_DIR")), "", &mut files);
    files.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(
        files.iter().any(|file| file.path == "src/lib.rs"),
        "CARGO_MANIFEST_DIR is not the root of the repository"
    );
    files
}

/// Reads one file, by its path from the root.
pub(crate) fn file(path: &str) -> SourceFile {
    SourceFile { path: path.to_owned(), text: text(path) }
}

pub(crate) fn text(path: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(file).unwrap_or_else(|error| panic!("read {path}: {error}"))
}

fn collect(directory: &Path, prefix: &str, files: &mut Vec<SourceFile>) {
    let entries = std::fs::read_dir(directory).unwrap_or_else(|error| panic!("{prefix}: {error}"));
    for entry in entries {
        let entry = entry.expect("a directory can be read to its end");
        let name = entry.file_name().into_string().expect("file names are UTF-8");
        if SKIPPED.contains(&name.as_str()) {
            continue;
        }
        let path = format!("{prefix}{name}");
        let file_type = entry.file_type().expect("a file has a type");
        if file_type.is_dir() {
            collect(&entry.path(), &format!("{path}/"), files);
        } else if file_type.is_file() {
            // An image is not UTF-8: its text is empty.
            let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
            files.push(SourceFile { path, text });
        }
    }
}
