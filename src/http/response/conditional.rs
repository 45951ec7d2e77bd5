//! `ETag` and `If-None-Match` (RFC 9110, 8.8.3 and 13.1.2).
//!
//! The tag of a poll's answer is the version of the newest change to the tables asked for. Which
//! answers carry one, and so can be answered by 304, follows from promise P1 (nothing missed):
//!
//! - The URL holds `after`. While the newest change is the same, the same URL lists the same
//!   changes; only `version` may have moved on, and the older one is just as true. So 304 is right
//!   for whoever has this URL's answer.
//! - Simple clients send their last tag along with a *newer* `after`. Whoever was given tag N in an
//!   answer that was complete knows everything up to N, so 304 is right for them, too: nothing
//!   happened since. That is not so after an answer with `more`, or with a reset: these carry no
//!   tag, and are never answered by 304. A first poll (no `after`) is a reset, too.
//! - The tag comes from the same look at the store as the changes: a tag newer than its body would
//!   hide what lies between.
//!
//! The tag of rows by id is a hash of their documents, that of whole tables the version of the newest
//! change to them, of which the rows are a function.
//!
//! Tags are written in the strong form although `version` may differ under one tag: nothing here
//! has ranges, the only thing the strong form is good for, and `If-None-Match` compares weakly.

use axum::http::{HeaderMap, HeaderValue, header};

use twox_hash::XxHash3_128;

use crate::http::access::Principal;
use crate::http::middleware::observe::short_header;
use crate::version::Version;

/// The tag for the version of the newest change. Who may not read everything has tags of their own: a
/// tag that was another's must not say "you have this already".
pub(crate) fn etag(newest: Version, caller: &Principal) -> HeaderValue {
    let tag = match caller.mark() {
        None => short_header(format_args!("\"{newest}\"")),
        Some(mark) => HeaderValue::try_from(format!("\"{newest}-{mark:016x}\"")).ok(),
    };
    tag.unwrap_or(HeaderValue::from_static("\"\""))
}

/// The tag for these documents: it changes with any of them, and with their number.
///
/// A hash that is no secret is enough: a tag is compared only with earlier ones of the same URL.
pub(crate) fn content_etag<'a>(documents: impl IntoIterator<Item = &'a [u8]>) -> HeaderValue {
    let mut hash = XxHash3_128::new();
    for document in documents {
        hash.write(&document.len().to_ne_bytes());
        hash.write(document);
    }
    let hash = hash.finish_128();
    short_header(format_args!("\"{hash:032x}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

/// Whether the client says it already has the representation with this tag.
pub(crate) fn has_match(headers: &HeaderMap, etag: &HeaderValue) -> bool {
    let mut lines = headers.get_all(header::IF_NONE_MATCH).iter();
    lines.any(|line| list_has(line.as_bytes(), etag.as_bytes()))
}

/// Looks for `wanted` (with its quotes) in a list of tags; what can't be read matches nothing.
fn list_has(mut list: &[u8], wanted: &[u8]) -> bool {
    if list.trim_ascii() == b"*" {
        return true;
    }
    loop {
        list = skip_separators(list);
        // Weak comparison: `W/` makes no difference.
        let tag = list.strip_prefix(b"W/").unwrap_or(list);
        let Some(length) = quoted_length(tag) else { return false };
        let (tag, rest) = tag.split_at(length);
        if tag == wanted {
            return true;
        }
        list = rest;
    }
}

fn skip_separators(list: &[u8]) -> &[u8] {
    let start = list.iter().position(|b| !matches!(b, b' ' | b'\t' | b','));
    start.and_then(|start| list.get(start..)).unwrap_or_default()
}

/// The length of the quoted string that `text` begins with, quotes included. A tag may hold
/// commas, and has no escapes.
fn quoted_length(text: &[u8]) -> Option<usize> {
    let inner = text.strip_prefix(b"\"")?;
    inner.iter().position(|&b| b == b'"').map(|end| end + 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lsn::Lsn;
    use crate::version::{Epoch, Position};

    fn tag() -> HeaderValue {
        let version = Version { epoch: Epoch(10), position: Position::after_commit(Lsn(8)) };
        etag(version, &Principal::Unrestricted)
    }

    fn matches(sent: &str) -> bool {
        let sent = HeaderValue::from_str(sent).unwrap();
        has_match(&[(header::IF_NONE_MATCH, sent)].into_iter().collect(), &tag())
    }

    #[test]
    fn a_tag_is_the_quoted_version() {
        assert_eq!(tag(), "\"0000000a-0000000000000008\"");
    }

    #[test]
    fn a_tag_of_content_changes_with_every_document_and_their_borders() {
        let tag = |documents: &[&str]| content_etag(documents.iter().map(|d| d.as_bytes()));
        let all = [
            tag(&[]),
            tag(&[""]),
            tag(&["ab"]),
            tag(&["a", "b"]),
            tag(&["b", "a"]),
            tag(&["", "ab"]),
        ];
        for (place, one) in all.iter().enumerate() {
            assert!(!all[..place].contains(one), "{place}");
        }
        assert_eq!(tag(&["a", "b"]), tag(&["a", "b"]));
    }

    #[test]
    fn lists_and_weak_tags_and_stars_match() {
        let tag = "\"0000000a-0000000000000008\"";
        for sent in [
            tag.to_owned(),
            format!("W/{tag}"),
            format!("\"x\", {tag}"),
            format!("\"a,b\",W/\"y\" ,\t{tag} , \"z\""),
            " * ".to_owned(),
        ] {
            assert!(matches(&sent), "{sent}");
        }
    }

    #[test]
    fn other_tags_and_nonsense_do_not_match() {
        for sent in [
            "",
            ",",
            "W/",
            "\"",
            "\"x\"",
            "0000000a-0000000000000008",
            "\"0000000a-0000000000000008",
            "w/\"0000000a-0000000000000008\"",
            "x, \"0000000a-0000000000000008\"",
            "\"0000000a-00000000000000080\"",
        ] {
            assert!(!matches(sent), "{sent}");
        }
        assert!(!has_match(&HeaderMap::new(), &tag()));
    }

    #[test]
    fn several_header_lines_are_one_list() {
        let mut headers = HeaderMap::new();
        headers.append(header::IF_NONE_MATCH, HeaderValue::from_static("\"x\""));
        headers.append(header::IF_NONE_MATCH, tag());
        assert!(has_match(&headers, &tag()));
    }
}
