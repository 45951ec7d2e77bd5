//! What the rules need from the syntax tree of a source file: the modules it declares, the paths it
//! names, the types it defines, the items it documents.

use proc_macro2::{Ident, TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// A path as written, like `crate::wire::Target` or `tokio::time::sleep`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UsedPath {
    /// Its names; `super` and `self` are resolved, so that the first is `crate` or a crate's name
    /// (or the name of anything that is in scope).
    pub(crate) names: Vec<String>,
    /// From 1.
    pub(crate) line: usize,
}

/// Modules and paths of one file.
#[derive(Debug, Default)]
pub(crate) struct Outline {
    /// Every path outside test code.
    pub(crate) paths: Vec<UsedPath>,
    /// Modules that are declared here and live in files of their own.
    pub(crate) children: Vec<ChildModule>,
}

/// A declaration `mod name;`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChildModule {
    /// From the crate's root, like `["wire", "target"]`.
    pub(crate) module: Vec<String>,
    /// Whether it, or a module around it, is `#[cfg(test)]`.
    pub(crate) is_test: bool,
}

/// A struct, enum, union, trait or type alias.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TypeDefinition {
    pub(crate) name: String,
    /// From 1.
    pub(crate) line: usize,
}

/// An item, field or variant with a doc comment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DocComment {
    pub(crate) item: String,
    /// Text of the item that a reader sees beside the comment: its type, the type around it.
    pub(crate) context: String,
    pub(crate) text: String,
    /// From 1.
    pub(crate) line: usize,
}

/// Parses a source file.
pub(crate) fn parse(path: &str, code: &str) -> syn::File {
    syn::parse_file(code).unwrap_or_else(|error| panic!("parse {path}: {error}"))
}

/// Modules and paths of a file whose module is `module`, like `["wire", "target"]`; `[]` is the
/// crate's root.
pub(crate) fn outline(file: &syn::File, module: &[String]) -> Outline {
    let mut visitor =
        OutlineVisitor { module: module.to_vec(), in_test: false, outline: Outline::default() };
    visitor.visit_file(file);
    visitor.outline
}

/// Every type that a file defines, those inside functions included. Associated types are part of
/// their trait.
pub(crate) fn types(file: &syn::File) -> Vec<TypeDefinition> {
    let mut visitor = TypeVisitor(Vec::new());
    visitor.visit_file(file);
    visitor.0
}

/// Every doc comment of a file, those of modules left out.
pub(crate) fn doc_comments(file: &syn::File) -> Vec<DocComment> {
    let mut visitor = DocVisitor { owner: String::new(), comments: Vec::new() };
    visitor.visit_file(file);
    visitor.comments
}

struct OutlineVisitor {
    /// The module of the visited code, inline modules included.
    module: Vec<String>,
    in_test: bool,
    outline: Outline,
}

impl OutlineVisitor {
    fn add(&mut self, names: Vec<String>, line: usize) {
        if !self.in_test {
            let names = self.resolve(names);
            self.outline.paths.push(UsedPath { names, line });
        }
    }

