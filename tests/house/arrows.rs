//! Imports between rooms, the modules at the root of the crate, run one way.

use std::collections::BTreeSet;

use syn::{Item, visit::Visit};

use super::{
    paths::{CodePaths, imports},
    source::{File, files},
};

/// The rooms by storey. A room may use the rooms of later storeys, and none of its own storey.
const STOREYS: [&[&str]; 9] = [
    &["main"],
    &["cli"],
    &["server"],
    &["rpc", "web", "admin", "net"],
    &["auth", "limit"],
    &["rooms"],
    &["hub", "users"],
    &["engine", "batch", "changes", "lifecycle", "caller"],
    &["types", "proto"],
];

/// Rooms that every room may use. They use no room, except for [`BETWEEN_LEAVES`].
const LEAVES: [&str; 3] = ["config", "metrics", "telemetry"];
const BETWEEN_LEAVES: [(&str, &str); 2] = [("config", "types"), ("telemetry", "config")];

fn storey(room: &str) -> Option<usize> {
    STOREYS.iter().position(|rooms| rooms.contains(&room))
}

fn is_allowed(from: &str, to: &str) -> bool {
    if from == to || BETWEEN_LEAVES.contains(&(from, to)) {
        return true;
    }
    match (storey(from), storey(to)) {
        (Some(from), Some(to)) => from < to,
        (Some(_), None) => LEAVES.contains(&to),
        (None, _) => false,
    }
}

/// Stands for all rooms: a path that imports the crate itself hides which rooms are used through it.
const ALL_ROOMS: &str = "*";

/// The rooms that a file uses, whose module lies `depth` below the crate's root.
fn rooms_used(depth: usize, text: &str) -> BTreeSet<String> {
    let mut rooms = BTreeSet::new();
    let mut uses = Uses { depth, rooms: &mut rooms };
    uses.visit_file(&syn::parse_file(text).unwrap());
    let found = |path: Vec<String>, inline: &[String]| rooms.extend(room_of(&path, depth + inline.len()));
    CodePaths { inline: Vec::new(), without_tests: false, found }.visit_file(&syn::parse_file(text).unwrap());
    rooms
}

/// The room that a path leads to, if it starts at the crate's root or climbs up to it.
fn room_of(path: &[String], depth: usize) -> Option<String> {
    let (first, rest) = path.split_first()?;
    let mut above_root = match first.as_str() {
        "crate" | "rialto" => 0,
        "self" => depth,
        "super" => depth - 1,
        _ => return None,
    };
    for segment in rest {
        match segment.as_str() {
            "super" => above_root -= 1,
            room => return (above_root == 0).then(|| room.to_owned()),
        }
    }
    None
}

/// Collects the rooms of the imports.
struct Uses<'a> {
    depth: usize,
    rooms: &'a mut BTreeSet<String>,
}

impl<'ast> Visit<'ast> for Uses<'_> {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        for import in imports(item) {
            let climbs = import.path.iter().all(|segment| segment == "super") && import.path.len() == self.depth;
            let is_root = climbs || import.path == ["crate"] || import.path == ["rialto"];
            self.rooms.extend(if is_root { Some(ALL_ROOMS.to_owned()) } else { room_of(&import.path, self.depth) });
        }
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.depth += 1;
        syn::visit::visit_item_mod(self, item);
        self.depth -= 1;
    }
}

fn room(file: &File) -> &str {
    file.module.first().map_or("lib", String::as_str)
}

#[test]
fn rooms_use_only_rooms_of_later_storeys() {
    let mut wrong = Vec::new();
    for file in files("src").iter().filter(|file| !file.module.is_empty()) {
        let used = rooms_used(file.module.len(), &file.text).into_iter();
        let used = used.filter(|used| !is_allowed(room(file), used));
        wrong.extend(used.map(|used| format!("{}: {} uses {used}", file.name, room(file))));
    }
    assert!(wrong.is_empty(), "imports against the arrows:\n{}", wrong.join("\n"));
}

#[test]
fn every_room_has_its_storey_and_is_declared_in_the_map() {
    let all = files("src");
    let rooms: BTreeSet<&str> = all.iter().map(room).collect();
    let map = all.iter().find(|file| file.module.is_empty()).unwrap().parse();
    let declared = map.items.iter().filter_map(|item| match item {
        Item::Mod(room) => Some(room.ident.to_string()),
        _ => None,
    });
    let declared: BTreeSet<String> = declared.chain(["main".into(), "lib".into()]).collect();
    assert!(rooms.iter().copied().eq(declared.iter().map(String::as_str)), "files: {rooms:?}, in lib.rs: {declared:?}");
    let without: Vec<_> = rooms.into_iter().filter(|room| storey(room).is_none() && !LEAVES.contains(room)).collect();
    assert_eq!(without, ["lib"], "rooms without a storey");
}

#[test]
fn an_arrow_is_seen_however_it_is_written() {
    for source in [
        "use crate::net;",
        "use crate::net as other;",
        "use crate::net::*;",
        "use crate::net::{self};",
        "use crate::{engine::Draft, net::{self, Settings}};",
        "use {crate::net};",
        "use rialto::net;",
        "pub use crate::net::Settings;",
        "pub(crate) use crate::net::Settings;",
        "use super::super::net;",
        "use self::super::super::net;",
        "fn f() { crate::net::serve() }",
        "fn f() { super::super::net::serve() }",
        "fn f() { use crate::net; }",
        "fn f(s: &dyn crate::net::Service) {}",
        "fn f() -> impl crate::net::Service {}",
        "fn f() { let _ = <crate::net::Settings as Default>::default(); }",
        "fn f() { match x { crate::net::Error::Closed => {} } }",
        "fn f<T>() where T: crate::net::Service {}",
        "impl crate::net::Service for S {}",
        "struct S(Vec<crate::net::Settings>);",
        "const X: usize = crate::net::LIMIT;",
        "type X = crate::net::Settings;",
        "crate::net::table!();",
        "fn f() { stream! { yield crate::net::serve() } }",
        "fn f() { stream! { yield super::super::net::serve() } }",
        "fn f() { stream! { use crate::{hub, net}; } }",
        "macro_rules! m { () => { $crate::net::serve() } }",
        "mod tests { use super::super::super::net::Settings; }",
        "mod tests { fn f() { super::super::super::net::serve() } }",
    ] {
        assert!(rooms_used(2, source).contains("net"), "{source}");
    }
    for source in ["use crate::*;", "use crate as root;", "use super::super::*;"] {
        assert!(rooms_used(2, source).contains(ALL_ROOMS), "{source}");
    }
    for source in ["use super::net;", "fn f() { super::net::serve() }", "use other::net;", "// use crate::net;"] {
        assert!(!rooms_used(2, source).contains("net"), "{source}");
    }
}

#[test]
fn the_storeys_decide_what_is_allowed() {
    for (from, to) in
        [("rpc", "proto"), ("rooms", "hub"), ("hub", "lifecycle"), ("config", "types"), ("net", "metrics")]
    {
        assert!(is_allowed(from, to), "{from} > {to}");
    }
    for (from, to) in
        [("hub", "rpc"), ("hub", "users"), ("rpc", "net"), ("config", "engine"), ("types", "proto"), ("hub", ALL_ROOMS)]
    {
        assert!(!is_allowed(from, to), "{from} > {to}");
    }
}
