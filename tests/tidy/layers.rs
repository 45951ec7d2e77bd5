//! Which module of `src/` may use which, and which crate belongs to which module.
//!
//! The tables here are the plan of the house. A change to them is a decision: make it on purpose.

use std::collections::{BTreeMap, BTreeSet};

use super::paths::{Outline, outline};
use super::tree::SourceFile;

/// Values: everything may speak of them. Among themselves they only have to stay free of cycles.
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
    // Pure protocol: they don't know each other.
    ("wire", &[]),
    ("pgoutput", &[]),
    ("render", &[]),
    ("codec", &[]),
    // They meet only in values.
    ("source", &["wire", "pgoutput", "render"]),
    ("database", &["wire", "render"]),
    ("store", &[]),
    ("auth", &[]),
    // Knows no PostgreSQL.
    ("http", &["store", "auth"]),
    // A private server: of no use to anything that ships answers.
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
    ("utoipa", &["http"]),
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

/// What the sources under `src/` name.
pub(crate) struct House {
    rooms: Vec<LayerRoom>,
}

/// A source file.
struct LayerRoom {
    path: String,
    /// `["wire", "target"]`; the crate's root is `[]`, `main.rs` is `["main"]`.
    module: Vec<String>,
    outline: Outline,
    test: bool,
}

impl LayerRoom {
    fn top(&self) -> Option<&str> {
        self.module.first().map(String::as_str)
    }
}

/// A use of one module by another, with where it was seen.
struct Edge<'a> {
    from: &'a str,
    to: &'a str,
    place: String,
}

impl House {
    /// Reads every `src/**.rs`.
    pub(crate) fn of(files: &[SourceFile]) -> Self {
        let mut rooms: Vec<LayerRoom> = files
            .iter()
            .filter_map(|file| {
                let module = module_of(&file.path)?;
                let outline = outline(&file.text, &module);
                Some(LayerRoom { path: file.path.clone(), module, outline, test: false })
            })
            .collect();
        mark_tests(&mut rooms);
        Self { rooms }
    }

    /// Files that `#[cfg(test)]` keeps out of what ships.
    pub(crate) fn test_files(&self) -> BTreeSet<&str> {
        self.rooms.iter().filter(|room| room.test).map(|room| room.path.as_str()).collect()
    }

    /// Modules that are used although the plan does not say so.
    pub(crate) fn forbidden_uses(&self) -> Vec<String> {
        let mut found = Vec::new();
        for edge in self.edges() {
            let Some((_, allowed)) = LAYERS.iter().find(|(module, _)| *module == edge.from) else {
                if !VALUES.contains(&edge.from) {
                    found.push(format!(
                        "{}: module `{}` has no place in the house; give it one in LAYERS",
                        edge.place, edge.from
                    ));
                }
                if !VALUES.contains(&edge.to) {
                    found.push(format!(
                        "{}: `{}` is a value and uses `{}`, which is above it; move what it needs down",
                        edge.place, edge.from, edge.to
                    ));
                }
                continue;
            };
            if !VALUES.contains(&edge.to) && !allowed.contains(&edge.to) {
                found.push(format!(
                    "{}: `{}` uses `{}`; it may use values and {allowed:?}: let them meet in a value, \
                     or in a module above both",
                    edge.place, edge.from, edge.to
                ));
            }
        }
        found
    }

