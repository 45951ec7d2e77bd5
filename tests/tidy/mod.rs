//! Rules of the house that a machine can check: layers, sizes, words, documents.
//!
//! Each rule is a function from file texts to findings, tested on small texts beside it; here they
//! meet the tree. A finding says where, what, and what to do about it.

#![allow(clippy::indexing_slicing, reason = "in a test a panic is a failure like any other")]

mod code;
mod documents;
mod layers;
mod links;
mod paths;
mod rest;
mod tree;
mod words;

use layers::House;

/// Fails with one finding a line.
#[track_caller]
fn assert_tidy(findings: &[String]) {
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

#[test]
fn modules_use_only_what_is_below_them() {
    assert_tidy(&House::of(&tree::files()).forbidden_uses());
}

#[test]
fn modules_do_not_go_round_in_circles() {
    assert_tidy(&House::of(&tree::files()).cycles());
}

#[test]
fn every_crate_is_used_where_it_belongs() {
    let dependencies = layers::dependencies(&tree::text("Cargo.toml"));
    assert_tidy(&House::of(&tree::files()).misplaced_crates(&dependencies));
}

#[test]
fn every_source_file_is_compiled() {
    assert_tidy(&House::of(&tree::files()).unreachable_files());
}

#[test]
fn no_source_file_is_long() {
    let files = tree::files();
    assert_tidy(&rest::long_files(&files, &House::of(&files).test_files()));
}

#[test]
fn nothing_says_what_it_must_not() {
    assert_tidy(&words::forbidden(&tree::files()));
}

#[test]
fn links_lead_to_known_hosts() {
    assert_tidy(&words::unknown_hosts(&tree::files()));
}

#[test]
fn every_sql_file_is_used() {
    assert_tidy(&rest::unused_sql(&tree::files()));
}

#[test]
fn every_alert_is_in_the_runbook() {
    let files = tree::files();
    let find = |path: &str| files.iter().find(|file| file.path == path);
    let rules = find("grafana/rules.yaml").expect("alerting rules");
    let runbook = find("docs/src/operations/runbook.md").expect("a runbook");
    assert_tidy(&rest::alerts_without_runbook(rules, runbook));
}

#[test]
fn links_in_documents_work() {
    assert_tidy(&links::broken(&tree::files()));
}

#[test]
fn every_page_is_part_of_the_book() {
    assert_tidy(&links::pages_outside_the_book(&tree::files()));
}

#[test]
fn the_client_in_the_guide_is_the_one_that_is_tested() {
    let client = format!("```python\n{}```\n", tree::text("examples/poll.py"));
    let guide = tree::file("docs/src/guides/polling.md");
    let finding = documents::missing(&guide, &client, "the example client");
    assert_tidy(finding.as_slice());
}

#[test]
fn configurations_in_documents_are_accepted() {
    let documents = tree::files().into_iter().filter(|file| file.path.ends_with(".md"));
    let findings = documents.flat_map(|document| documents::refused_configurations(&document));
    assert_tidy(&findings.collect::<Vec<_>>());
}
