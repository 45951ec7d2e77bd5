//! `ETag` and `If-None-Match` (RFC 9110, 8.8.3 and 13.1.2).
//!
//! The tag of a poll's response is the version of the newest change to the requested tables. Which
//! responses carry one, and so may become a 304, follows from promise P1 (nothing missed):
//!
//! - The URL contains `after`. While the newest change is the same, the same URL lists the same
//!   changes; only `version` may have moved on, and the older one is as true. So 304 is right for every
//!   client that has this URL's response.
//! - Simple clients send their last tag along with a *newer* `after`. A client that received tag N in a
//!   complete response knows everything up to N, so 304 is right for it, too: nothing happened since.
//!   That does not hold after a response with `more` or with a reset: these carry no tag and never become
//!   a 304. The response to a first poll (no `after`) is a reset.
//! - The tag is read from the store together with the changes: a tag newer than its body would hide the
//!   changes in between.
//!
//! The tag of rows by id is a hash of their documents, that of whole tables the version of the newest
//! change to them, of which the rows are a function.
//!
//! Tags have the strong form although `version` may differ under one tag: range requests, the only use of
//! the strong form, are not supported, and `If-None-Match` compares weakly.

use axum::http::{HeaderMap, HeaderValue, header};

use twox_hash::XxHash3_128;

use crate::http::access::Principal;
use crate::http::middleware::observe::short_header;
use crate::version::Version;

/// The tag for the version of the newest change. Callers with restricted grants have tags of their own:
/// a tag of another caller must not turn into a 304.
pub(crate) fn etag(newest: Version, caller: &Principal) -> HeaderValue {
    let tag = match caller.grant_hash() {
        None => short_header(format_args!("\"{newest}\"")),
        Some(hash) => HeaderValue::try_from(format!("\"{newest}-{hash:016x}\"")).ok(),
    };
    tag.unwrap_or(HeaderValue::from_static("\"\""))
}

/// The tag for these documents: it changes with each of them, and with their number.
///
/// A hash without a key is enough: a tag is compared only with earlier tags of the same URL.
pub(crate) fn content_etag<'a>(documents: impl IntoIterator<Item = &'a [u8]>) -> HeaderValue {
    let mut hash = XxHash3_128::new();
    for document in documents {
        hash.write(&document.len().to_ne_bytes());
        hash.write(document);
    }
    let hash = hash.finish_128();
    short_header(format_args!("\"{hash:032x}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

/// Whether `If-None-Match` lists this tag.
pub(crate) fn has_match(headers: &HeaderMap, etag: &HeaderValue) -> bool {
    let mut lines = headers.get_all(header::IF_NONE_MATCH).iter();
    lines.any(|line| list_has(line.as_bytes(), etag.as_bytes()))
}

/// Whether a list contains a tag (with its quotes); a malformed list matches nothing.
fn list_has(mut list: &[u8], searched: &[u8]) -> bool {
    if list.trim_ascii() == b"*" {
        return true;
    }
    loop {
        list = skip_separators(list);
        // Weak comparison: `W/` makes no difference.
        let tag = list.strip_prefix(b"W/").unwrap_or(list);
        let Some(length) = quoted_length(tag) else { return false };
        let (tag, rest) = tag.split_at(length);
        if tag == searched {
            return true;
        }
        list = rest;
    }
}

fn skip_separators(list: &[u8]) -> &[u8] {
    let start = list.iter().position(|b| !matches!(b, b' ' | b'\t' | b','));
    start.and_then(|start| list.get(start..)).unwrap_or_default()
}

/// The length of the quoted string at the beginning of `text`, including the quotes. A tag may contain
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
    fn a_content_tag_changes_with_every_document_and_their_borders() {
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
    fn lists_weak_tags_and_the_asterisk_match() {
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
    fn other_tags_and_malformed_lists_do_not_match() {
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
