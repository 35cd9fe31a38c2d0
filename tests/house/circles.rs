//! No circle between files: no file uses, by itself or through others, a file that uses it.
//!
//! An import counts to the file that defines what it names, however many re-exports lie between. A module that declares its children and
//! re-exports their items does not use them; one whose own code names them does. Code for tests is left out.

use std::collections::{BTreeMap, BTreeSet};

use syn::{Item, visit::Visit};

use super::{
    paths::{CodePaths, Import, Use, imports, is_for_tests},
    source::{File, files},
};

/// What one module has, by name.
#[derive(Default)]
struct Module {
    file: usize,
    children: BTreeSet<String>,
    items: BTreeSet<String>,
    uses: Vec<Use>,
}

type ModulePath = Vec<String>;

/// The modules of a crate.
struct Modules {
    files: Vec<File>,
    modules: BTreeMap<ModulePath, Module>,
}

impl Modules {
    fn read(files: Vec<File>) -> Self {
        let mut all = Self { files, modules: BTreeMap::new() };
        let mut for_tests = BTreeSet::new();
        for index in 0..all.files.len() {
            let (path, file) = (all.files[index].module.clone(), all.files[index].parse());
            all.add(index, path, &file.items, &mut for_tests);
        }
        all.modules.retain(|path, _| !(1..=path.len()).any(|depth| for_tests.contains(&path[..depth])));
        all
    }

    fn add(&mut self, file: usize, path: ModulePath, items: &[Item], for_tests: &mut BTreeSet<ModulePath>) {
        let mut module = Module { file, ..Module::default() };
        for item in items {
            match item {
                Item::Use(item) if !is_for_tests(&item.attrs) => module.uses.extend(imports(item)),
                Item::Mod(item) => {
                    let name = item.ident.to_string();
                    let child = path.iter().cloned().chain([name.clone()]).collect::<ModulePath>();
                    module.children.insert(name);
                    if is_for_tests(&item.attrs) {
                        for_tests.insert(child);
                    } else if let Some((_, items)) = &item.content {
                        self.add(file, child, items, for_tests);
                    }
                }
                other => module.items.extend(defined(other)),
            }
        }
        self.modules.insert(path, module);
    }

    /// The file that defines what a path in a module leads to. `None` for a module, and for what another crate defines.
    fn defining_file(&self, from: &[String], path: &[String]) -> Option<usize> {
        self.resolve(from, path, &mut BTreeSet::new())
    }

    fn resolve(
        &self,
        from: &[String],
        path: &[String],
        seen: &mut BTreeSet<(ModulePath, ModulePath)>,
    ) -> Option<usize> {
        // Imports may lead to each other.
        if !seen.insert((from.to_vec(), path.to_vec())) {
            return None;
        }
        let mut module = from.to_vec();
        for (at, segment) in path.iter().enumerate() {
            match segment.as_str() {
                "crate" if at == 0 => module.clear(),
                "self" => {}
                "super" => _ = module.pop(),
                name => {
                    let found = self.modules.get(&module)?;
                    if found.items.contains(name) {
                        return Some(found.file);
                    }
                    if found.children.contains(name) {
                        module.push(name.to_owned());
                        continue;
                    }
                    return self.resolve_import(&module, found, &path[at..], seen);
                }
            }
        }
        None
    }

    /// Follows the import by which a module knows the first segment of the path.
    fn resolve_import(
        &self,
        module: &[String],
        found: &Module,
        path: &[String],
        seen: &mut BTreeSet<(ModulePath, ModulePath)>,
    ) -> Option<usize> {
        let (name, rest) = path.split_first()?;
        found.uses.iter().find_map(|import| {
            let target = match &import.import {
                Import::Name(known_as) if known_as == name => import.path.iter().chain(rest).cloned().collect(),
                Import::Glob if is_ours(found, &import.path) => import.path.iter().chain(path).cloned().collect(),
                Import::Name(_) | Import::Glob => return None,
            };
            let target: ModulePath = target;
            // `use name::name;`, with a crate's name: the name does not lead to the import itself.
            if target.first() == Some(name) { None } else { self.resolve(module, &target, seen) }
        })
    }

    /// By file, the files that it uses, each with one of the paths by which it does.
    fn edges(&self) -> BTreeMap<usize, BTreeMap<usize, String>> {
        let mut edges: BTreeMap<usize, BTreeMap<usize, String>> = BTreeMap::new();
        for (path, module) in &self.modules {
            let imported = module.uses.iter().filter(|import| !import.is_reexport && import.import != Import::Glob);
            for import in imported {
                self.add_edge(&mut edges, path, &import.path);
            }
        }
        for file in &self.files {
            if self.modules.contains_key(&file.module) {
                let found = |path: Vec<String>, inline: &[String]| {
                    let module: ModulePath = file.module.iter().chain(inline).cloned().collect();
                    self.add_edge(&mut edges, &module, &path);
                };
                CodePaths { inline: Vec::new(), without_tests: true, found }.visit_file(&file.parse());
            }
        }
        edges
    }

    fn add_edge(&self, edges: &mut BTreeMap<usize, BTreeMap<usize, String>>, from: &[String], path: &[String]) {
        if let (Some(module), Some(to)) = (self.modules.get(from), self.defining_file(from, path))
            && module.file != to
        {
            edges.entry(module.file).or_default().entry(to).or_insert_with(|| path.join("::"));
        }
    }

