//! The reference pages of the documentation are generated from the code. Each test compares one page with
//! the committed file; `HIGHWATER_UPDATE_DOCS=1 cargo test --test main -- reference::` rewrites the pages.

mod cli;
mod configuration;
mod http_api;
mod metrics;
mod problems;

use std::path::Path;

/// Variable that makes [`assert_page`] write the page.
const UPDATE_VARIABLE: &str = "HIGHWATER_UPDATE_DOCS";

/// Asserts that the page at `path` (relative to the repository) is `text`, or writes it.
#[track_caller]
pub(crate) fn assert_page(path: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    #[allow(clippy::disallowed_methods, reason = "not a setting of the service")]
    let update = std::env::var_os(UPDATE_VARIABLE).is_some_and(|value| value == "1");
    if update {
        std::fs::create_dir_all(file.parent().expect("a page is in a directory"))
            .and_then(|()| std::fs::write(&file, text))
            .expect("the page can be written");
        return;
    }
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    if let Some(difference) = first_difference(&committed, text) {
        panic!(
            "{path} is out of date; run {UPDATE_VARIABLE}=1 cargo test --test main -- reference::\n\
             {difference}"
        );
    }
}

/// The first line that differs, in both versions.
fn first_difference(committed: &str, generated: &str) -> Option<String> {
    if committed == generated {
        return None;
    }
    let mut old = committed.split('\n');
    let mut new = generated.split('\n');
    let mut line = 0;
    loop {
        line += 1;
        let (old, new) = (old.next(), new.next());
        if old != new {
            let shown = |text: Option<&str>| text.unwrap_or("(end of file)").to_owned();
            return Some(format!("line {line}:\n- {}\n+ {}", shown(old), shown(new)));
        }
    }
}

/// `text` for a cell of a table.
pub(crate) fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

#[test]
fn the_first_differing_line_is_reported() {
    assert_eq!(first_difference("a\nb\n", "a\nb\n"), None);
    assert_eq!(first_difference("a\nb\n", "a\nc\n").unwrap(), "line 2:\n- b\n+ c");
    assert_eq!(first_difference("a\n", "a\nb\n").unwrap(), "line 2:\n- \n+ b");
    assert_eq!(first_difference("", "a").unwrap(), "line 1:\n- \n+ a");
}
