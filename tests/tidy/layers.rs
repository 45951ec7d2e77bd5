//! Which module of `src/` may use which, and which crate belongs to which module.
//!
//! The tables are the architecture. A change to them is a decision: make it on purpose.

use std::collections::{BTreeMap, BTreeSet};

use super::syntax::{self, Outline};
use super::tree::SourceFile;

/// Values: every module may use them. Among themselves they only have to stay free of cycles.
const VALUES: &[&str] = &[
    "backoff",
    "change",
    "decimal",
    "history",
    "json_bytes",
    "json_text",
    "json_type",
    "key",
    "load",
    "lsn",
    "metrics",
    "row",
    "scope",
    "secret",
    "snapshot",
    "source_status",
    "sql_text",
    "table",
    "version",
];

/// The modules above the values, lowest first, and what else each may use.
const LAYERS: &[(&str, &[&str])] = &[
    // Pure protocol: independent of each other.
    ("wire", &[]),
    ("pgoutput", &[]),
    ("render", &[]),
    ("codec", &[]),
    // They share only values.
    ("source", &["wire", "pgoutput", "render"]),
    ("database", &["wire", "render"]),
    ("store", &[]),
    ("auth", &[]),
    // Independent of PostgreSQL.
    ("http", &["store", "auth"]),
    // A private server for the demo and the tests: the service never starts one.
    ("temp_postgres", &[]),
    // Reads text into the options that each module declares.
    ("config", &["wire", "source", "database", "store", "auth", "http"]),
    // Puts the parts together.
    ("app", &["wire", "source", "database", "store", "auth", "http", "config"]),
    ("cli", &["wire", "database", "auth", "temp_postgres", "config", "app"]),
    // `main.rs`
    ("main", &["cli"]),
];

/// Crates that any module may use: they do no I/O and decide nothing.
const EVERYWHERE: &[&str] = &[
    "bytes",
    "bytesize",
    "futures_util",
    "hashbrown",
    "humantime",
    "itoa",
    "jiff",
    "parking_lot",
    "percent_encoding",
    "serde",
    "serde_json",
    "strsim",
    "thin_vec",
    "thiserror",
    "tracing",
];

/// The other crates, and the modules that may use them.
const CRATES: &[(&str, &[&str])] = &[
    (
        "tokio",
        &["source_status", "wire", "database", "source", "store", "auth", "http", "app", "cli"],
    ),
    ("tokio_util", &["wire", "source", "store", "http", "app", "cli"]),
    ("postgres_protocol", &["wire"]),
    ("tokio_postgres", &["database", "temp_postgres", "cli"]),
    ("rustls", &["wire", "database", "auth", "http", "cli"]),
    ("tokio_rustls", &["wire", "http"]),
    ("rustls_native_certs", &["wire"]),
    ("x509_cert", &["wire", "auth", "http"]),
    ("socket2", &["wire"]),
    ("rustix", &["wire"]),
    ("fastrand", &["backoff", "wire", "store", "cli"]),
    ("sha2", &["wire", "history", "auth"]),
    ("subtle", &["auth"]),
    ("jsonwebtoken", &["auth"]),
    // The others only name rustls' module of that name.
    ("ring", &["wire", "auth", "http"]),
    // cli: the demo's own routes.
    ("axum", &["http", "app", "cli"]),
    ("hyper_util", &["http"]),
    ("hyper", &["http"]),
    ("tokio_tungstenite", &["http"]),
    ("flate2", &["http"]),
    ("brotli", &["http"]),
    ("zstd", &["http"]),
    ("tower", &["http"]),
    ("tower_http", &["http"]),
    ("pin_project_lite", &["http"]),
    ("governor", &["http"]),
    ("utoipa", &["http"]),
    ("utoipa_axum", &["http"]),
    ("postcard", &["codec"]),
    ("twox_hash", &["codec", "http"]),
    ("base64", &["http", "cli"]),
    ("reqwest", &["cli"]),
    ("clap", &["cli"]),
    ("toml", &["config"]),
    ("anstream", &["cli"]),
    ("anstyle", &["cli"]),
    ("indicatif", &["cli"]),
    // config only to check a filter.
    ("tracing_subscriber", &["cli", "main", "config"]),
    ("prometheus", &["metrics", "source", "http", "store"]),
    ("moka", &["store"]),
    ("imbl", &["store"]),
    ("anyhow", &["app", "cli", "main"]),
    ("nix", &["wire", "temp_postgres"]),
    ("tempfile", &["temp_postgres"]),
];

