//! The house: its arrows run one way, and no room is too large to read.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use syn::{Item, UseTree, visit::Visit};

/// The rooms by storey: a room may use any room of a later storey, and none of its own.
const STOREYS: [&[&str]; 8] = [
    &["main"],
    &["cli"],
    &["server"],
    &["rpc", "web", "net"],
    &["auth", "limit"],
    &["hub", "users"],
    &["engine", "batch", "journal", "caller"],
    &["proto"],
];

/// Rooms that anyone may use. They use nothing, but for these.
const LEAVES: [&str; 3] = ["config", "metrics", "telemetry"];
const BETWEEN_LEAVES: [(&str, &str); 1] = [("telemetry", "config")];

fn storey(room: &str) -> Option<usize> {
    STOREYS.iter().position(|rooms| rooms.contains(&room))
}

fn allowed(from: &str, to: &str) -> bool {
    if from == to || BETWEEN_LEAVES.contains(&(from, to)) {
        return true;
    }
    match (storey(from), storey(to)) {
        (Some(from), Some(to)) => from < to,
        (Some(_), None) => LEAVES.contains(&to),
        (None, _) => false,
    }
}

/// Collects the rooms that a file names by `crate::`, or by climbing out of its own room with `super`.
struct Arrows {
    /// Modules between the crate's root and the code looked at.
    depth: usize,
    rooms: BTreeSet<String>,
}

impl Arrows {
    fn follow(&mut self, mut path: impl Iterator<Item = String>) {
        let mut above_root = match path.next().as_deref() {
            Some("crate" | "rialto") => 0,
            Some("super") => self.depth - 1,
            _ => return,
        };
        for segment in path {
            match segment.as_str() {
                "super" => above_root -= 1,
                room => {
                    if above_root == 0 {
                        self.rooms.insert(room.to_owned());
                    }
                    return;
                }
            }
        }
    }

    fn follow_tree(&mut self, before: &[String], tree: &UseTree) {
        let mut path = before.to_vec();
        match tree {
            UseTree::Path(step) => {
                path.push(step.ident.to_string());
                self.follow_tree(&path, &step.tree);
            }
            UseTree::Group(group) => group.items.iter().for_each(|item| self.follow_tree(before, item)),
            UseTree::Name(name) => {
                path.push(name.ident.to_string());
                self.follow(path.into_iter());
            }
            UseTree::Rename(name) => {
                path.push(name.ident.to_string());
                self.follow(path.into_iter());
            }
            UseTree::Glob(_) => self.follow(path.into_iter()),
        }
    }
}

impl<'ast> Visit<'ast> for Arrows {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.follow_tree(&[], &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.follow(path.segments.iter().map(|segment| segment.ident.to_string()));
        syn::visit::visit_path(self, path);
    }

    /// The body of a macro is not parsed: every `crate :: room` in it counts.
    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        let text = call.tokens.to_string().replace(' ', "");
        for after in text.split("crate::").skip(1) {
            let room: String = after.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect();
            self.rooms.insert(room);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.depth += 1;
        syn::visit::visit_item_mod(self, item);
        self.depth -= 1;
    }
}

fn source_files() -> Vec<PathBuf> {
    fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.extension() {
                _ if path.is_dir() => walk(&path, files),
                Some(extension) if extension == "rs" => files.push(path),
                _ => {}
            }
        }
    }
    let mut files = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    files.sort();
    files
}

/// The modules of a file, the outermost, which is its room, first.
fn modules(file: &Path) -> Vec<String> {
    let relative = file.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap().with_extension("");
    relative.iter().map(|part| part.to_str().unwrap().to_owned()).collect()
}

fn arrows(depth: usize, source: &str) -> BTreeSet<String> {
    let mut arrows = Arrows { depth, rooms: BTreeSet::new() };
    arrows.visit_file(&syn::parse_file(source).unwrap());
    arrows.rooms
}

#[test]
fn the_arrows_run_one_way() {
    let mut wrong = Vec::new();
    for file in source_files() {
        let modules = modules(&file);
        let room = &modules[0];
        for used in arrows(modules.len(), &fs::read_to_string(&file).unwrap()) {
            if !allowed(room, &used) {
                wrong.push(format!("{}: {room} uses {used}", file.display()));
            }
        }
    }
    assert_eq!(wrong, [] as [String; 0]);
}

#[test]
fn every_room_has_its_place_and_the_map_names_them_all() {
    let rooms: BTreeSet<_> = source_files().iter().map(|file| modules(file)[0].clone()).collect();
    let map = syn::parse_file(&fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap());
    let named = map.unwrap().items.into_iter().filter_map(|item| match item {
        Item::Mod(room) => Some(room.ident.to_string()),
        _ => None,
    });
    let named: BTreeSet<_> = named.chain(["main".into(), "lib".into()]).collect();
    assert_eq!(rooms, named);
    let homeless: Vec<_> = rooms
        .iter()
        .filter(|room| storey(room).is_none() && !LEAVES.contains(&room.as_str()) && *room != "lib")
        .collect();
    assert_eq!(homeless, [] as [&String; 0]);
}

#[test]
fn an_arrow_is_seen_however_it_is_written() {
    for source in [
        "use crate::net;",
        "use crate::{engine::Draft, net::{self, Settings}};",
        "use crate::net as other;",
        "fn f() { crate::net::serve() }",
        "struct S(Vec<crate::net::Settings>);",
        "use super::super::net;",
        "fn f() { stream! { yield crate::net::serve() } }",
        "mod tests { use super::super::super::net::Settings; }",
    ] {
        assert!(arrows(2, source).contains("net"), "{source}");
    }
    assert!(!arrows(2, "use super::net;").contains("net"), "a room within the room");
    assert!(
        !allowed("hub", "rpc") && !allowed("hub", "users") && !allowed("config", "engine") && allowed("rpc", "proto")
    );
}

/// Files that may be longer, each with its reason in ARCHITECTURE.md.
const LONG: [&str; 0] = [];

#[test]
fn files_stay_readable_whole() {
    let long: Vec<_> = source_files()
        .into_iter()
        .filter(|file| fs::read_to_string(file).unwrap().lines().count() > 400)
        .filter(|file| !LONG.iter().any(|allowed| file.ends_with(allowed)))
        .collect();
    assert_eq!(long, [] as [PathBuf; 0]);
}
