//! Documents that repeat the code or other files: both must agree.

use highwater::config::{Config, Sources};

use super::tree::SourceFile;

/// A finding unless the document contains `part`; `what` describes that part.
pub(crate) fn missing(document: &SourceFile, part: &str, what: &str) -> Option<String> {
    let finding = || format!("{}: {what} is out of date; it must be\n\n{part}", document.path);
    (!document.text.contains(part)).then(finding)
}

/// Configurations in the document that the service would not accept. Most show a part of a file: the
/// only setting without a default, the database's address, is added to them.
pub(crate) fn refused_configurations(document: &SourceFile) -> Vec<String> {
    let blocks = document.text.split("```toml\n").skip(1);
    let blocks = blocks.filter_map(|rest| rest.split("```").next());
    let refused = blocks.filter_map(|block| refusal(block).map(|error| (block, error)));
    refused
        .map(|(block, error)| {
            format!("{}: this configuration is not accepted: {error}\n\n{block}", document.path)
        })
        .collect()
}

/// Why the service does not accept this configuration.
fn refusal(block: &str) -> Option<String> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let [file, secret] = ["highwater.toml", "secret"].map(|name| directory.path().join(name));
    std::fs::write(&secret, "secret").expect("a file can be written");
    let mut text = block.replace("/run/secrets/highwater", &secret.display().to_string());
    if !block.contains("[postgres]") {
        text.insert_str(0, "[postgres]\nurl = \"postgres://db.example/app\"\n");
    }
    std::fs::write(&file, text).expect("a file can be written");
    let sources = Sources { file: Some(&file), ..Sources::default() };
    Config::load(&sources).err().map(|errors| errors.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_that_is_not_accepted_is_found() {
        let page = |text: &str| SourceFile { path: "page.md".into(), text: text.into() };
        let wrong = page(
            "```toml\n[postgres]\nulr = \"postgres://db/app\"\n```\n\
             ```toml\n[tables.items]\nrows = \"all\"\n```",
        );
        let found = refused_configurations(&wrong);
        assert!(found[0].contains("postgres.url"), "{found:?}");
        assert!(found[1].contains("tables.items.rows"), "{found:?}");
        let accepted = page(
            "```toml\n[postgres]\nurl = \"postgres://db/app\"\n```\n\
             ```toml\n[tables.items]\nrows = \"lazy\"\n```",
        );
        assert_eq!(refused_configurations(&accepted), Vec::<String>::new());
    }

    #[test]
    fn what_is_out_of_date_is_found() {
        let page = |text: &str| SourceFile { path: "page.md".into(), text: text.into() };
        assert_eq!(missing(&page("a\nb\n"), "a\n", "the letter"), None);
        let found = missing(&page("b"), "a", "the letter").unwrap();
        assert_eq!(found, "page.md: the letter is out of date; it must be\n\na");
    }
}