/// The modules under `src/` with the paths that each one uses.
pub(crate) struct ModuleTree {
    modules: Vec<SourceModule>,
}

/// A source file and its place in the module tree.
struct SourceModule {
    path: String,
    /// `["wire", "target"]`; the crate's root is `[]`, `main.rs` is `["main"]`.
    module: Vec<String>,
    outline: Outline,
    is_test: bool,
}

impl SourceModule {
    fn top(&self) -> Option<&str> {
        self.module.first().map(String::as_str)
    }
}

/// A use of one top-level module by another.
struct Dependency<'a> {
    from: &'a str,
    to: &'a str,
    /// `path:line`
    place: String,
}

impl ModuleTree {
    /// Parses every `src/**.rs`.
    pub(crate) fn of(files: &[SourceFile]) -> Self {
        let mut modules: Vec<SourceModule> = files
            .iter()
            .filter_map(|file| {
                let module = module_of(&file.path)?;
                let outline = syntax::outline(&syntax::parse(&file.path, &file.text), &module);
                Some(SourceModule { path: file.path.clone(), module, outline, is_test: false })
            })
            .collect();
        mark_tests(&mut modules);
        Self { modules }
    }

    /// Files that `#[cfg(test)]` keeps out of the shipped program.
    pub(crate) fn test_files(&self) -> BTreeSet<&str> {
        self.modules.iter().filter(|file| file.is_test).map(|file| file.path.as_str()).collect()
    }

    /// Uses of modules that [`LAYERS`] does not allow.
    pub(crate) fn forbidden_uses(&self) -> Vec<String> {
        let mut found = Vec::new();
        for dependency in self.dependencies() {
            let Some((_, allowed)) = LAYERS.iter().find(|(module, _)| *module == dependency.from)
            else {
                if !VALUES.contains(&dependency.from) {
                    found.push(format!(
                        "{}: module `{}` belongs to no layer; add it to LAYERS",
                        dependency.place, dependency.from
                    ));
                }
                if !VALUES.contains(&dependency.to) {
                    found.push(format!(
                        "{}: `{}` is a value and uses `{}`, which is above it; move what it needs down",
                        dependency.place, dependency.from, dependency.to
                    ));
                }
                continue;
            };
            if !VALUES.contains(&dependency.to) && !allowed.contains(&dependency.to) {
                found.push(format!(
                    "{}: `{}` uses `{}`; it may use values and {allowed:?}: share a value, or join them \
                     in a module above both",
                    dependency.place, dependency.from, dependency.to
                ));
            }
        }
        found
    }

    /// Cycles among the top-level modules.
    pub(crate) fn cycles(&self) -> Vec<String> {
        let mut uses: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for dependency in self.dependencies() {
            uses.entry(dependency.from).or_default().insert(dependency.to);
        }
        // A module that uses none of the remaining ones is in no cycle.
        loop {
            let is_removed = |to: &&str| !uses.contains_key(*to);
            let free: Vec<&str> = uses
                .iter()
                .filter(|(_, to)| to.iter().all(is_removed))
                .map(|(from, _)| *from)
                .collect();
            if free.is_empty() {
                break;
            }
            uses.retain(|from, _| !free.contains(from));
        }
        if uses.is_empty() {
            return Vec::new();
        }
        let shown: Vec<String> =
            uses.iter().map(|(from, to)| format!("`{from}` uses {to:?}")).collect();
        vec![format!(
            "modules depend on each other in a cycle: {}; reverse one of these uses",
            shown.join(", ")
        )]
    }

