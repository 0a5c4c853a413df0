//! Finds the paths in a Rust source, such as `crate::api::Pod`, with the module around each.

use proc_macro2::{Ident, TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, ImplItem, Item, ItemMod, ItemUse, Macro, Meta, MetaList, UseTree, VisRestricted, Visibility};

/// A path in a line of a file.
#[derive(Debug, PartialEq)]
pub struct Mention {
    pub line: usize,
    /// The module around that line.
    pub module: Vec<String>,
    pub path: Vec<String>,
    /// The name that a `use` gives it in that module; `*` for all names below it.
    pub import: Option<Import>,
    /// Whether it is only compiled for tests.
    pub test: bool,
}

/// A name imported by a `use`.
#[derive(Clone, Debug, PartialEq)]
pub struct Import {
    pub name: String,
    /// Whether it is visible to others, as with `pub use` and `pub(crate) use`.
    pub re_export: bool,
}

impl Mention {
    /// Returns the path from the crate's root if it begins with `crate::`, `outrigger::`, `self::` or `super::`.
    pub fn inside(&self) -> Option<Vec<String>> {
        inside(&self.module, &self.path)
    }
}

/// [`Mention::inside`], for a path in a module.
pub fn inside(module: &[String], path: &[String]) -> Option<Vec<String>> {
    let mut base = module.to_vec();
    let mut rest = path;
    match rest.first()?.as_str() {
        "crate" => base.clear(),
        "outrigger" if rest.len() > 1 => base.clear(),
        "self" if rest.len() > 1 => {}
        "super" => {
            base.pop();
            while rest.get(1).is_some_and(|next| next == "super") {
                base.pop();
                rest = &rest[1..];
            }
        }
        _ => return None,
    }
    base.extend_from_slice(&rest[1..]);
    Some(base)
}

/// The content of a source file.
#[derive(Debug, Default)]
pub struct Reading {
    pub mentions: Vec<Mention>,
    /// The modules whose files are only compiled for tests: `#[cfg(test)] mod tests;`.
    pub test_modules: Vec<Vec<String>>,
}

/// Reads `source`, the file of the module `module`.
pub fn read(source: &str, module: &[String]) -> syn::Result<Reading> {
    let file = syn::parse_file(source)?;
    let mut reader = Reader { module: module.to_vec(), test: false, reading: Reading::default() };
    reader.visit_file(&file);
    Ok(reader.reading)
}

struct Reader {
    module: Vec<String>,
    test: bool,
    reading: Reading,
}

impl Reader {
    fn mention(&mut self, first: &Ident, path: Vec<String>, import: Option<Import>) {
        let line = first.span().start().line;
        self.reading.mentions.push(Mention { line, module: self.module.clone(), path, import, test: self.test });
    }

    /// Runs `visit` on the item with these attributes.
    fn below(&mut self, attributes: &[Attribute], visit: impl FnOnce(&mut Self)) {
        let around = self.test;
        self.test |= attributes.iter().any(is_cfg_test);
        visit(self);
        self.test = around;
    }

    /// Expands a `use` tree below the path `prefix`.
    fn use_tree(&mut self, tree: &UseTree, prefix: &[&Ident], re_export: bool) {
        let with = |last| [prefix, &[last]].concat();
        let (path, name) = match tree {
            UseTree::Path(path) => return self.use_tree(&path.tree, &with(&path.ident), re_export),
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.use_tree(tree, prefix, re_export);
                }
                return;
            }
            UseTree::Name(name) if name.ident == "self" => (with(&name.ident), prefix.last().map(ToString::to_string)),
            UseTree::Name(name) => (with(&name.ident), Some(name.ident.to_string())),
            UseTree::Rename(rename) => (with(&rename.ident), Some(rename.rename.to_string())),
            UseTree::Glob(_) => (prefix.to_vec(), Some("*".to_owned())),
        };
        if let (Some(first), Some(name)) = (path.first(), name) {
            self.mention(first, path.iter().map(ToString::to_string).collect(), Some(Import { name, re_export }));
        }
    }

    /// Finds paths in the tokens of a macro or an attribute, which have no grammar.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<Ident> = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.finish(&mut path);
                    }
                    path.push(ident);
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                other => {
                    self.finish(&mut path);
                    colons = 0;
                    if let TokenTree::Group(group) = other {
                        self.tokens(group.stream());
                    }
                }
            }
        }
        self.finish(&mut path);
    }

    fn finish(&mut self, path: &mut Vec<Ident>) {
        let names = path.iter().map(ToString::to_string).collect();
        if let Some(first) = path.first() {
            self.mention(first, names, None);
        }
        path.clear();
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast Item) {
        self.below(attributes(item), |reader| visit::visit_item(reader, item));
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        let attributes: &[_] = match item {
            ImplItem::Const(item) => &item.attrs,
            ImplItem::Fn(item) => &item.attrs,
            ImplItem::Type(item) => &item.attrs,
            ImplItem::Macro(item) => &item.attrs,
            _ => &[],
        };
        self.below(attributes, |reader| visit::visit_impl_item(reader, item));
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        self.module.push(item.ident.to_string());
        if self.test && item.content.is_none() {
            self.reading.test_modules.push(self.module.clone());
        }
        visit::visit_item_mod(self, item);
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.use_tree(&item.tree, &[], !matches!(item.vis, Visibility::Inherited));
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if let Some(first) = path.segments.first() {
            self.mention(&first.ident, path.segments.iter().map(|segment| segment.ident.to_string()).collect(), None);
        }
        visit::visit_path(self, path);
    }

    /// `pub(in crate::injection)` is not a use.
    fn visit_vis_restricted(&mut self, _visibility: &'ast VisRestricted) {}

    fn visit_macro(&mut self, invocation: &'ast Macro) {
        self.visit_path(&invocation.path);
        self.tokens(invocation.tokens.clone());
    }

    fn visit_meta_list(&mut self, list: &'ast MetaList) {
        self.visit_path(&list.path);
        self.tokens(list.tokens.clone());
    }
}

