//! What is written about Rialto is true of it.

use std::{collections::BTreeSet, fs, path::PathBuf, process::Command};

use rialto::config::Config;
use syn::visit::Visit;

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(file(name)).unwrap()
}

/// Every setting with what its documentation in the source says, and its default.
fn example_config() -> String {
    let source = syn::parse_file(&read("src/config.rs")).unwrap();
    let settings = source.items.into_iter().find_map(|item| match item {
        syn::Item::Struct(item) if item.ident == "Config" => Some(item.fields),
        _ => None,
    });
    let defaults = toml::Table::try_from(Config::default()).unwrap();
    let mut text = String::from(
        "# Every setting of Rialto with its default. Flags win over the environment (RIALTO_MAX_ROOMS=…), that wins over this file.\n\
         # `rialto config` prints what is in force, and where it comes from. Copy this to rialto.toml and keep what you change.\n",
    );
    for field in settings.unwrap() {
        let name = field.ident.unwrap().to_string();
        text.push('\n');
        for attribute in field.attrs.iter().filter(|attribute| attribute.path().is_ident("doc")) {
            let syn::Meta::NameValue(doc) = &attribute.meta else { continue };
            let syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(line), .. }) = &doc.value else { continue };
            text.push_str(&format!("#{}\n", line.value()));
        }
        match name.as_str() {
            "max_concurrent_hashes" | "max_concurrent_logins" => {
                text.push_str(&format!("# {name} = the number of cores\n"));
            }
            _ => text.push_str(&format!("# {name} = {}\n", defaults[&name])),
        }
    }
    text
}

/// After a change of the settings: `UPDATE_DOCS=1 cargo test --profile ci docs`.
#[test]
fn the_example_config_names_every_setting_with_its_default() {
    let name = "rialto.example.toml";
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(file(name), example_config()).unwrap();
    }
    assert_eq!(read(name), example_config());
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

/// What stands in code blocks, from `rialto` to the comment or the end of the line.
#[test]
fn every_command_in_the_readme_and_in_the_help_is_one() {
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
fn every_dependency_has_its_reason_in_the_architecture() {
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
