//! Just enough of Rust's grammar to see which paths a source file names.

/// A token, with the line it stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CodeToken<'a> {
    /// The word, `::`, or one character of punctuation.
    pub(crate) text: &'a str,
    /// From 1.
    pub(crate) line: usize,
}

impl CodeToken<'_> {
    /// Whether it is an identifier, a keyword or a number.
    pub(crate) fn is_word(&self) -> bool {
        self.text.starts_with(|c: char| c == '_' || c.is_alphanumeric())
    }
}

/// Splits code into tokens; comments and the insides of literals are passed over.
pub(crate) fn tokens(code: &str) -> Vec<CodeToken<'_>> {
    let mut tokens = Vec::new();
    let (mut rest, mut line) = (code, 1);
    while let Some(first) = rest.chars().next() {
        let length = skipped(rest).unwrap_or_else(|| {
            let length = token_length(rest, first);
            tokens.push(CodeToken { text: &rest[..length], line });
            length
        });
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    tokens
}

fn token_length(rest: &str, first: char) -> usize {
    if first == '_' || first.is_alphanumeric() {
        return rest.find(|c: char| c != '_' && !c.is_alphanumeric()).unwrap_or(rest.len());
    }
    if rest.starts_with("::") { 2 } else { first.len_utf8() }
}

/// The length of what is no token of interest at the start of `rest`: space, comment, literal.
fn skipped(rest: &str) -> Option<usize> {
    if rest.starts_with(char::is_whitespace) {
        return Some(rest.find(|c: char| !c.is_whitespace()).unwrap_or(rest.len()));
    }
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return Some(block_comment(rest));
    }
    string(rest).or_else(|| character(rest))
}

/// Comments nest.
fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        let here = &rest.as_bytes()[at..];
        match (here.starts_with(b"/*"), here.starts_with(b"*/")) {
            (true, _) => (depth, at) = (depth + 1, at + 2),
            (_, true) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

/// `"…"`, `b"…"`, `c"…"`, and the raw forms `r#"…"#`, `br"…"`, `cr"…"`.
fn string(rest: &str) -> Option<usize> {
    let after_prefix = rest.strip_prefix(['b', 'c']).unwrap_or(rest);
    let raw = after_prefix.strip_prefix('r');
    let opening = raw.unwrap_or(after_prefix);
    let hashes =
        if raw.is_some() { opening.len() - opening.trim_start_matches('#').len() } else { 0 };
    let inside = opening[hashes..].strip_prefix('"')?;
    let start = rest.len() - inside.len();
    let length = if raw.is_some() {
        let closing = format!("\"{}", "#".repeat(hashes));
        inside.find(&closing).map(|at| at + closing.len())
    } else {
        closing_quote(inside, '"')
    };
    Some(start + length.unwrap_or(inside.len()))
}

/// `'x'`, `b'\n'`, but not the lifetime `'a`.
fn character(rest: &str) -> Option<usize> {
    let inside = rest.strip_prefix('b').unwrap_or(rest).strip_prefix('\'')?;
    let start = rest.len() - inside.len();
    let mut characters = inside.char_indices();
    let (_, first) = characters.next()?;
    let (second_at, second) = characters.next()?;
    if first == '\\' {
        return closing_quote(inside, '\'').map(|length| start + length);
    }
    (second == '\'').then_some(start + second_at + 1)
}

/// The length up to and with the first quote that no backslash stands before.
fn closing_quote(inside: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in inside.char_indices() {
        if c == quote && !escaped {
            return Some(at + c.len_utf8());
        }
        escaped = c == '\\' && !escaped;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(code: &str) -> Vec<&str> {
        tokens(code).into_iter().map(|token| token.text).collect()
    }

    #[test]
    fn comments_and_literals_are_passed_over() {
        let code = r##"a // b
            /* c /* d */ e */ f "g \" h" r#"i "j" k"# b"l" 'm' '\'' '"' n"##;
        assert_eq!(words(code), ["a", "f", "n"]);
    }

    #[test]
    fn lifetimes_are_no_literals() {
        assert_eq!(words("<'a, 'static> 'b'"), ["<", "'", "a", ",", "'", "static", ">"]);
    }

    #[test]
    fn paths_are_words_and_double_colons() {
        assert_eq!(words("crate::a::{b}"), ["crate", "::", "a", "::", "{", "b", "}"]);
    }

    #[test]
    fn lines_are_counted_through_what_is_passed_over() {
        let lines: Vec<usize> = tokens("a\n\"\n\"\n/*\n*/ b").iter().map(|t| t.line).collect();
        assert_eq!(lines, [1, 5]);
    }
}
