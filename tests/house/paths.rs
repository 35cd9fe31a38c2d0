//! The paths that a file names: in imports, in code, and in the bodies of macros.

use syn::{UseTree, Visibility, visit::Visit};

/// How the last segment of an import is to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Import {
    /// `use a::b;` or `use a::b as c;`: the name under which the path is known here.
    Name(String),
    /// `use a::*;`.
    Glob,
}

/// One imported path.
#[derive(Debug, Clone)]
pub struct Use {
    pub path: Vec<String>,
    pub import: Import,
    /// `pub use`, of any visibility.
    pub is_reexport: bool,
}

/// The imports that one `use` item stands for.
pub fn imports(item: &syn::ItemUse) -> Vec<Use> {
    let mut imports = Vec::new();
    let is_reexport = !matches!(item.vis, Visibility::Inherited);
    unfold(&mut Vec::new(), &item.tree, &mut |path, import| imports.push(Use { path, import, is_reexport }));
    imports
}

fn unfold(before: &mut Vec<String>, tree: &UseTree, found: &mut impl FnMut(Vec<String>, Import)) {
    let named = |name: &syn::Ident, known_as: &syn::Ident| {
        let mut path = before.clone();
        // `use a::{self}` imports `a`.
        if name != "self" || path.is_empty() {
            path.push(name.to_string());
        }
        let known_as = if known_as == "self" { path.last().cloned().unwrap_or_default() } else { known_as.to_string() };
        (path, Import::Name(known_as))
    };
    match tree {
        UseTree::Path(step) => {
            before.push(step.ident.to_string());
            unfold(before, &step.tree, found);
            before.pop();
        }
        UseTree::Group(group) => group.items.iter().for_each(|tree| unfold(before, tree, found)),
        UseTree::Name(name) => {
            let (path, import) = named(&name.ident, &name.ident);
            found(path, import);
        }
        UseTree::Rename(name) => {
            let (path, import) = named(&name.ident, &name.rename);
            found(path, import);
        }
        UseTree::Glob(_) => found(before.clone(), Import::Glob),
    }
}

/// The segments of a path in code.
pub fn segments(path: &syn::Path) -> Vec<String> {
    path.segments.iter().map(|segment| segment.ident.to_string()).collect()
}

/// The paths in the body of a macro, which is not parsed: every `a::b`, and what `a::{b, c}` stands for.
pub fn in_macro(call: &syn::Macro) -> Vec<Vec<String>> {
    let text = call.tokens.to_string().replace(" :: ", "::").replace(":: {", "::{").replace("$ crate", "crate");
    let mut paths = Vec::new();
    let is_part = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == ':';
    let mut rest = text.as_str();
    while let Some(start) = rest.find(|letter: char| letter.is_alphabetic() || letter == '_') {
        rest = &rest[start..];
        let end = rest.find(|letter| !is_part(letter)).unwrap_or(rest.len());
        let (path, after) = rest.split_at(end);
        let segments: Vec<String> = path.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect();
        if path.ends_with("::")
            && let Some(group) = after.strip_prefix('{')
        {
            let group = &group[..group.find('}').unwrap_or(group.len())];
            let names = group.split(',').filter_map(|name| name.split("::").next()).map(str::trim);
            paths.extend(names.map(|name| segments.iter().cloned().chain([name.to_owned()]).collect()));
        } else {
            paths.push(segments);
        }
        rest = after;
    }
    paths
}

/// Calls `found` with every path of the code that is not an import, together with the depth of inline modules around it.
pub struct CodePaths<F: FnMut(Vec<String>, &[String])> {
    /// The inline modules around the code looked at.
    pub inline: Vec<String>,
    /// Leave out what is compiled for tests only.
    pub without_tests: bool,
    pub found: F,
}

/// The attributes have `#[cfg(test)]`.
pub fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg") && attribute.parse_args::<syn::Path>().is_ok_and(|flag| flag.is_ident("test"))
    })
}

fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Const(item) => &item.attrs,
        syn::Item::Enum(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

impl<'ast, F: FnMut(Vec<String>, &[String])> Visit<'ast> for CodePaths<F> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if !(self.without_tests && is_for_tests(attributes(item))) {
            syn::visit::visit_item(self, item);
        }
    }

    /// An import inside a function.
    fn visit_stmt(&mut self, statement: &'ast syn::Stmt) {
        if let syn::Stmt::Item(syn::Item::Use(item)) = statement {
            imports(item).into_iter().for_each(|import| (self.found)(import.path, &self.inline));
        }
        syn::visit::visit_stmt(self, statement);
    }

    fn visit_impl_item_fn(&mut self, method: &'ast syn::ImplItemFn) {
        if !(self.without_tests && is_for_tests(&method.attrs)) {
            syn::visit::visit_impl_item_fn(self, method);
        }
    }

    fn visit_field(&mut self, field: &'ast syn::Field) {
        if !(self.without_tests && is_for_tests(&field.attrs)) {
            syn::visit::visit_field(self, field);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        (self.found)(segments(path), &self.inline);
        syn::visit::visit_path(self, path);
    }

    fn visit_visibility(&mut self, _: &'ast Visibility) {}

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        (self.found)(segments(&call.path), &self.inline);
        for path in in_macro(call) {
            (self.found)(path, &self.inline);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.inline.push(item.ident.to_string());
        syn::visit::visit_item_mod(self, item);
        self.inline.pop();
    }
}
