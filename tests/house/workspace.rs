//! The crates of the workspace use each other only as planned.

use std::{collections::BTreeSet, fs};

use toml::{Table, Value};

use super::source::{files, root};

/// The crates: their folder, their name, and the crates of the workspace that they may use.
const CRATES: [(&str, &str, &[&str]); 4] = [
    (".", "rialto", &["rialto-client", "rialto-proto"]),
    ("client", "rialto-client", &["rialto-proto"]),
    ("load-tests/fanout", "rialto-load", &["rialto-proto"]),
    ("proto", "rialto-proto", &[]),
];

fn manifest(folder: &str) -> Table {
    fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap().parse().unwrap()
}

/// The packages that a manifest depends on, of every kind and for every platform.
fn dependencies(manifest: &Table) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (key, value) in manifest {
        let Value::Table(table) = value else { continue };
        if ["dependencies", "dev-dependencies", "build-dependencies"].contains(&key.as_str()) {
            let package = |(name, value): (&String, &Value)| {
                value.get("package").and_then(Value::as_str).unwrap_or(name).to_owned()
            };
            found.extend(table.iter().map(package));
        } else if key == "target" {
            found.extend(table.values().filter_map(Value::as_table).flat_map(dependencies));
        }
    }
    found
}

#[test]
fn crates_depend_only_on_the_crates_that_they_may_use() {
    let members = manifest(".")["workspace"]["members"].as_array().unwrap().clone();
    let planned = CRATES.iter().map(|(folder, ..)| *folder).filter(|folder| *folder != ".");
    assert!(members.iter().filter_map(Value::as_str).eq(planned), "a member of the workspace has no row here");
    for (folder, name, may_use) in CRATES {
        let manifest = manifest(folder);
        assert_eq!(manifest["package"]["name"].as_str(), Some(name));
        let ours = dependencies(&manifest).into_iter().filter(|used| CRATES.iter().any(|(_, ours, _)| ours == used));
        let wrong: Vec<_> = ours.filter(|used| !may_use.contains(&used.as_str())).collect();
        assert!(wrong.is_empty(), "{name} depends on {wrong:?}");
    }
}

#[test]
fn dependencies_are_found_in_every_table() {
    let manifest = r#"
        [dependencies]
        one = "1"
        two = { package = "rialto", path = ".." }
        [dev-dependencies]
        three = "1"
        [target.'cfg(unix)'.build-dependencies]
        four = "1"
    "#;
    let found = dependencies(&manifest.parse().unwrap());
    assert!(found.iter().eq(["four", "one", "rialto", "three"]), "{found:?}");
}

/// The code names a crate, outside of comments.
fn names(text: &str, name: &str) -> bool {
    text.lines().map(str::trim_start).filter(|line| !line.starts_with("//")).any(|line| line.contains(name))
}

#[test]
fn only_the_command_line_uses_the_client() {
    let others = files("src").into_iter().filter(|file| file.module.first().is_none_or(|room| room != "cli"));
    let wrong: Vec<_> = others.filter(|file| names(&file.text, "rialto_client")).map(|file| file.name).collect();
    assert!(wrong.is_empty(), "{wrong:?} use rialto_client");
}

#[test]
fn the_definitions_have_one_name_in_the_server() {
    let others = files("src").into_iter().filter(|file| !file.module.is_empty());
    let wrong: Vec<_> = others.filter(|file| names(&file.text, "rialto_proto")).map(|file| file.name).collect();
    assert!(wrong.is_empty(), "{wrong:?} use rialto_proto instead of crate::proto");
}
