//! The configuration as text: what is in force, and an example with all documentation.

use std::fmt::Write;

use toml::{Table, Value};

use super::{
    load::Loaded,
    section::Setting,
    settings::{Config, value},
};

impl Loaded {
    /// A configuration file with every setting that is in force, each followed by its source as a comment.
    #[must_use]
    pub fn describe(&self) -> String {
        let table = self.config.to_table();
        let mut text = String::new();
        let lines = |settings: &[Setting], text: &mut String| {
            for setting in settings {
                let source = self.sources.get(&setting.name()).map_or("default", |source| source.kind());
                let value = value(&table, setting).map(Value::to_string).unwrap_or_default();
                _ = writeln!(text, "{} = {value}  # {source}", setting.key);
            }
        };
        lines(Config::SETTINGS, &mut text);
        for (section, _, settings) in Config::SECTIONS {
            _ = writeln!(text, "\n[{section}]");
            lines(settings, &mut text);
        }
        text
    }
}

const INTRODUCTION: &str = "\
# Every setting of Rialto with its documentation and its default. Copy this file to rialto.toml and keep what you change.
#
# A flag takes precedence over the environment, and the environment over this file. In the environment the setting NAME of the section
# [SECTION] is RIALTO_SECTION__NAME, on the command line it is `--set section.name=value`; both take text as it is, without quotes.
# `rialto config` prints the settings that are in force, and where each comes from.
#
# Times are in seconds, sizes in bytes. 0 means \"no limit\" only where the text says so.
";

/// The file `rialto.example.toml`: every setting, commented out, with its documentation and its default.
#[must_use]
pub fn example() -> String {
    let defaults = Config::default().to_table();
    let mut text = String::from(INTRODUCTION);
    describe(Config::SETTINGS, &defaults, &mut text);
    for (section, about, settings) in Config::SECTIONS {
        text.push('\n');
        comment(about, &mut text);
        _ = writeln!(text, "[{section}]");
        describe(settings, &defaults, &mut text);
    }
    text
}

fn describe(settings: &[Setting], defaults: &Table, text: &mut String) {
    for setting in settings {
        text.push('\n');
        comment(setting.doc, text);
        let default = match setting.key {
            // It depends on the machine.
            "max_concurrent_hashes" | "max_concurrent_logins" => "the number of cores".into(),
            _ => value(defaults, setting).map(Value::to_string).unwrap_or_default(),
        };
        _ = writeln!(text, "# {} = {default}", setting.key);
    }
}

fn comment(lines: &[&str], text: &mut String) {
    for line in lines {
        _ = writeln!(text, "#{line}");
    }
}