    /// Crates used outside the modules that [`CRATES`] names; `dependencies` are those of `Cargo.toml`.
    pub(crate) fn misplaced_crates(&self, dependencies: &BTreeSet<String>) -> Vec<String> {
        let mut found = Vec::new();
        for (name, modules) in CRATES.iter().map(|(name, modules)| (*name, *modules)) {
            for (file, line) in self.users_of(name) {
                let top = file.top().unwrap_or("lib");
                if !modules.contains(&top) {
                    found.push(format!(
                        "{}:{line}: crate `{name}` belongs to {modules:?}, not to `{top}`",
                        file.path
                    ));
                }
            }
        }
        let placed: BTreeSet<&str> =
            CRATES.iter().map(|(name, _)| *name).chain(EVERYWHERE.iter().copied()).collect();
        for name in dependencies.iter().filter(|name| !placed.contains(name.as_str())) {
            found.push(format!(
                "Cargo.toml: add `{name}` to CRATES (or EVERYWHERE) with the modules that may use it"
            ));
        }
        for name in placed.iter().filter(|name| !dependencies.contains(**name)) {
            found.push(format!(
                "tests/tidy/layers.rs: crate `{name}` is not a dependency; remove it"
            ));
        }
        found
    }

    /// Files that no `mod` declares: the compiler never sees them.
    pub(crate) fn unreachable_files(&self) -> Vec<String> {
        let children = self.modules.iter().flat_map(|file| &file.outline.children);
        let declared: BTreeSet<&[String]> = children.map(|child| child.module.as_slice()).collect();
        self.modules
            .iter()
            .filter(|file| !matches!(file.path.as_str(), "src/lib.rs" | "src/main.rs"))
            .filter(|file| !declared.contains(file.module.as_slice()))
            .map(|file| format!("{}: no `mod` declares this file; declare or remove it", file.path))
            .collect()
    }

    /// Every use of one top-level module by another, outside tests.
    fn dependencies(&self) -> Vec<Dependency<'_>> {
        let mut dependencies = Vec::new();
        for file in self.modules.iter().filter(|file| !file.is_test) {
            let Some(from) = file.top() else { continue };
            for path in &file.outline.paths {
                let mut names = path.names.iter().map(String::as_str);
                let is_local = matches!(names.next(), Some("crate" | env!("CARGO_PKG_NAME")));
                let Some(to) = names.next().filter(|to| is_local && *to != from && self.has(to))
                else {
                    continue;
                };
                dependencies.push(Dependency {
                    from,
                    to,
                    place: format!("{}:{}", file.path, path.line),
                });
            }
        }
        dependencies
    }

    fn has(&self, module: &str) -> bool {
        self.modules.iter().any(|file| file.top() == Some(module))
    }

    fn users_of(&self, name: &str) -> Vec<(&SourceModule, usize)> {
        let files = self.modules.iter().filter(|file| !file.is_test);
        files
            .flat_map(|file| {
                let paths = file.outline.paths.iter();
                let uses =
                    paths.filter(|path| path.names.first().is_some_and(|first| first == name));
                uses.map(move |path| (file, path.line))
            })
            .collect()
    }
}

/// `src/wire/target/mod.rs` is module `wire::target`.
fn module_of(path: &str) -> Option<Vec<String>> {
    let inside = path.strip_prefix("src/")?.strip_suffix(".rs")?;
    let inside = inside.strip_suffix("/mod").unwrap_or(inside);
    Some(if inside == "lib" { Vec::new() } else { inside.split('/').map(str::to_owned).collect() })
}

/// Marks the files that a `#[cfg(test)] mod` declares, and those below them.
fn mark_tests(modules: &mut [SourceModule]) {
    let children = modules.iter().flat_map(|file| &file.outline.children);
    let tests: Vec<Vec<String>> =
        children.filter(|child| child.is_test).map(|child| child.module.clone()).collect();
    for file in modules {
        file.is_test = tests.iter().any(|test| file.module.starts_with(test));
    }
}

