//! The paths a source file names, and where they lead: to a module of ours or to a crate.

use super::code::{CodeToken, tokens};

/// A path as written, like `crate::wire::Target` or `tokio::time::sleep`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Path {
    /// Its names; `super` and `self` are resolved, so that the first is `crate` or a crate's name
    /// (or the name of anything that is in scope).
    pub(crate) names: Vec<String>,
    /// From 1.
    pub(crate) line: usize,
}

/// What a file says about modules.
#[derive(Debug, Default)]
pub(crate) struct Outline {
    /// Every path outside test code.
    pub(crate) paths: Vec<Path>,
    /// Modules that are declared here and live in files of their own.
    pub(crate) children: Vec<Child>,
}

/// A declaration `mod name;`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Child {
    pub(crate) name: String,
    /// Whether `#[cfg(test)]` stands before it.
    pub(crate) test: bool,
}

/// Reads a file whose module is `module`, like `["wire", "target"]`; `[]` is the crate's root.
pub(crate) fn outline(code: &str, module: &[String]) -> Outline {
    let mut reader = PathReader {
        tokens: tokens(code),
        at: 0,
        module: module.to_vec(),
        blocks: Vec::new(),
        outline: Outline::default(),
    };
    while reader.at < reader.tokens.len() {
        reader.step();
    }
    reader.outline
}

/// A `{` that is open.
#[derive(Clone, Copy, PartialEq, Eq)]
enum UseBlock {
    Plain,
    Module { test: bool },
}

struct PathReader<'a> {
    tokens: Vec<CodeToken<'a>>,
    at: usize,
    /// Where we are, inline modules included.
    module: Vec<String>,
    blocks: Vec<UseBlock>,
    outline: Outline,
}

