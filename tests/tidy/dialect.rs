//! Words of a private dialect that this code once spoke, and the field's words for them.

use std::collections::BTreeMap;

use super::tree::SourceFile;
use super::words::{Word, words};

/// Words in a row, and what to write instead. They are found in identifiers, too.
const DENIED: &[(&str, &str)] = &[
    ("told", "reported, sent, returned, notified"),
    ("tells", "reports, returns, emits, logs"),
    ("whoever", "name the caller, the client, the operator"),
    ("nobody", "no client, no caller, none"),
    ("somebody", "a client, a caller"),
    ("anybody", "any client, any caller"),
    ("everybody", "every task, every client"),
    ("desk", "pending rows, a queue: say what is kept"),
    ("lent", "borrowed, reclaimable, unconsumed"),
    ("mend", "fix"),
    ("mends", "fixes"),
    ("mended", "fixed"),
    ("mending", "fixing"),
    ("wish", "request"),
    ("wishes", "requests"),
    ("wished", "requested"),
    ("looks", "checks, polls, reads, refreshes"),
    ("a look", "a check, a poll, a refresh"),
    ("the look", "the check, the poll, the refresh"),
    ("that look", "that check, that poll, that refresh"),
    ("one look", "one check, one poll, one refresh"),
    ("no look", "no check, no poll, no refresh"),
    ("each look", "each check, each poll, each refresh"),
    ("every look", "every check, every poll, every refresh"),
    ("first look", "first check, first poll, first refresh"),
    ("next look", "next check, next poll, next refresh"),
    ("last look", "last check, last poll, last refresh"),
    ("another look", "another check, poll, refresh"),
    ("so often", "every, at an interval of"),
    ("in vain", "without success"),
    ("as good as", "equivalent to, almost"),
    ("of ours", "our own, Highwater's"),
    ("goes on", "continues"),
    ("went on", "continued"),
    ("go on", "continue"),
    ("going on", "continuing"),
    ("a while", "some time: say how long"),
    ("throwaway", "temporary"),
    ("throw away", "temporary, discard"),
    ("torture", "chaos test"),
    ("storm", "fault phase"),
    ("storms", "fault phases"),
    ("calm", "quiescent phase"),
    ("calms", "quiescent phases"),
];

/// Phrases with another meaning of a denied word.
const ALLOWED: &[&str] = &["looks for", "looks like", "looks up", "looks empty", "looks connected"];

/// Denied words that are names where they stand in quotes or backticks: a Unix account.
const QUOTED: &[&str] = &["nobody"];

/// Files in which the words stand for themselves: this list, old names beside new ones, texts of
/// others, inputs of a fuzzer.
const EXEMPT: &[&str] = &[
    "tests/tidy/dialect.rs",
    "CHANGELOG.md",
    "Cargo.lock",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "fuzz/corpus/",
    "proptest-regressions/",
];

/// Characters that may stand between the words of a phrase: spaces, line ends, what begins a comment
/// line, what joins the parts of a name.
const WITHIN_PHRASE: &[char] = &['/', '!', '#', '*', '-', '_'];

/// Every use of a denied word.
pub(crate) fn denied_words<'a>(files: impl IntoIterator<Item = &'a SourceFile>) -> Vec<String> {
    // By their first word, so that most words of a text cost one search.
    let mut denied: BTreeMap<&str, Vec<(&str, &str)>> = BTreeMap::new();
    for (phrase, instead) in DENIED {
        let first = phrase.split(' ').next().unwrap_or(phrase);
        denied.entry(first).or_default().push((phrase, instead));
    }
    let is_exempt = |file: &&SourceFile| EXEMPT.iter().any(|path| file.path.starts_with(path));
    let files = files.into_iter().filter(|file| !is_exempt(file));
    files.flat_map(|file| denied_in(file, &denied)).collect()
}

fn denied_in(file: &SourceFile, denied: &BTreeMap<&str, Vec<(&str, &str)>>) -> Vec<String> {
    let text = file.text.as_str();
    let words: Vec<Word> = words(text).collect();
    let mut found = Vec::new();
    for (at, word) in words.iter().enumerate() {
        let Some(phrases) = denied.get(word.text.as_str()) else { continue };
        let is_here = |phrase: &str| begins_with(text, &words[at..], phrase);
        let Some((phrase, instead)) = phrases.iter().find(|(phrase, _)| is_here(phrase)) else {
            continue;
        };
        let is_name = QUOTED.contains(phrase) && is_quoted(text, word);
        if !is_name && !ALLOWED.iter().any(|phrase| is_here(phrase)) {
            let line = text[..word.range.start].matches('\n').count() + 1;
            found.push(format!("{}:{line}: `{phrase}`: {instead}", file.path));
        }
    }
    found
}

fn is_quoted(text: &str, word: &Word) -> bool {
    let is_quote = |c: char| matches!(c, '`' | '"' | '\'');
    text[..word.range.start].ends_with(is_quote) && text[word.range.end..].starts_with(is_quote)
}

fn begins_with(text: &str, words: &[Word], phrase: &str) -> bool {
    let mut expected = phrase.split(' ');
    let count = expected.clone().count();
    let Some(words) = words.get(..count) else { return false };
    words.iter().all(|word| expected.next() == Some(word.text.as_str()))
        && words.windows(2).all(|pair| {
            let between = &text[pair[0].range.end..pair[1].range.start];
            between.chars().all(|c| c.is_whitespace() || WITHIN_PHRASE.contains(&c))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        denied_words(&[SourceFile { path: "src/a.rs".into(), text: text.into() }])
    }

    #[test]
    fn every_denied_word_is_found_with_its_line() {
        for (phrase, _) in DENIED {
            let found = found(&format!("fine\nnot {phrase} fine\n"));
            assert_eq!(found.len(), 1, "{phrase}: {found:?}");
            assert!(found[0].starts_with(&format!("src/a.rs:2: `{phrase}`: ")), "{found:?}");
        }
    }

    #[test]
    fn words_are_found_in_names_and_phrases_across_lines() {
        for text in ["untold_but_told_twice", "struct LentBuffer;", "TOLD", "SoOften"] {
            assert_eq!(found(text).len(), 1, "{text}");
        }
        assert_eq!(found("/// polled so\n    /// often"), found("so often"));
        assert_eq!(found("-- throw-away"), found("throw away"));
        assert_eq!(found("user = nobody").len(), 1);
    }

    #[test]
    fn words_with_another_meaning_and_words_across_sentences_are_fine() {
        let text = "Silently recommend a desktop: look it up, it looks like one. So, often as good: \
             `a` (look) mendacious \"nobody\"";
        assert_eq!(found(text), Vec::<String>::new());
    }

    #[test]
    fn files_that_quote_the_words_are_exempt() {
        let file = |path: &str| SourceFile { path: path.into(), text: "told".into() };
        assert_eq!(
            denied_words(&[file("CHANGELOG.md"), file("fuzz/corpus/http/1")]),
            Vec::<String>::new()
        );
        assert_eq!(denied_words(&[file("docs/CHANGELOG.md")]).len(), 1);
    }
}
