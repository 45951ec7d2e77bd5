//! Small rules: lengths, SQL files, what the README must name.

use std::collections::BTreeSet;

use super::tree::SourceFile;

/// A longer source file is hard to hold in the head.
const LINES_MAX: usize = 400;

/// Source files that are too long; `tests` are the files that ship in no binary.
pub(crate) fn long_files(files: &[SourceFile], tests: &BTreeSet<&str>) -> Vec<String> {
    let shipped =
        |file: &&SourceFile| file.is_in("src", "rs") && !tests.contains(file.path.as_str());
    let sources = files.iter().filter(shipped);
    let long = sources.filter(|file| file.text.lines().count() > LINES_MAX);
    long.map(|file| {
        let lines = file.text.lines().count();
        format!(
            "{}: {lines} lines, at most {LINES_MAX}: give a part of it a file of its own",
            file.path
        )
    })
    .collect()
}

/// Files of `sql/` that nothing includes.
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

/// The names `highwater_…` in a text, as metrics are called.
pub(crate) fn metric_names(text: &str) -> BTreeSet<&str> {
    let part_of_name = |c: char| c == '_' || c.is_ascii_alphanumeric();
    let words = text.split(|c| !part_of_name(c));
    words
        .filter(|word| word.strip_prefix("highwater_").is_some_and(|rest| !rest.is_empty()))
        .filter(|word| {
            word.chars().all(|c| c == '_' || c.is_ascii_lowercase() || c.is_ascii_digit())
        })
        .collect()
}

/// Metrics that only one of source and README knows.
pub(crate) fn undocumented_metrics(source: &str, readme: &str) -> Vec<String> {
    let (made, told) = (metric_names(source), metric_names(readme));
    let missing = made
        .difference(&told)
        .map(|name| format!("README.md: say what {name} means, in the table of metrics"));
    let stale = told
        .difference(&made)
        .map(|name| format!("README.md: there is no metric {name} in src/metrics.rs; remove it"));
    missing.chain(stale).collect()
}

/// Alerts without a heading of their own in the README, or whose `runbook_url` leads elsewhere.
pub(crate) fn alerts_without_runbook(rules: &str, readme: &str) -> Vec<String> {
    let headings: BTreeSet<&str> =
        readme.lines().filter_map(|line| line.strip_prefix("#### ")).collect();
    let values = |key| move |line: &str| Some(line.trim().strip_prefix(key)?.trim().to_owned());
    let alerts: Vec<String> = rules.lines().filter_map(values("- alert:")).collect();
    let links: Vec<String> = rules.lines().filter_map(values("runbook_url:")).collect();
    let expected: Vec<String> =
        alerts.iter().map(|alert| format!("README.md#{}", anchor(alert))).collect();
    let unexplained = alerts
        .iter()
        .filter(|alert| !headings.contains(alert.as_str()))
        .map(|alert| format!("README.md: say in the runbook what to do about {alert}"));
    let astray = (links != expected)
        .then(|| format!("grafana/rules.yaml: the runbook_urls must be {expected:?}"));
    unexplained.chain(astray).collect()
}

/// Links of a document in the repository's root that lead to no file or heading.
pub(crate) fn broken_links(readme: &str, files: &[SourceFile]) -> Vec<String> {
    let headings: BTreeSet<String> = readme
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| anchor(line.trim_start_matches('#').trim()))
        .collect();
    let links = readme.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let broken = links.filter(|link| {
        if let Some(heading) = link.strip_prefix('#') {
            return !headings.contains(heading);
        }
        let file = link.split('#').next().unwrap_or(link).trim_end_matches('/');
        let exists =
            files.iter().any(|f| f.path == file || f.path.starts_with(&format!("{file}/")));
        !link.contains("://") && !exists
    });
    broken.map(|link| format!("README.md: the link `{link}` leads nowhere")).collect()
}

/// A heading as forges make an anchor of it.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect::<String>().to_lowercase()
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
    fn sql_that_nothing_includes_is_found() {
        let source = "include_str!(\"../../sql/slot.sql\")";
        let files = [file("src/a.rs", source), file("sql/slot.sql", ""), file("sql/lost.sql", "")];
        assert_eq!(
            unused_sql(&files),
            ["sql/lost.sql: no include_str! in src/ names it; use it or remove it"]
        );
    }

    #[test]
    fn metrics_and_readme_are_compared_both_ways() {
        let source = r#""highwater_polls_total" "highwater_log_bytes""#;
        assert_eq!(
            undocumented_metrics(source, "`highwater_polls_total`, `highwater_old`"),
            [
                "README.md: say what highwater_log_bytes means, in the table of metrics",
                "README.md: there is no metric highwater_old in src/metrics.rs; remove it",
            ]
        );
    }

    #[test]
    fn alerts_that_nobody_explains_are_found() {
        let rules = "- alert: SlotGone\n  runbook_url: README.md#slotgone\n";
        assert_eq!(alerts_without_runbook(rules, "#### SlotGone\n"), Vec::<String>::new());
        assert_eq!(
            alerts_without_runbook(rules, "#### Other\n"),
            ["README.md: say in the runbook what to do about SlotGone"]
        );
        let astray = rules.replace("#slotgone", "#other");
        assert_eq!(
            alerts_without_runbook(&astray, "#### SlotGone\n"),
            [r#"grafana/rules.yaml: the runbook_urls must be ["README.md#slotgone"]"#]
        );
    }

    #[test]
    fn links_that_lead_nowhere_are_found() {
        let readme = "# What it is, in short\n[a](#what-it-is-in-short) [b](#lost) [c](sql/) \
             [d](sql/lost.sql) [e](https://docs.rs/) [f](sql/slot.sql#L1)";
        assert_eq!(
            broken_links(readme, &[file("sql/slot.sql", "")]),
            [
                "README.md: the link `#lost` leads nowhere",
                "README.md: the link `sql/lost.sql` leads nowhere",
            ]
        );
    }
}
