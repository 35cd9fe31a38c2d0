//! The documentation matches the code.

use std::{collections::BTreeSet, fs, path::PathBuf, process::Command};

use rialto::config;
use syn::visit::Visit;

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(file(name)).unwrap()
}

/// To update after changing a setting: `UPDATE_DOCS=1 cargo test --profile ci docs`.
#[test]
fn the_example_config_names_every_setting_with_its_default() {
    let name = "rialto.example.toml";
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(file(name), config::example()).unwrap();
    }
    assert_eq!(read(name), config::example());
}

#[test]
fn the_example_config_is_valid_also_when_its_settings_are_used() {
    let used: String = read("rialto.example.toml")
        .lines()
        .filter(|line| !line.ends_with("= the number of cores"))
        .map(|line| match line.strip_prefix("# ") {
            // A setting is a word, an equals sign, and a value.
            Some(setting) if setting.split_once(" = ").is_some_and(|(key, _)| is_key(key)) => format!("{setting}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("used.toml");
    fs::write(&file, used).unwrap();
    let loaded = config::load(Some(&file), [], Vec::new()).unwrap();
    assert_eq!(loaded.config, config::Config::default());
    assert!(loaded.describe().matches("  # file\n").count() >= config::settings().count() - 2);
}

fn is_key(text: &str) -> bool {
    text.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_')
}

#[test]
fn the_readme_opens_with_the_two_commands() {
    let readme = read("README.md");
    let commands: Vec<_> =
        readme.lines().filter(|line| line.starts_with("cargo ") || line.starts_with("./scripts")).collect();
    assert!(
        commands[0].starts_with("cargo run --release") && commands[1].starts_with("./scripts/test"),
        "{commands:?}"
    );
}

/// The commands in code blocks: from `rialto` to the comment or the end of the line.
#[test]
fn every_command_in_the_readme_and_in_the_help_parses() {
    let help = Command::new(env!("CARGO_BIN_EXE_rialto")).arg("--help").output().unwrap();
    let texts = [read("README.md"), String::from_utf8(help.stdout).unwrap()];
    let commands =
        texts.iter().flat_map(|text| text.lines()).filter_map(|line| line.trim_start().strip_prefix("rialto "));
    let commands = commands.filter(|command| !command.starts_with(['<', '[']));
    let mut seen = 0;
    for command in commands {
        let command = command.split("  ").next().unwrap().split('#').next().unwrap();
        let arguments: Vec<_> = command.split_whitespace().chain(["--help"]).collect();
        let run = Command::new(env!("CARGO_BIN_EXE_rialto")).args(&arguments).output().unwrap();
        assert!(run.status.success(), "rialto {command}: {}", String::from_utf8_lossy(&run.stderr));
        seen += 1;
    }
    assert!(seen >= 6, "{seen}");
}

#[test]
fn every_dependency_has_a_reason_in_the_architecture() {
    let manifest: toml::Table = toml::from_str(&read("Cargo.toml")).unwrap();
    let architecture = read("ARCHITECTURE.md");
    for kind in ["dependencies", "build-dependencies", "dev-dependencies"] {
        for name in manifest[kind].as_table().unwrap().keys() {
            assert!(architecture.contains(&format!("`{name}`")), "why {name}?");
        }
    }
}

/// The string literals in a file that have the form of a reason.
struct Reasons(BTreeSet<String>);

impl<'ast> Visit<'ast> for Reasons {
    fn visit_lit_str(&mut self, literal: &'ast syn::LitStr) {
        let text = literal.value();
        if text.len() > 4 && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_') {
            self.0.insert(text);
        }
    }
}

#[test]
fn every_reason_is_documented() {
    let mut reasons = Reasons(BTreeSet::new());
    let mut folders = vec![file("src/rpc")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                reasons.visit_file(&syn::parse_file(&fs::read_to_string(path).unwrap()).unwrap());
            }
        }
    }
    let page = read("docs/protocol.md");
    let section = page.split("\n## ").find(|section| section.starts_with("Reasons")).unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    assert_eq!(reasons.0, rows.map(str::to_owned).collect());
}
