//! Text that no file of the repository may contain.

use super::tree::SourceFile;

/// Forbidden text, and what to do instead. In pieces, so that this file itself passes.
const FORBIDDEN: &[(&str, &str)] = &[
    (concat!("to", "do!"), "write it, or leave it out and say so in the README"),
    (concat!("unimpl", "emented!"), "write it, or leave it out and say so in the README"),
    (concat!("TO", "DO"), "do it, or leave it out and say so in the README"),
    (concat!("FIX", "ME"), "fix it"),
    (concat!("<!-- fi", "ll"), "put the real output or figure here"),
    (concat!("/wo", "rk/"), "the repository knows no machine's paths"),
    (concat!("/tm", "p/pg"), "the repository knows no machine's paths"),
    (concat!("/tm", "p/plan"), "the repository knows no machine's paths"),
    (concat!("sub", "agent"), "write about the program, not about how it was written"),
    (concat!("issue", " #"), "describe the problem; numbers of a tracker grow stale"),
    (concat!("Issue", " #"), "describe the problem; numbers of a tracker grow stale"),
];

/// The attribute that switches a test off, and the accepted reasons.
const IGNORE: &str = concat!("#[ign", "ore");
const IGNORE_REASONS: &[&str] = &[" = \"started by ", " = \"downloads from ", " = \"installs "];

/// Hosts that may be linked to. Hosts without a dot and reserved names are always allowed.
const HOSTS: &[&str] = &[
    "debezium.io",
    "docs.djangoproject.com",
    "docs.rs",
    "github.com",
    "html.spec.whatwg.org",
    "json-schema.org",
    "keepachangelog.com",
    "opensource.org",
    "prometheus.io",
    "readyset.io",
    "redis.io",
    "rust-lang.github.io",
    "semver.org",
    "spec.openapis.org",
    "www.apache.org",
    "www.postgresql.org",
    "www.rfc-editor.org",
    // The namespace of SVG.
    "www.w3.org",
];

/// Reserved names (RFC 2606), for examples.
const RESERVED: &[&str] = &[".example", ".invalid", ".test", "example.com", "example.org"];

/// Every line with forbidden text.
pub(crate) fn forbidden(files: &[SourceFile]) -> Vec<String> {
    each_line(files, |line| {
        let word = FORBIDDEN.iter().find(|(word, _)| line.contains(word));
        if let Some((word, instead)) = word {
            return Some(format!("`{word}`: {instead}"));
        }
        let (_, reason) = line.split_once(IGNORE)?;
        let allowed = IGNORE_REASONS.iter().any(|allowed| reason.starts_with(allowed));
        (!allowed).then(|| {
            "a test that is switched off shows nothing: fix or remove it, unless another test \
             starts it or it changes more than this directory"
                .to_owned()
        })
    })
}

/// Every link to a host outside [`HOSTS`].
pub(crate) fn unknown_hosts(files: &[SourceFile]) -> Vec<String> {
    each_line(files, |line| {
        let host = hosts(line).into_iter().find(|host| !is_allowed(host))?;
        Some(format!("links to {host}; if readers need that page, add its host to HOSTS"))
    })
}

fn each_line(files: &[SourceFile], check: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut found = Vec::new();
    for file in files {
        for (at, line) in file.text.lines().enumerate() {
            if let Some(finding) = check(line) {
                found.push(format!("{}:{}: {finding}", file.path, at + 1));
            }
        }
    }
    found
}

/// The hosts of the `http` and `https` URLs in a line.
fn hosts(line: &str) -> Vec<&str> {
    let schemes = ["http://", "https://"];
    let after = schemes
        .iter()
        .flat_map(|scheme| line.match_indices(scheme).map(|(at, _)| at + scheme.len()));
    let host = |at: usize| {
        let rest = &line[at..];
        let rest = rest.split_once('@').map_or(rest, |(user, rest)| {
            if user.contains(['/', ' ', '"']) { &line[at..] } else { rest }
        });
        let part_of_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
        &rest[..rest.find(|c| !part_of_host(c)).unwrap_or(rest.len())]
    };
    after.map(host).collect()
}

fn is_allowed(host: &str) -> bool {
    let host = host.trim_end_matches('.');
    !host.contains('.')
        || host.starts_with(|c: char| c.is_ascii_digit())
        || HOSTS.contains(&host)
        || RESERVED.iter().any(|name| host.ends_with(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> [SourceFile; 1] {
        [SourceFile { path: "README.md".into(), text: text.into() }]
    }

    #[test]
    fn forbidden_words_are_found_with_their_line() {
        for (word, _) in FORBIDDEN {
            let found = forbidden(&file(&format!("fine\nnot {word} fine\n")));
            assert_eq!(found.len(), 1, "{word}");
            assert!(found[0].starts_with("README.md:2: "), "{found:?}");
        }
        assert_eq!(forbidden(&file("a mastodon worked")), Vec::<String>::new());
    }

    #[test]
    fn tests_are_not_switched_off_without_a_reason() {
        assert_eq!(forbidden(&file(&format!("{IGNORE}]"))).len(), 1);
        assert_eq!(forbidden(&file(&format!("{IGNORE} = \"flaky\"]"))).len(), 1);
        assert_eq!(
            forbidden(&file(&format!("{IGNORE} = \"started by the test below\"]"))).len(),
            0
        );
    }

    #[test]
    fn links_lead_to_known_hosts() {
        let unknown = concat!("see https:/", "/registry.internal.corp/index and http://x");
        assert_eq!(
            unknown_hosts(&file(unknown)),
            [
                "README.md:1: links to registry.internal.corp; if readers need that page, add its host to HOSTS"
            ]
        );
        let known = "http://127.0.0.1:8080/ http://{address}/ https://app.example, \
             https://www.postgresql.org/docs/ https://me@db.example/";
        assert_eq!(unknown_hosts(&file(known)), Vec::<String>::new());
    }
}