    /// The groups of files that use each other in circles, each as the edges inside it.
    fn circles(&self) -> Vec<Circle> {
        let edges = self.edges();
        let reached: BTreeMap<usize, BTreeSet<usize>> =
            edges.keys().map(|file| (*file, reachable(&edges, *file))).collect();
        let is_mutual = |one: usize, other: usize| {
            let reaches = |from: usize, to: usize| reached.get(&from).is_some_and(|files| files.contains(&to));
            reaches(one, other) && reaches(other, one)
        };
        let mut circles: BTreeMap<BTreeSet<usize>, Vec<String>> = BTreeMap::new();
        for (from, used) in &edges {
            for (to, path) in used.iter().filter(|(to, _)| is_mutual(*from, **to)) {
                let group = reached.keys().copied().filter(|file| is_mutual(*from, *file)).collect();
                let edge = format!("{} uses {} ({path})", self.files[*from].name, self.files[*to].name);
                circles.entry(group).or_default().push(edge);
            }
        }
        let name = |file: &usize| self.files[*file].name.clone();
        circles.into_iter().map(|(group, edges)| Circle { files: group.iter().map(name).collect(), edges }).collect()
    }
}

/// The path of a glob import starts in this crate.
fn is_ours(module: &Module, glob: &[String]) -> bool {
    glob.first()
        .is_some_and(|first| ["crate", "self", "super"].contains(&first.as_str()) || module.children.contains(first))
}

#[derive(Debug)]
struct Circle {
    files: Vec<String>,
    edges: Vec<String>,
}

fn reachable(edges: &BTreeMap<usize, BTreeMap<usize, String>>, from: usize) -> BTreeSet<usize> {
    let mut reached = BTreeSet::new();
    let mut next = vec![from];
    while let Some(file) = next.pop() {
        let used = edges.get(&file).into_iter().flat_map(BTreeMap::keys);
        next.extend(used.copied().filter(|used| reached.insert(*used)));
    }
    reached
}

/// The name of an item, as others may import it.
fn defined(item: &Item) -> Option<String> {
    let name = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::TraitAlias(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(name.to_string())
}

#[test]
fn no_files_use_each_other_in_a_circle() {
    let mut open = Vec::new();
    for folder in ["src", "client/src"] {
        let files = files(folder).into_iter().filter(|file| file.module != ["main"]).collect();
        open.extend(Modules::read(files).circles());
    }
    let open: Vec<_> =
        open.iter().map(|circle| format!("{}\n  {}", circle.files.join(", "), circle.edges.join("\n  "))).collect();
    assert!(open.is_empty(), "{} circles between files:\n{}", open.len(), open.join("\n"));
}

/// A crate of files with these contents, by module path.
fn made_of(texts: &[(&str, &str)]) -> Modules {
    let files = texts.iter().map(|(module, text)| File {
        name: (*module).to_owned(),
        module: module.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect(),
        text: (*text).to_owned(),
    });
    Modules::read(files.collect())
}

#[test]
fn a_circle_is_seen_however_it_is_written() {
    for (one, other) in [
        ("use super::b::B; pub struct A;", "use super::a::A; pub struct B;"),
        ("use crate::b::B; pub struct A;", "pub struct B(crate::a::A);"),
        ("use crate::b; pub struct A(b::B);", "pub struct B; fn f() { vec![super::a::A]; }"),
        ("use super::b as other; pub struct A(other::B);", "use super::*; pub struct B(a::A);"),
        ("pub use super::b::B; pub struct A(B);", "pub struct B; impl B { fn f() -> crate::A {} }"),
        ("mod inner { use super::super::b::B; } pub struct A;", "use crate::{a::{A}}; pub struct B;"),
    ] {
        let modules = made_of(&[("", "mod a; mod b; pub use a::A;"), ("a", one), ("b", other)]);
        let circles = modules.circles();
        assert_eq!(circles.len(), 1, "{one} / {other}: {circles:?}");
        assert_eq!(circles[0].files, ["a", "b"], "{one} / {other}");
    }
}

#[test]
fn a_circle_may_lead_through_several_files_and_through_the_parent() {
    let modules = made_of(&[
        ("", "mod a; mod b; mod c;"),
        ("a", "use crate::b::B; pub struct A;"),
        ("b", "use crate::c::C; pub struct B;"),
        ("c", "use crate::a::A; pub struct C;"),
    ]);
    assert_eq!(modules.circles()[0].files, ["a", "b", "c"]);
    let modules =
        made_of(&[("", "mod a; pub struct Root; fn f() { a::g() }"), ("a", "use super::Root; pub fn g() {}")]);
    assert_eq!(modules.circles()[0].files, ["", "a"]);
}

#[test]
fn reexports_modules_tests_and_other_crates_make_no_circle() {
    for (root, child) in [
        ("mod a; pub use a::A; pub struct Root;", "use super::Root; pub struct A;"),
        ("mod a; pub(crate) use a::*; pub struct Root;", "use super::Root; pub struct A;"),
        ("mod a; pub struct Root; #[cfg(test)] mod tests { use super::a::A; }", "use super::Root; pub struct A;"),
        ("mod a; use a::A; pub struct Root(A);", "pub struct A; #[cfg(test)] mod tests { use crate::Root; }"),
        ("#[cfg(test)] mod a; pub struct Root; #[cfg(test)] use a::A;", "use super::Root; pub struct A;"),
        ("mod a; pub struct Root; use other::a::A;", "use super::Root; pub struct A;"),
    ] {
        let circles = made_of(&[("", root), ("a", child)]).circles();
        assert!(circles.is_empty(), "{root} / {child}: {circles:?}");
    }
}
