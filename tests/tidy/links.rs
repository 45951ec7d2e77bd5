//! Links between documents, as forges and mdBook resolve them.

use std::collections::{BTreeMap, BTreeSet};

use super::tree::SourceFile;

/// The folder of the documentation book.
const BOOK: &str = "docs/src";
/// The book's table of contents.
const SUMMARY: &str = "docs/src/SUMMARY.md";

/// Links of all documents whose target is no file, no heading, or, from a page of the book, not part
/// of the book: mdBook publishes `docs/src` and nothing else.
pub(crate) fn broken(files: &[SourceFile]) -> Vec<String> {
    let documents: Vec<&SourceFile> = documents(files).collect();
    let anchors: BTreeMap<&str, BTreeSet<String>> =
        documents.iter().map(|file| (file.path.as_str(), anchors(&file.text))).collect();
    let find = |document: &&SourceFile| {
        let broken = links(&document.text).into_iter().filter_map(|link| {
            let why = refuse(document, &link, files, &anchors)?;
            Some(format!("{}: the link `{link}` {why}", document.path))
        });
        broken.collect::<Vec<_>>()
    };
    documents.iter().flat_map(find).collect()
}

/// Pages that the table of contents does not name: mdBook does not publish them.
pub(crate) fn pages_outside_the_book(files: &[SourceFile]) -> Vec<String> {
    let summary = files.iter().find(|file| file.path == SUMMARY);
    let named: BTreeSet<String> = summary
        .map(|file| links(&file.text).iter().filter_map(|link| resolve(SUMMARY, link)).collect())
        .unwrap_or_default();
    let pages = documents(files).filter(|file| file.is_in(BOOK, "md") && file.path != SUMMARY);
    pages
        .filter(|page| !named.contains(&page.path))
        .map(|page| format!("{}: no line of {SUMMARY} names this page", page.path))
        .collect()
}

fn documents(files: &[SourceFile]) -> impl Iterator<Item = &SourceFile> {
    files.iter().filter(|file| file.has_extension("md"))
}

/// Why a link is broken; `None` if it works or leads to another host.
fn refuse(
    document: &SourceFile,
    link: &str,
    files: &[SourceFile],
    anchors: &BTreeMap<&str, BTreeSet<String>>,
) -> Option<&'static str> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (path, fragment) = link.split_once('#').unwrap_or((link, ""));
    let Some(target) = resolve(&document.path, path) else { return Some("leaves the repository") };
    let folder = format!("{target}/");
    if !files.iter().any(|file| file.path == target || file.path.starts_with(&folder)) {
        return Some("leads to no file");
    }
    if document.is_in(BOOK, "md") && !target.starts_with("docs/src/") {
        return Some(
            "leaves the book, which mdBook can't follow; link to the forge or name the file",
        );
    }
    let known = anchors.get(target.as_str());
    let missing = !fragment.is_empty() && known.is_some_and(|anchors| !anchors.contains(fragment));
    missing.then_some("leads to no heading")
}

