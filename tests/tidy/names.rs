//! Names of types and items: one name has one meaning, and a comment says more than a name.

use std::collections::{BTreeMap, BTreeSet};

use super::syntax::{DocComment, TypeDefinition};
use super::words::words;

/// The share of type definitions that may share their name with another one, in percent.
const SHARED_PERCENT_MAX: usize = 4;

/// Names that are the convention inside a module, always used with the module's name.
const CONVENTIONAL: &[&str] = &["Error", "Options", "State", "Metrics"];

/// Words of a doc comment at most for it to be held against the item's name.
const SHORT_DOC_WORDS: usize = 3;

/// Words that say nothing by themselves.
const FILLERS: &[&str] = &["a", "an", "the", "its", "this", "of", "new"];

/// One finding with every shared name where too many type definitions share theirs; `types` are the
/// definitions of each file, by path.
pub(crate) fn shared_type_names(types: &[(String, Vec<TypeDefinition>)]) -> Vec<String> {
    let mut places: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (path, types) in types {
        for found in types.iter().filter(|found| !CONVENTIONAL.contains(&found.name.as_str())) {
            places.entry(&found.name).or_default().push(format!("{path}:{}", found.line));
        }
    }
    let total: usize = places.values().map(Vec::len).sum();
    places.retain(|_, places| places.len() > 1);
    let shared: usize = places.values().map(Vec::len).sum();
    if shared * 100 <= total * SHARED_PERCENT_MAX {
        return Vec::new();
    }
    let list: Vec<String> =
        places.iter().map(|(name, places)| format!("  {name}: {}", places.join(", "))).collect();
    vec![format!(
        "{shared} of {total} type definitions share their name with another one, at most \
         {SHARED_PERCENT_MAX} % may; rename some of these:\n{}",
        list.join("\n")
    )]
}

/// Doc comments of a few words that only repeat the name of their item, its type or its owner.
pub(crate) fn repeating_docs(path: &str, comments: &[DocComment]) -> Vec<String> {
    let repeating = comments.iter().filter(|comment| repeats(comment));
    repeating
        .map(|comment| {
            let DocComment { item, text, line, .. } = comment;
            format!(
                "{path}:{line}: `{text}` only repeats `{item}`: say the unit, bound or reason, or \
                 remove it"
            )
        })
        .collect()
}

fn repeats(comment: &DocComment) -> bool {
    // Text in backticks is the exact spelling in SQL or a protocol.
    if comment.text.contains('`') || comment.text.split_whitespace().count() > SHORT_DOC_WORDS {
        return false;
    }
    let names = format!("{} {}", comment.item, comment.context);
    let known: BTreeSet<String> = words(&names).map(|word| stem(&word.text)).collect();
    words(&comment.text)
        .filter(|word| !FILLERS.contains(&word.text.as_str()))
        .all(|word| known.contains(&stem(&word.text)))
}

/// A noun in the singular, a verb without its `s`.
fn stem(word: &str) -> String {
    word.strip_suffix("ies")
        .map_or_else(|| word.trim_end_matches('s').to_owned(), |y| y.to_owned() + "y")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definitions(names: &[&str]) -> Vec<TypeDefinition> {
        let definition =
            |(name, line): (&&str, usize)| TypeDefinition { name: (*name).to_owned(), line };
        names.iter().zip(1..).map(definition).collect()
    }

    fn unique(count: usize) -> Vec<String> {
        (0..count).map(|number| format!("Unique{number}")).collect()
    }

    #[test]
    fn too_many_shared_names_are_listed_with_their_places() {
        let names = unique(47);
        let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
        names.insert(0, "Place");
        let others = definitions(&["Place", "Options", "Error"]);
        let more = definitions(&["Options", "Error"]);
        let of = |files: Vec<Vec<TypeDefinition>>| -> Vec<(String, Vec<TypeDefinition>)> {
            ["a.rs", "b.rs", "c.rs"].into_iter().map(str::to_owned).zip(files).collect()
        };
        let found = shared_type_names(&of(vec![definitions(&names), others.clone(), more.clone()]));
        assert_eq!(
            found,
            ["2 of 49 type definitions share their name with another one, at most 4 % may; \
                 rename some of these:\n  Place: a.rs:1, b.rs:1"]
        );
        names.push("Another");
        let found = shared_type_names(&of(vec![definitions(&names), others, more]));
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn docs_that_repeat_a_name_are_found() {
        let comment = |item: &str, context: &str, text: &str| DocComment {
            item: item.into(),
            context: context.into(),
            text: text.into(),
            line: 7,
        };
        let found = repeating_docs("a.rs", &[comment("role", "Account Role", "The role.")]);
        assert_eq!(
            found,
            [
                "a.rs:7: `The role.` only repeats `role`: say the unit, bound or reason, or remove it"
            ]
        );
        for (item, context, text) in [
            ("open", "Store", "Opens the store."),
            ("TableOid", "", "A table oid."),
            ("entries", "Log Vec Entry", "An entry."),
        ] {
            assert!(repeats(&comment(item, context, text)), "{text}");
        }
        for (item, context, text) in [
            ("line", "Token usize", "From 1."),
            ("kill", "Child", "SIGKILL."),
            ("Cascade", "Option", "`CASCADE`."),
            ("length", "usize", "In bytes."),
            ("open", "Store", "Opens the store and replays its log."),
        ] {
            assert!(!repeats(&comment(item, context, text)), "{text}");
        }
    }
}