    /// Circles among the top-level modules, each named once.
    pub(crate) fn cycles(&self) -> Vec<String> {
        let mut uses: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for edge in self.edges() {
            uses.entry(edge.from).or_default().insert(edge.to);
        }
        // Whatever uses nothing that is left is in no circle.
        loop {
            let idle = |to: &&str| !uses.contains_key(*to);
            let free: Vec<&str> =
                uses.iter().filter(|(_, to)| to.iter().all(idle)).map(|(from, _)| *from).collect();
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
            "modules go round in a circle: {}; turn one of these uses around",
            shown.join(", ")
        )]
    }

    /// Crates that are used where they don't belong; `dependencies` are those of `Cargo.toml`.
    pub(crate) fn misplaced_crates(&self, dependencies: &BTreeSet<String>) -> Vec<String> {
        let mut found = Vec::new();
        for (name, modules) in CRATES.iter().map(|(name, modules)| (*name, *modules)) {
            for (room, line) in self.users_of(name) {
                let top = room.top().unwrap_or("lib");
                if !modules.contains(&top) {
                    found.push(format!(
                        "{}:{line}: crate `{name}` belongs to {modules:?}, not to `{top}`",
                        room.path
                    ));
                }
            }
        }
        let placed: BTreeSet<&str> =
            CRATES.iter().map(|(name, _)| *name).chain(EVERYWHERE.iter().copied()).collect();
        for name in dependencies.iter().filter(|name| !placed.contains(name.as_str())) {
            found.push(format!(
                "Cargo.toml: say in CRATES (or EVERYWHERE) which modules may use `{name}`"
            ));
        }
        for name in placed.iter().filter(|name| !dependencies.contains(**name)) {
            found.push(format!("tests/tidy/layers.rs: crate `{name}` is no dependency; remove it"));
        }
        found
    }

    /// Files that no `mod` leads to: the compiler never sees them.
    pub(crate) fn unreachable_files(&self) -> Vec<String> {
        let declared: BTreeSet<Vec<String>> = self
            .rooms
            .iter()
            .flat_map(|room| {
                room.outline.children.iter().map(|child| {
                    let own = room.module.iter().cloned();
                    own.chain([child.name.clone()]).collect()
                })
            })
            .collect();
        self.rooms
            .iter()
            .filter(|room| !matches!(room.path.as_str(), "src/lib.rs" | "src/main.rs"))
            .filter(|room| !declared.contains(&room.module))
            .map(|room| {
                format!("{}: no `mod` leads here; declare it or remove the file", room.path)
            })
            .collect()
    }

    /// Every use of one top-level module by another outside tests.
    fn edges(&self) -> Vec<Edge<'_>> {
        let mut edges = Vec::new();
        for room in self.rooms.iter().filter(|room| !room.test) {
            let Some(from) = room.top() else { continue };
            for path in &room.outline.paths {
                let mut names = path.names.iter().map(String::as_str);
                let ours = matches!(names.next(), Some("crate" | env!("CARGO_PKG_NAME")));
                let Some(to) = names.next().filter(|to| ours && *to != from && self.has(to)) else {
                    continue;
                };
                edges.push(Edge { from, to, place: format!("{}:{}", room.path, path.line) });
            }
        }
        edges
    }

    fn has(&self, module: &str) -> bool {
        self.rooms.iter().any(|room| room.top() == Some(module))
    }

    fn users_of(&self, name: &str) -> Vec<(&LayerRoom, usize)> {
        let named = |room: &'_ &LayerRoom| !room.test;
        let rooms = self.rooms.iter().filter(named);
        rooms
            .flat_map(|room| {
                let paths = room.outline.paths.iter();
                let uses =
                    paths.filter(|path| path.names.first().is_some_and(|first| first == name));
                uses.map(move |path| (room, path.line))
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

/// A file is a test's when a `#[cfg(test)] mod` leads to it, or to what it is inside of.
fn mark_tests(rooms: &mut [LayerRoom]) {
    let mut tests: Vec<Vec<String>> = Vec::new();
    for room in rooms.iter() {
        for child in room.outline.children.iter().filter(|child| child.test) {
            tests.push(room.module.iter().cloned().chain([child.name.clone()]).collect());
        }
    }
    for room in rooms {
        room.test = tests.iter().any(|test| room.module.starts_with(test));
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

    fn house(files: &[(&str, &str)]) -> House {
        let file =
            |&(path, text): &(&str, &str)| SourceFile { path: path.into(), text: text.into() };
        House::of(&files.iter().map(file).collect::<Vec<_>>())
    }

    #[test]
    fn a_use_across_a_layer_is_found_however_it_is_written() {
        for code in [
            "use crate::store::Store;",
            "use crate::{lsn::Lsn, store::Store};",
            "fn f() { crate::store::open(); }",
            "mod inner { use super::super::store::Store; }",
        ] {
            let found = house(&[("src/wire.rs", code), ("src/store/mod.rs", "")]).forbidden_uses();
            assert_eq!(found.len(), 1, "{code}: {found:?}");
            assert!(found[0].starts_with("src/wire.rs:1: `wire` uses `store`"), "{found:?}");
        }
    }

    #[test]
    fn what_the_plan_allows_and_what_tests_do_is_fine() {
        let house = house(&[
            ("src/source/session.rs", "use crate::wire::Target; use crate::lsn::Lsn;"),
            ("src/wire/mod.rs", "#[cfg(test)] mod tests; mod own; use own::X; use crate::wire::Y;"),
            ("src/wire/tests.rs", "use crate::store::Store;"),
            ("src/store.rs", ""),
            ("src/lsn.rs", ""),
        ]);
        assert_eq!(house.forbidden_uses(), Vec::<String>::new());
        assert_eq!(house.test_files().into_iter().collect::<Vec<_>>(), ["src/wire/tests.rs"]);
    }

    #[test]
    fn values_use_values_only_and_strangers_are_asked_for_their_place() {
        let files = [("src/lsn.rs", "use crate::wire::X;"), ("src/wire.rs", "")];
        assert!(house(&files).forbidden_uses()[0].contains("`lsn` is a value"));
        let files = [("src/misc.rs", "use crate::lsn::Lsn;"), ("src/lsn.rs", "")];
        assert!(house(&files).forbidden_uses()[0].contains("no place in the house"));
    }

    #[test]
    fn circles_are_found() {
        let line =
            [("src/change.rs", "use crate::key::Key;"), ("src/key.rs", "use crate::lsn::Lsn;")];
        let circle = [("src/lsn.rs", "use crate::change::Change;")];
        assert_eq!(
            house(&[&line[..], &[("src/lsn.rs", "")]].concat()).cycles(),
            Vec::<String>::new()
        );
        let found = house(&[&line[..], &circle].concat()).cycles();
        assert!(found[0].contains("`lsn` uses {\"change\"}"), "{found:?}");
    }

    #[test]
    fn the_plan_itself_goes_downwards() {
        for (place, (module, allowed)) in LAYERS.iter().enumerate() {
            for other in *allowed {
                let below = LAYERS.iter().position(|(name, _)| name == other);
                assert!(below.is_some_and(|below| below < place), "{module} → {other}");
            }
        }
    }

    #[test]
    fn a_crate_in_the_wrong_module_is_found_and_every_crate_has_a_place() {
        let house =
            house(&[("src/store.rs", "use axum::Router;"), ("src/http.rs", "use axum::Json;")]);
        let mut known: BTreeSet<String> = CRATES
            .iter()
            .map(|(name, _)| *name)
            .chain(EVERYWHERE.iter().copied())
            .map(str::to_owned)
            .collect();
        assert_eq!(
            house.misplaced_crates(&known),
            [
                "src/store.rs:1: crate `axum` belongs to [\"http\", \"app\", \"cli\"], not to `store`"
            ]
        );
        known.remove("axum");
        known.insert("left_pad".into());
        let found = house.misplaced_crates(&known).join("\n");
        assert!(found.contains("which modules may use `left_pad`"), "{found}");
        assert!(found.contains("crate `axum` is no dependency"), "{found}");
    }

    #[test]
    fn files_that_no_declaration_leads_to_are_found() {
        let house = house(&[
            ("src/lib.rs", "mod wire;"),
            ("src/wire/mod.rs", "mod target;"),
            ("src/wire/target.rs", ""),
            ("src/wire/forgotten.rs", ""),
        ]);
        assert_eq!(
            house.unreachable_files(),
            ["src/wire/forgotten.rs: no `mod` leads here; declare it or remove the file"]
        );
    }

    #[test]
    fn dependencies_are_read_as_code_names_them() {
        let manifest = "[dependencies]\ntokio-util = \"1\"\nbytes = { version = \"1\" }";
        let names: Vec<String> = dependencies(manifest).into_iter().collect();
        assert_eq!(names, ["bytes", "tokio_util"]);
    }
}