/// The path from the repository's root that `link` in the document at `from` leads to.
fn resolve(from: &str, link: &str) -> Option<String> {
    if link.is_empty() {
        return Some(from.to_owned());
    }
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in link.trim_end_matches('/').split('/') {
        match part {
            "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// The targets of links and images, those in code left out.
fn links(document: &str) -> Vec<String> {
    let mut found = Vec::new();
    for paragraph in without_code_blocks(document).split("\n\n") {
        // Between an odd backtick and the next one is code.
        let prose: String = paragraph.split('`').step_by(2).collect();
        for (opening, closing) in [("](", ')'), ("src=\"", '"'), ("href=\"", '"')] {
            let targets = prose.split(opening).skip(1);
            let targets = targets.filter_map(|rest| rest.split(closing).next());
            // A title may follow the target.
            found.extend(targets.filter_map(|target| target.split(' ').next()).map(str::to_owned));
        }
        // `[label]: target`
        let definitions = prose.lines().filter(|line| line.starts_with('['));
        let targets = definitions.filter_map(|line| line.split_once("]: "));
        found.extend(targets.map(|(_, target)| target.trim().to_owned()));
    }
    found
}

/// The anchors of a document's headings. Repeated ones are numbered.
fn anchors(document: &str) -> BTreeSet<String> {
    let text = without_code_blocks(document);
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let headings = text.lines().filter_map(|line| Some(line.strip_prefix('#')?.trim_matches('#')));
    headings
        .map(|heading| {
            let anchor = anchor(heading.trim());
            let times = seen.entry(anchor.clone()).or_default();
            *times += 1;
            if *times == 1 { anchor } else { format!("{anchor}-{}", *times - 1) }
        })
        .collect()
}

/// A heading's anchor, as forges and mdBook build it.
pub(crate) fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect::<String>().to_lowercase()
}

/// The lines outside fenced code blocks: `#` starts a comment there, not a heading.
fn without_code_blocks(document: &str) -> String {
    let mut in_code = false;
    let prose = document.lines().filter(|line| {
        let is_fence = line.trim_start().starts_with("```");
        in_code ^= is_fence;
        !in_code && !is_fence
    });
    prose.fold(String::from("\n"), |text, line| text + line + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> SourceFile {
        SourceFile { path: path.into(), text: text.into() }
    }

    #[test]
    fn links_to_missing_files_and_headings_are_found() {
        let readme = "# What it is, in short\n## Twice\n## Twice\n\n[a](#what-it-is-in-short) [b](#lost) \
             [c](sql/) ![d](sql/lost.svg) [e](https://docs.rs/) [f](sql/slot.sql#L1) [g](#twice-1) \
             [h](docs/src/a.md#here \"Title\") [i](docs/src/a.md#gone) [j](../x)";
        let files = [
            file("README.md", readme),
            file("docs/src/a.md", "# Here\n"),
            file("sql/slot.sql", ""),
        ];
        assert_eq!(
            broken(&files),
            [
                "README.md: the link `#lost` leads to no heading",
                "README.md: the link `sql/lost.svg` leads to no file",
                "README.md: the link `docs/src/a.md#gone` leads to no heading",
                "README.md: the link `../x` leaves the repository",
            ]
        );
    }

    #[test]
    fn pages_of_the_book_link_from_their_own_folder_and_within_the_book() {
        let page =
            "[a](../b.md#one) [b](b.md) [c](./d.svg) [d](../../../README.md)\n\n[e]: ../c.md\n";
        let files = [
            file("README.md", ""),
            file("docs/src/a/a.md", page),
            file("docs/src/a/d.svg", ""),
            file("docs/src/b.md", "## One\n"),
        ];
        assert_eq!(
            broken(&files),
            [
                "docs/src/a/a.md: the link `b.md` leads to no file",
                "docs/src/a/a.md: the link `../../../README.md` leaves the book, which mdBook can't \
                 follow; link to the forge or name the file",
                "docs/src/a/a.md: the link `../c.md` leads to no file",
            ]
        );
    }

    #[test]
    fn code_has_no_links_and_no_headings() {
        let text = "`[a](lost.md)` and <img src=\"lost.svg\">\n\n```sh\n# Comment\n[b](lost.md)\n```\n[c](#comment)";
        assert_eq!(
            broken(&[file("a.md", text)]),
            [
                "a.md: the link `lost.svg` leads to no file",
                "a.md: the link `#comment` leads to no heading"
            ]
        );
    }

    #[test]
    fn pages_that_the_summary_does_not_name_are_found() {
        let files = [
            file(SUMMARY, "- [A](a/a.md)\n"),
            file("docs/src/a/a.md", ""),
            file("docs/src/b.md", ""),
        ];
        assert_eq!(
            pages_outside_the_book(&files),
            ["docs/src/b.md: no line of docs/src/SUMMARY.md names this page"]
        );
    }
}