impl<'a> PathReader<'a> {
    fn text(&self, at: usize) -> &'a str {
        self.tokens.get(at).map_or("", |token| token.text)
    }

    fn step(&mut self) {
        match self.text(self.at) {
            "{" => self.blocks.push(UseBlock::Plain),
            "}" => {
                if let Some(UseBlock::Module { .. }) = self.blocks.pop() {
                    self.module.pop();
                }
            }
            "mod" if self.tokens.get(self.at + 1).is_some_and(CodeToken::is_word) => {
                return self.declaration();
            }
            _ if self.begins_path() => return self.path(),
            _ => {}
        }
        self.at += 1;
    }

    /// `mod name;` or `mod name {`.
    fn declaration(&mut self) {
        let name = self.text(self.at + 1).to_owned();
        let test = self.is_test_only();
        match self.text(self.at + 2) {
            ";" => self.outline.children.push(Child { name, test }),
            "{" => {
                self.module.push(name);
                self.blocks.push(UseBlock::Module { test });
            }
            _ => {}
        }
        self.at += 3;
    }

    /// Whether the attributes before this item hold `cfg(test)`.
    fn is_test_only(&self) -> bool {
        let before = self.tokens.get(..self.at).unwrap_or_default();
        let item = before.iter().rposition(|token| matches!(token.text, ";" | "{" | "}"));
        let attributes = &before[item.map_or(0, |item| item + 1)..];
        attributes.windows(3).any(|w| w.iter().map(|t| t.text).eq(["cfg", "(", "test"]))
    }

    fn in_test(&self) -> bool {
        self.blocks.contains(&UseBlock::Module { test: true })
    }

    fn begins_path(&self) -> bool {
        self.tokens[self.at].is_word()
            && self.text(self.at + 1) == "::"
            && (self.at == 0 || self.text(self.at - 1) != "::")
    }

    fn path(&mut self) {
        let line = self.tokens[self.at].line;
        let mut found = Vec::new();
        self.tree(&[], &mut found);
        if self.in_test() {
            return;
        }
        for names in found {
            let names = self.resolved(names);
            self.outline.paths.push(Path { names, line });
        }
    }

    /// One path, or what a group `{a, b::c}` makes of it.
    fn tree(&mut self, before: &[String], found: &mut Vec<Vec<String>>) {
        let mut names = before.to_vec();
        loop {
            match self.text(self.at) {
                "{" => return self.group(&names, found),
                _ if self.tokens.get(self.at).is_some_and(CodeToken::is_word) => {
                    names.push(self.text(self.at).to_owned());
                    self.at += 1;
                }
                // `*`, or the `<` of type arguments: the path is known well enough.
                _ => break,
            }
            if self.text(self.at) != "::" {
                break;
            }
            self.at += 1;
        }
        found.push(names);
    }

    fn group(&mut self, before: &[String], found: &mut Vec<Vec<String>>) {
        self.at += 1;
        while !matches!(self.text(self.at), "}" | "") {
            if self.tokens[self.at].is_word() || self.text(self.at) == "{" {
                self.tree(before, found);
            }
            // `as name`, `*` and the comma
            while !matches!(self.text(self.at), "," | "}" | "") {
                self.at += 1;
            }
            if self.text(self.at) == "," {
                self.at += 1;
            }
        }
        self.at += 1;
    }

    /// `super::super::x` in module `a::b` is `crate::x`.
    fn resolved(&self, names: Vec<String>) -> Vec<String> {
        let supers = names.iter().take_while(|name| *name == "super").count();
        let own = names.first().is_some_and(|name| name == "self");
        if supers == 0 && !own {
            return names;
        }
        let kept = self.module.len().saturating_sub(supers);
        let inside = self.module.iter().take(kept).cloned();
        let rest = names.into_iter().skip(supers.max(usize::from(own)));
        std::iter::once("crate".to_owned()).chain(inside).chain(rest).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths_in(module: &str, code: &str) -> Vec<String> {
        let module: Vec<String> = module.split_terminator("::").map(str::to_owned).collect();
        outline(code, &module).paths.iter().map(|path| path.names.join("::")).collect()
    }

    #[test]
    fn use_trees_are_taken_apart() {
        let code = "use crate::{lsn::Lsn, wire::{self, Target as T, *}}; use tokio::time::sleep;";
        assert_eq!(
            paths_in("http", code),
            ["crate::lsn::Lsn", "crate::wire::self", "crate::wire::Target", "tokio::time::sleep"]
        );
    }

    #[test]
    fn paths_in_expressions_and_types_count() {
        let code = "fn f(x: crate::wire::Target) -> Vec<u8> { tracing::info!(\"crate::no\"); }";
        assert_eq!(paths_in("http", code), ["crate::wire::Target", "tracing::info"]);
    }

    #[test]
    fn super_is_resolved_also_in_inline_modules() {
        assert_eq!(
            paths_in("wire::target", "use super::super::store::Store;"),
            ["crate::store::Store"]
        );
        assert_eq!(paths_in("lsn", "mod inner { use super::super::wire; }"), ["crate::wire"]);
        assert_eq!(paths_in("lsn", "mod inner { use super::Lsn; }"), ["crate::lsn::Lsn"]);
        assert_eq!(paths_in("lsn", "mod inner {} use super::wire;"), ["crate::wire"]);
    }

    #[test]
    fn test_code_may_use_what_it_likes() {
        let code = "#[cfg(test)]\nmod tests { use crate::store::Store; }\nuse crate::lsn::Lsn;";
        assert_eq!(paths_in("wire", code), ["crate::lsn::Lsn"]);
    }

    #[test]
    fn modules_in_files_are_found() {
        let code = "#[cfg(test)]\n#[allow(x)]\nmod model;\npub(crate) mod target;";
        let children = outline(code, &["wire".to_owned()]).children;
        let shown: Vec<_> = children.iter().map(|c| (c.name.as_str(), c.test)).collect();
        assert_eq!(shown, [("model", true), ("target", false)]);
    }
}