fn is_cfg_test(attribute: &Attribute) -> bool {
    matches!(&attribute.meta, Meta::List(list) if list.path.is_ident("cfg") && list.tokens.to_string() == "test")
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::read;

    /// Expects these paths in `source`, each as `line module: path`.
    #[track_caller]
    fn reads(source: &str, expected: &[&str]) {
        let reading = read(source, &["room".to_owned()]).expect("Rust");
        let found: Vec<_> = reading
            .mentions
            .into_iter()
            .filter(|mention| mention.path.len() > 1)
            .map(|mention| {
                let test = if mention.test { " (test)" } else { "" };
                format!("{} {}: {}{test}", mention.line, mention.module.join("::"), mention.path.join("::"))
            })
            .collect();
        assert_eq!(found, expected, "{source}");
    }

    #[test]
    fn use_trees_are_spelled_out() {
        reads(
            "use ::a::{b::{c, d as e, self}, f::*};\nuse {g::h, i::j};",
            &[
                "1 room: a::b::c",
                "1 room: a::b::d",
                "1 room: a::b::self",
                "1 room: a::f",
                "2 room: g::h",
                "2 room: i::j",
            ],
        );
    }

    #[test]
    fn imports_have_the_name_that_stands_in_the_module() {
        let reading = read("use a::{b::{self, c as d}, e::*}; pub(super) use f::g;", &[]).expect("Rust");
        let imports = reading.mentions.into_iter().filter_map(|mention| mention.import);
        let names: Vec<_> = imports.map(|import| (import.name, import.re_export)).collect();
        let expected = [("b", false), ("d", false), ("*", false), ("g", true)];
        assert_eq!(names, expected.map(|(name, re_export)| (name.to_owned(), re_export)));
    }

    #[test]
    fn paths_belong_to_the_module_around_them() {
        reads(
            "use a::b;\nmod inner {\n    mod tests { fn f() { c::d() } }\n    use e::f;\n}\nuse g::h;",
            &["1 room: a::b", "3 room::inner::tests: c::d", "4 room::inner: e::f", "6 room: g::h"],
        );
    }

    #[test]
    fn what_only_tests_are_compiled_with_is_known() {
        let source = "#[cfg(test)] use a::b;\n#[cfg(test)] mod tests { fn f() { c::d() } }\nuse e::f;\n\
                      impl X { #[cfg(test)] fn g() { g::h() } fn h() { i::j() } }\n#[cfg(test)] mod samples;";
        reads(
            source,
            &[
                "1 room: a::b (test)",
                "2 room::tests: c::d (test)",
                "3 room: e::f",
                "4 room: g::h (test)",
                "4 room: i::j",
            ],
        );
        assert_eq!(read(source, &["room".to_owned()]).expect("Rust").test_modules, [["room", "samples"]]);
    }

    #[test]
    fn generics_casts_and_visibilities_do_not_hide_paths() {
        reads(
            "pub(in a::x) fn f(x: Vec<a::b<c::D>>) -> impl ::e::F { <x as g::H>::i(x as j::K) }",
            &["1 room: a::b", "1 room: c::D", "1 room: e::F", "1 room: g::H::i", "1 room: j::K"],
        );
    }

    #[test]
    fn macros_and_attributes_are_read_too() {
        reads(
            "#[derive(a::B)]\nstruct S;\n#[c::d(e = f::g)]\nfn f() { h!(1, [i::j(k::<l::M>())], n: o) }",
            &["1 room: a::B", "3 room: c::d", "3 room: f::g", "4 room: i::j", "4 room: l::M"],
        );
    }
}
