//! The console's files, part of the program.

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::http::response::conditional::{content_etag, has_match};

/// The content security policy: the page may load its own files and connect to its own server. No
/// inline code or style, no frames around it, and no text that becomes HTML.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'";

const CROSS_ORIGIN_OPENER_POLICY: HeaderName =
    HeaderName::from_static("cross-origin-opener-policy");
const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName =
    HeaderName::from_static("cross-origin-resource-policy");

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

const PAGE: &str = include_str!("index.html");
/// The tag before which [`crate::http::HttpOptions::console_head`] is inserted.
const HEAD_END: &str = "</head>";

/// The files the page is made of: name below `/console/`, media type, content.
const FILES: [(&str, &str, &str); 11] = [
    ("console.css", CSS, include_str!("console.css")),
    ("dom.js", SCRIPT, include_str!("dom.js")),
    ("format.js", SCRIPT, include_str!("format.js")),
    ("icon.svg", SVG, include_str!("icon.svg")),
    ("live.js", SCRIPT, include_str!("live.js")),
    ("main.js", SCRIPT, include_str!("main.js")),
    ("poll.js", SCRIPT, include_str!("poll.js")),
    ("session.js", SCRIPT, include_str!("session.js")),
    ("status.js", SCRIPT, include_str!("status.js")),
    ("stream.js", SCRIPT, include_str!("stream.js")),
    ("tables.js", SCRIPT, include_str!("tables.js")),
];

/// The console's files with their headers.
pub(crate) struct Console {
    page: ConsoleFile,
    files: Vec<(&'static str, ConsoleFile)>,
}

/// A file with its headers.
pub(super) struct ConsoleFile {
    kind: &'static str,
    bytes: Bytes,
    etag: HeaderValue,
}

impl Console {
    /// The console, with `head` at the end of its page's head.
    pub(crate) fn new(head: &str) -> Self {
        let page = PAGE.replacen(HEAD_END, &format!("{head}{HEAD_END}"), 1);
        let file = |&(name, kind, text): &(_, _, &'static str)| {
            (name, ConsoleFile::new(kind, Bytes::from_static(text.as_bytes())))
        };
        Self { page: ConsoleFile::new(HTML, page.into()), files: FILES.iter().map(file).collect() }
    }

    pub(super) fn page(&self) -> &ConsoleFile {
        &self.page
    }

    /// The file of this name below `/console/`.
    pub(super) fn file(&self, name: &str) -> Option<&ConsoleFile> {
        self.files.iter().find(|(known, _)| *known == name).map(|(_, file)| file)
    }
}

impl ConsoleFile {
    fn new(kind: &'static str, bytes: Bytes) -> Self {
        let etag = content_etag([&*bytes]);
        Self { kind, bytes, etag }
    }

    /// The file, or 304 if the client has it. Another version of the service has other files under the
    /// same names, so clients revalidate them each time.
    pub(super) fn respond(&self, request: &HeaderMap) -> Response {
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static(self.kind)),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
            (header::ETAG, self.etag.clone()),
            (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
            (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
            (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
            (CROSS_ORIGIN_OPENER_POLICY, HeaderValue::from_static("same-origin")),
            (CROSS_ORIGIN_RESOURCE_POLICY, HeaderValue::from_static("same-origin")),
        ];
        if has_match(request, &self.etag) {
            return (StatusCode::NOT_MODIFIED, headers).into_response();
        }
        (headers, self.bytes.clone()).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Paths of the console in a text, as `/console/…` in quotes or as `./…` of a module.
    fn named(text: &str) -> Vec<&str> {
        let quoted = text.split('"').skip(1).step_by(2);
        quoted
            .filter_map(|q| q.strip_prefix("/console/").or_else(|| q.strip_prefix("./")))
            .collect()
    }

    #[test]
    fn the_files_are_exactly_those_that_are_used() {
        let texts = FILES.iter().map(|(_, _, text)| *text).chain([PAGE]);
        let mut used: Vec<&str> = texts.flat_map(named).collect();
        used.sort_unstable();
        used.dedup();
        let mut present: Vec<&str> = FILES.iter().map(|(name, _, _)| *name).collect();
        present.sort_unstable();
        assert_eq!(used, present);
    }

    #[test]
    fn there_are_no_external_links_and_no_inline_code() {
        for (name, _, text) in FILES.iter().chain([&("index.html", HTML, PAGE)]) {
            for line in text.lines() {
                let outside = line.contains("//") && line.contains("http");
                // The name of SVG's namespace is not an address.
                assert!(!outside || line.contains("xmlns="), "{name}: {line}");
                for inline in
                    [" style=", " onclick=", "javascript:", "innerHTML", "@import", "url("]
                {
                    assert!(!line.contains(inline), "{name}: {line}");
                }
            }
        }
        assert!(!PAGE.contains("<style") && PAGE.matches("<script").count() == 1);
    }

    #[test]
    fn the_added_html_is_in_the_head() {
        let page = Console::new("<meta name=x>").page.bytes;
        let page = std::str::from_utf8(&page).unwrap();
        assert!(page.find("<meta name=x></head>").unwrap() < page.find("<body").unwrap());
        assert_eq!(Console::new("").page.bytes, PAGE);
    }
}
