//! Rules for the whole repository that a machine can check: layers, sizes, names, words, documents.
//!
//! Each rule is a function from file texts or syntax trees to findings, tested on small texts in its
//! own file; the tests here apply it to the tree. A finding has a place, the problem and the remedy.

#![allow(clippy::indexing_slicing, reason = "in a test a panic is a failure like any other")]

mod dialect;
mod documents;
mod inventory;
mod layers;
mod links;
mod names;
mod syntax;
mod text;
mod tree;
mod words;

use std::sync::LazyLock;

use layers::ModuleTree;
use tree::SourceFile;

/// Every file of the repository.
static FILES: LazyLock<Vec<SourceFile>> = LazyLock::new(tree::files);

/// The parsed modules of `src/`.
static MODULES: LazyLock<ModuleTree> = LazyLock::new(|| ModuleTree::of(&FILES));

/// Fails with one finding per line.
#[track_caller]
fn assert_tidy(findings: &[String]) {
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

fn rust_files() -> impl Iterator<Item = &'static SourceFile> {
    FILES.iter().filter(|file| file.has_extension("rs"))
}

#[test]
fn modules_use_only_what_is_below_them() {
    assert_tidy(&MODULES.forbidden_uses());
}

#[test]
fn modules_do_not_depend_on_each_other_in_cycles() {
    assert_tidy(&MODULES.cycles());
}

#[test]
fn every_crate_is_used_where_it_belongs() {
    let dependencies = layers::dependencies(&tree::text("Cargo.toml"));
    assert_tidy(&MODULES.misplaced_crates(&dependencies));
}

#[test]
fn every_source_file_is_compiled() {
    assert_tidy(&MODULES.unreachable_files());
}

#[test]
fn a_module_with_a_folder_lives_in_its_folder() {
    assert_tidy(&inventory::modules_beside_their_folder(&FILES));
}

#[test]
fn no_source_file_is_long() {
    assert_tidy(&inventory::long_files(&FILES, &MODULES.test_files()));
}

#[test]
fn no_file_contains_forbidden_text() {
    assert_tidy(&text::forbidden(&FILES));
}

#[test]
fn no_file_speaks_the_old_dialect() {
    assert_tidy(&dialect::denied_words(FILES.iter()));
}

#[test]
fn few_types_share_their_name() {
    let types = |file: &SourceFile| {
        (file.path.clone(), syntax::types(&syntax::parse(&file.path, &file.text)))
    };
    let types: Vec<_> = rust_files().map(types).collect();
    assert_tidy(&names::shared_type_names(&types));
}

#[test]
fn doc_comments_say_more_than_the_name() {
    let findings = |file: &SourceFile| {
        let comments = syntax::doc_comments(&syntax::parse(&file.path, &file.text));
        names::repeating_docs(&file.path, &comments)
    };
    let findings: Vec<String> = rust_files().flat_map(findings).collect();
    assert_tidy(&findings);
}

#[test]
fn links_lead_to_known_hosts() {
    assert_tidy(&text::unknown_hosts(&FILES));
}

#[test]
fn every_sql_file_is_used() {
    assert_tidy(&inventory::unused_sql(&FILES));
}

#[test]
fn every_alert_is_in_the_runbook() {
    let find = |path: &str| FILES.iter().find(|file| file.path == path);
    let rules = find("grafana/rules.yaml").expect("alerting rules");
    let runbook = find("docs/src/operations/runbook.md").expect("a runbook");
    assert_tidy(&inventory::alerts_without_runbook(rules, runbook));
}

#[test]
fn links_in_documents_work() {
    assert_tidy(&links::broken(&FILES));
}

#[test]
fn every_page_is_part_of_the_book() {
    assert_tidy(&links::pages_outside_the_book(&FILES));
}

#[test]
fn the_guide_contains_the_tested_example_client() {
    let client = format!("```python\n{}```\n", tree::text("examples/poll.py"));
    let guide = tree::file("docs/src/guides/polling.md");
    let finding = documents::missing(&guide, &client, "the example client");
    assert_tidy(finding.as_slice());
}

#[test]
fn configurations_in_documents_are_accepted() {
    let documents = FILES.iter().filter(|file| file.has_extension("md"));
    let findings = documents.flat_map(documents::refused_configurations);
    assert_tidy(&findings.collect::<Vec<_>>());
}