    /// `super::super::x` in module `a::b` is `crate::x`.
    fn resolve(&self, names: Vec<String>) -> Vec<String> {
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

    fn use_tree(&mut self, tree: &syn::UseTree, before: &[String]) {
        let with = |ident: &Ident| [before, &[ident.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.use_tree(&path.tree, &with(&path.ident)),
            syn::UseTree::Name(name) => self.add(with(&name.ident), line(name)),
            syn::UseTree::Rename(rename) => self.add(with(&rename.ident), line(rename)),
            syn::UseTree::Glob(glob) => self.add(before.to_vec(), line(glob)),
            syn::UseTree::Group(group) => {
                group.items.iter().for_each(|item| self.use_tree(item, before));
            }
        }
    }

    /// Paths among the tokens of a macro or an attribute, which have no syntax tree.
    fn tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut rest = tokens.as_slice();
        while let [first, after @ ..] = rest {
            rest = after;
            match first {
                TokenTree::Group(group) => self.tokens(group.stream()),
                TokenTree::Ident(ident) => {
                    let mut names = vec![ident.to_string()];
                    while let [
                        TokenTree::Punct(a),
                        TokenTree::Punct(b),
                        TokenTree::Ident(next),
                        after @ ..,
                    ] = rest
                        && (a.as_char(), b.as_char()) == (':', ':')
                    {
                        names.push(next.to_string());
                        rest = after;
                    }
                    if names.len() > 1 {
                        self.add(names, line(ident));
                    }
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
        }
    }
}

impl<'ast> Visit<'ast> for OutlineVisitor {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        let was_in_test = self.in_test;
        self.in_test |= is_test_only(&item.attrs);
        self.module.push(item.ident.to_string());
        if item.content.is_some() {
            visit::visit_item_mod(self, item);
        } else {
            let child = ChildModule { module: self.module.clone(), is_test: self.in_test };
            self.outline.children.push(child);
        }
        self.module.pop();
        self.in_test = was_in_test;
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.use_tree(&item.tree, &[]);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        // One name alone is something in scope.
        if path.segments.len() > 1 {
            let names = path.segments.iter().map(|segment| segment.ident.to_string());
            self.add(names.collect(), line(path));
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        self.visit_path(&item.path);
        self.tokens(item.tokens.clone());
    }

    fn visit_meta_list(&mut self, list: &'ast syn::MetaList) {
        self.visit_path(&list.path);
        self.tokens(list.tokens.clone());
    }
}

struct TypeVisitor(Vec<TypeDefinition>);

impl TypeVisitor {
    fn add(&mut self, ident: &Ident) {
        self.0.push(TypeDefinition { name: ident.to_string(), line: line(ident) });
    }
}

impl<'ast> Visit<'ast> for TypeVisitor {
    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.add(&item.ident);
        visit::visit_item_struct(self, item);
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.add(&item.ident);
        visit::visit_item_enum(self, item);
    }

    fn visit_item_union(&mut self, item: &'ast syn::ItemUnion) {
        self.add(&item.ident);
        visit::visit_item_union(self, item);
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.add(&item.ident);
        visit::visit_item_trait(self, item);
    }

    fn visit_item_type(&mut self, item: &'ast syn::ItemType) {
        self.add(&item.ident);
        visit::visit_item_type(self, item);
    }
}

struct DocVisitor {
    /// The type or trait around the visited item.
    owner: String,
    comments: Vec<DocComment>,
}

impl DocVisitor {
    fn add(&mut self, attributes: &[syn::Attribute], ident: &Ident, r#type: Option<&syn::Type>) {
        let text = doc_text(attributes);
        if !text.is_empty() {
            let names = r#type.map(type_names).unwrap_or_default();
            self.comments.push(DocComment {
                item: ident.to_string(),
                context: format!("{} {names}", self.owner),
                text,
                line: line(ident),
            });
        }
    }

    fn inside(&mut self, owner: String, visit: impl FnOnce(&mut Self)) {
        let outer = std::mem::replace(&mut self.owner, owner);
        visit(self);
        self.owner = outer;
    }
}

impl<'ast> Visit<'ast> for DocVisitor {
    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.add(&item.attrs, &item.ident, None);
        self.inside(item.ident.to_string(), |this| visit::visit_item_struct(this, item));
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.add(&item.attrs, &item.ident, None);
        self.inside(item.ident.to_string(), |this| visit::visit_item_enum(this, item));
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.add(&item.attrs, &item.ident, None);
        self.inside(item.ident.to_string(), |this| visit::visit_item_trait(this, item));
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        let owner = type_names(&item.self_ty);
        self.inside(owner, |this| visit::visit_item_impl(this, item));
    }

    fn visit_item_type(&mut self, item: &'ast syn::ItemType) {
        self.add(&item.attrs, &item.ident, Some(&item.ty));
    }

    fn visit_item_const(&mut self, item: &'ast syn::ItemConst) {
        self.add(&item.attrs, &item.ident, Some(&item.ty));
    }

    fn visit_item_static(&mut self, item: &'ast syn::ItemStatic) {
        self.add(&item.attrs, &item.ident, Some(&item.ty));
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.add(&item.attrs, &item.sig.ident, None);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.add(&item.attrs, &item.sig.ident, None);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        self.add(&item.attrs, &item.sig.ident, None);
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_field(&mut self, field: &'ast syn::Field) {
        if let Some(ident) = &field.ident {
            self.add(&field.attrs, ident, Some(&field.ty));
        }
    }

    fn visit_variant(&mut self, variant: &'ast syn::Variant) {
        self.add(&variant.attrs, &variant.ident, None);
        visit::visit_variant(self, variant);
    }
}

/// The names in a type, separated by spaces.
fn type_names(r#type: &syn::Type) -> String {
    struct Names(Vec<String>);
    impl<'ast> Visit<'ast> for Names {
        fn visit_ident(&mut self, ident: &'ast Ident) {
            self.0.push(ident.to_string());
        }
    }
    let mut names = Names(Vec::new());
    names.visit_type(r#type);
    names.0.join(" ")
}

/// The lines of a doc comment, joined.
fn doc_text(attributes: &[syn::Attribute]) -> String {
    let line = |attribute: &syn::Attribute| match &attribute.meta {
        syn::Meta::NameValue(syn::MetaNameValue {
            path,
            value: syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }),
            ..
        }) if path.is_ident("doc") => Some(text.value()),
        _ => None,
    };
    attributes.iter().filter_map(line).collect::<String>().trim().to_owned()
}

/// Whether the attributes hold `cfg(test)`.
fn is_test_only(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<Ident>().is_ok_and(|condition| condition == "test")
    })
}