/// The names under `[dependencies]` of a manifest, as code writes them.
pub(crate) fn dependencies(manifest: &str) -> BTreeSet<String> {
    let manifest: toml::Table = manifest.parse().expect("Cargo.toml is TOML");
    let table = manifest["dependencies"].as_table().expect("[dependencies] is a table");
    table.keys().map(|name| name.replace('-', "_")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modules(files: &[(&str, &str)]) -> ModuleTree {
        let file =
            |&(path, text): &(&str, &str)| SourceFile { path: path.into(), text: text.into() };
        ModuleTree::of(&files.iter().map(file).collect::<Vec<_>>())
    }

    #[test]
    fn a_use_across_a_layer_is_found_however_it_is_written() {
        for code in [
            "use crate::store::Store;",
            "use crate::{lsn::Lsn, store::Store};",
            "fn f() { crate::store::open(); }",
            "mod inner { use super::super::store::Store; }",
        ] {
            let found =
                modules(&[("src/wire.rs", code), ("src/store/mod.rs", "")]).forbidden_uses();
            assert_eq!(found.len(), 1, "{code}: {found:?}");
            assert!(found[0].starts_with("src/wire.rs:1: `wire` uses `store`"), "{found:?}");
        }
    }

    #[test]
    fn uses_that_the_layers_allow_and_uses_in_tests_are_fine() {
        let modules = modules(&[
            ("src/source/session.rs", "use crate::wire::Target; use crate::lsn::Lsn;"),
            ("src/wire/mod.rs", "#[cfg(test)] mod tests; mod own; use own::X; use crate::wire::Y;"),
            ("src/wire/tests.rs", "use crate::store::Store;"),
            ("src/store.rs", ""),
            ("src/lsn.rs", ""),
        ]);
        assert_eq!(modules.forbidden_uses(), Vec::<String>::new());
        assert_eq!(modules.test_files().into_iter().collect::<Vec<_>>(), ["src/wire/tests.rs"]);
    }

    #[test]
    fn values_use_values_only_and_every_module_belongs_to_a_layer() {
        let files = [("src/lsn.rs", "use crate::wire::X;"), ("src/wire.rs", "")];
        assert!(modules(&files).forbidden_uses()[0].contains("`lsn` is a value"));
        let files = [("src/misc.rs", "use crate::lsn::Lsn;"), ("src/lsn.rs", "")];
        assert!(modules(&files).forbidden_uses()[0].contains("belongs to no layer"));
    }

    #[test]
    fn cycles_are_found() {
        let line =
            [("src/change.rs", "use crate::key::Key;"), ("src/key.rs", "use crate::lsn::Lsn;")];
        let cycle = [("src/lsn.rs", "use crate::change::Change;")];
        assert_eq!(
            modules(&[&line[..], &[("src/lsn.rs", "")]].concat()).cycles(),
            Vec::<String>::new()
        );
        let found = modules(&[&line[..], &cycle].concat()).cycles();
        assert!(found[0].contains("`lsn` uses {\"change\"}"), "{found:?}");
    }

    #[test]
    fn layers_are_listed_lowest_first() {
        for (place, (module, allowed)) in LAYERS.iter().enumerate() {
            for other in *allowed {
                let below = LAYERS.iter().position(|(name, _)| name == other);
                assert!(below.is_some_and(|below| below < place), "{module} → {other}");
            }
        }
    }

    #[test]
    fn a_crate_in_the_wrong_module_is_found_and_every_crate_has_a_place() {
        let modules =
            modules(&[("src/store.rs", "use axum::Router;"), ("src/http.rs", "use axum::Json;")]);
        let mut known: BTreeSet<String> = CRATES
            .iter()
            .map(|(name, _)| *name)
            .chain(EVERYWHERE.iter().copied())
            .map(str::to_owned)
            .collect();
        assert_eq!(
            modules.misplaced_crates(&known),
            [
                "src/store.rs:1: crate `axum` belongs to [\"http\", \"app\", \"cli\"], not to `store`"
            ]
        );
        known.remove("axum");
        known.insert("left_pad".into());
        let found = modules.misplaced_crates(&known).join("\n");
        assert!(found.contains("add `left_pad` to CRATES"), "{found}");
        assert!(found.contains("crate `axum` is not a dependency"), "{found}");
    }

    #[test]
    fn files_that_no_module_declares_are_found() {
        let modules = modules(&[
            ("src/lib.rs", "mod wire;"),
            ("src/wire/mod.rs", "mod target;"),
            ("src/wire/target.rs", ""),
            ("src/wire/forgotten.rs", ""),
        ]);
        assert_eq!(
            modules.unreachable_files(),
            ["src/wire/forgotten.rs: no `mod` declares this file; declare or remove it"]
        );
    }

    #[test]
    fn dependencies_are_read_as_code_names_them() {
        let manifest = "[dependencies]\ntokio-util = \"1\"\nbytes = { version = \"1\" }";
        let names: Vec<String> = dependencies(manifest).into_iter().collect();
        assert_eq!(names, ["bytes", "tokio_util"]);
    }
}
