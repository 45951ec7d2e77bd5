//! The words of prose and of identifiers.

use std::ops::Range;

/// A word, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    pub(crate) text: String,
    /// Its bytes in the text that it is from.
    pub(crate) range: Range<usize>,
}

/// The words of a text; `snake_case` and `CamelCase` are taken apart.
pub(crate) fn words(text: &str) -> impl Iterator<Item = Word> {
    let mut words: Vec<Word> = Vec::new();
    let mut before = ' ';
    let mut rest = text.char_indices().peekable();
    while let Some((at, c)) = rest.next() {
        if c.is_alphanumeric() {
            let before_lowercase = rest.peek().is_some_and(|(_, next)| next.is_lowercase());
            let is_hump = c.is_uppercase() && (before.is_lowercase() || before_lowercase);
            if is_hump || !before.is_alphanumeric() {
                words.push(Word { text: String::new(), range: at..at });
            }
            let word = words.last_mut().expect("a word begins at the latest here");
            word.text.extend(c.to_lowercase());
            word.range.end = at + c.len_utf8();
        }
        before = c;
    }
    words.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart() {
        let text = "read_HTTPBody TableOid2, isn't";
        let found: Vec<Word> = words(text).collect();
        let texts: Vec<&str> = found.iter().map(|word| word.text.as_str()).collect();
        assert_eq!(texts, ["read", "http", "body", "table", "oid2", "isn", "t"]);
        let ranges: Vec<&str> = found.iter().map(|word| &text[word.range.clone()]).collect();
        assert_eq!(ranges, ["read", "HTTP", "Body", "Table", "Oid2", "isn", "t"]);
    }
}
