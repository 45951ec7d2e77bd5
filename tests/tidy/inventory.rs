//! Inventories: file lengths, SQL files, documented alerts.

use std::collections::BTreeSet;

use super::links::anchor;
use super::tree::SourceFile;

/// The longest source file, in lines: a longer one is hard to keep in mind.
const LINES_MAX: usize = 400;

/// Source files beyond [`LINES_MAX`]; `tests` are the files that no binary contains.
pub(crate) fn long_files(files: &[SourceFile], tests: &BTreeSet<&str>) -> Vec<String> {
    let shipped =
        |file: &&SourceFile| file.is_in("src", "rs") && !tests.contains(file.path.as_str());
    let sources = files.iter().filter(shipped);
    let long = sources.filter(|file| file.text.lines().count() > LINES_MAX);
    long.map(|file| {
        let lines = file.text.lines().count();
        format!(
            "{}: {lines} lines, at most {LINES_MAX}: move a part of it into a file of its own",
            file.path
        )
    })
    .collect()
}

/// Modules `name.rs` that have a folder `name/` beside them.
pub(crate) fn modules_beside_their_folder(files: &[SourceFile]) -> Vec<String> {
    let has_folder =
        |stem: &str| files.iter().any(|file| file.path.starts_with(&format!("{stem}/")));
    let stems = files.iter().filter_map(|file| file.path.strip_suffix(".rs"));
    stems
        .filter(|stem| has_folder(stem))
        .map(|stem| format!("{stem}.rs: move it to {stem}/mod.rs, beside its submodules"))
        .collect()
}

/// Files of `sql/` that no source file includes.
pub(crate) fn unused_sql(files: &[SourceFile]) -> Vec<String> {
    let sources: Vec<&SourceFile> = files.iter().filter(|file| file.is_in("src", "rs")).collect();
    let sql = files.iter().filter(|file| file.is_in("sql", "sql"));
    let unused = sql.filter(|file| {
        let named = format!("{}\"", file.path);
        !sources.iter().any(|source| source.text.contains(&named))
    });
    unused
        .map(|file| format!("{}: no include_str! in src/ names it; use it or remove it", file.path))
        .collect()
}

/// Alerts without a heading of their own in the runbook, headings without an alert, and a
/// `runbook_url` that leads elsewhere.
pub(crate) fn alerts_without_runbook(rules: &SourceFile, runbook: &SourceFile) -> Vec<String> {
    let headings: BTreeSet<&str> =
        runbook.text.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let values = |key| {
        let value = move |line: &str| Some(line.trim().strip_prefix(key)?.trim().to_owned());
        rules.text.lines().filter_map(value).collect::<Vec<_>>()
    };
    let (alerts, links) = (values("- alert:"), values("runbook_url:"));
    let expected: Vec<String> =
        alerts.iter().map(|alert| format!("{}#{}", runbook.path, anchor(alert))).collect();
    let unexplained = alerts
        .iter()
        .filter(|alert| !headings.contains(alert.as_str()))
        .map(|alert| format!("{}: add a heading `## {alert}` with what to do", runbook.path));
    let stale = headings
        .iter()
        .filter(|heading| heading.starts_with("Highwater"))
        .filter(|heading| alerts.iter().all(|alert| alert != *heading))
        .map(|heading| format!("{}: there is no alert {heading}; remove it", runbook.path));
    let elsewhere = (links != expected)
        .then(|| format!("{}: the runbook_urls must be {expected:?}", rules.path));
    unexplained.chain(stale).chain(elsewhere).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> SourceFile {
        SourceFile { path: path.into(), text: text.into() }
    }

    #[test]
    fn long_files_are_found_unless_they_are_tests() {
        let long = "\n".repeat(LINES_MAX + 1);
        let files = [
            file("src/long.rs", &long),
            file("src/long/tests.rs", &long),
            file("src/right.rs", &"\n".repeat(LINES_MAX)),
            file("README.md", &long),
        ];
        let found = long_files(&files, &BTreeSet::from(["src/long/tests.rs"]));
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("src/long.rs: 401 lines"), "{found:?}");
    }

    #[test]
    fn modules_beside_their_folder_are_found() {
        let paths = ["src/a.rs", "src/a/b.rs", "src/c/mod.rs", "src/c/d.rs", "src/ab.rs"];
        assert_eq!(
            modules_beside_their_folder(&paths.map(|path| file(path, ""))),
            ["src/a.rs: move it to src/a/mod.rs, beside its submodules"]
        );
    }

    #[test]
    fn unused_sql_is_found() {
        let source = "include_str!(\"../../sql/slot.sql\")";
        let files = [file("src/a.rs", source), file("sql/slot.sql", ""), file("sql/lost.sql", "")];
        assert_eq!(
            unused_sql(&files),
            ["sql/lost.sql: no include_str! in src/ names it; use it or remove it"]
        );
    }

    #[test]
    fn alerts_and_runbook_are_compared_both_ways() {
        let rules =
            file("rules.yaml", "- alert: HighwaterDown\n  runbook_url: book.md#highwaterdown\n");
        let runbook = file("book.md", "## HighwaterDown\n");
        assert_eq!(alerts_without_runbook(&rules, &runbook), Vec::<String>::new());
        assert_eq!(
            alerts_without_runbook(&rules, &file("book.md", "## HighwaterUp\n")),
            [
                "book.md: add a heading `## HighwaterDown` with what to do",
                "book.md: there is no alert HighwaterUp; remove it",
            ]
        );
        let elsewhere = file("rules.yaml", &rules.text.replace("#highwaterdown", "#other"));
        assert_eq!(
            alerts_without_runbook(&elsewhere, &runbook),
            [r#"rules.yaml: the runbook_urls must be ["book.md#highwaterdown"]"#]
        );
    }
}