fn line(node: &impl Spanned) -> usize {
    node.span().start().line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outline_of(module: &str, code: &str) -> Outline {
        let module: Vec<String> = module.split_terminator("::").map(str::to_owned).collect();
        outline(&parse(module.join("/").as_str(), code), &module)
    }

    fn paths_in(module: &str, code: &str) -> Vec<String> {
        outline_of(module, code).paths.iter().map(|path| path.names.join("::")).collect()
    }

    #[test]
    fn use_trees_are_taken_apart() {
        let code = "use crate::{lsn::Lsn, wire::{self, Target as T, *}}; use tokio::time::sleep;";
        assert_eq!(
            paths_in("http", code),
            [
                "crate::lsn::Lsn",
                "crate::wire::self",
                "crate::wire::Target",
                "crate::wire",
                "tokio::time::sleep"
            ]
        );
    }

    #[test]
    fn paths_in_expressions_types_macros_and_attributes_count() {
        let code = "#[derive(Debug, thiserror::Error)] struct E;
            fn f(x: crate::wire::Target) -> Vec<u8> { tracing::info!(\"crate::no\", crate::lsn::f()); }";
        assert_eq!(
            paths_in("http", code),
            ["thiserror::Error", "crate::wire::Target", "tracing::info", "crate::lsn::f"]
        );
    }

    #[test]
    fn comments_and_literals_are_no_paths() {
        let code = r##"// crate::a::B
            /* crate::c /* crate::d */ crate::e */ const F: &str = "g \" crate::h";
            const I: &str = r#"crate::i "crate::j" crate::k"#; const L: &[u8] = b"crate::l";
            fn m<'a>(n: &'a str) -> char { '\'' }"##;
        assert_eq!(paths_in("http", code), Vec::<String>::new());
    }

    #[test]
    fn lines_count_from_one_through_comments_and_literals() {
        let code = "use a::b;\nconst C: &str = \"\n\";\n/*\n*/ use d::e; m!(\nf::g);";
        let lines: Vec<usize> = outline_of("", code).paths.iter().map(|path| path.line).collect();
        assert_eq!(lines, [1, 5, 6]);
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
        let code = "#[cfg(test)]\n#[allow(x)]\nmod model;\npub(crate) mod target;
            #[cfg(feature = \"test\")] mod inner { mod leaf; }";
        let children = outline_of("wire", code).children;
        let shown: Vec<_> = children.iter().map(|c| (c.module.join("::"), c.is_test)).collect();
        let expected =
            [("wire::model", true), ("wire::target", false), ("wire::inner::leaf", false)];
        assert_eq!(shown, expected.map(|(module, test)| (module.to_owned(), test)));
    }

    #[test]
    fn types_are_found_wherever_they_are_defined() {
        let code = "struct A; trait B { type Not; } impl B for A { type Not = u8; }
            fn f() { enum C {} }\nmod m { type D = u8; union E { a: u8 } }";
        let types = types(&parse("a.rs", code));
        let shown: Vec<_> = types.iter().map(|found| (found.name.as_str(), found.line)).collect();
        assert_eq!(shown, [("A", 1), ("B", 1), ("C", 2), ("D", 3), ("E", 3)]);
    }

    #[test]
    fn doc_comments_come_with_the_names_around_them() {
        let code = "/// An account.\nstruct Account {\n/// Its role.\nrole: Option<Role> }
            impl Account { /** Opens it. */ fn open() {} } /// No item of its own.\nmod m {}";
        let comments = doc_comments(&parse("a.rs", code));
        let shown: Vec<_> = comments
            .iter()
            .map(|doc| (doc.item.as_str(), doc.context.trim(), doc.text.as_str(), doc.line))
            .collect();
        assert_eq!(
            shown,
            [
                ("Account", "", "An account.", 2),
                ("role", "Account Option Role", "Its role.", 4),
                ("open", "Account", "Opens it.", 5),
            ]
        );
    }
}
