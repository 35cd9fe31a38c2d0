//! Where the settings come from: defaults, then the file, then the environment, then the flags.

use std::path::Path;

use figment::{
    Figment, Metadata, Profile, Provider,
    providers::{Env, Format, Serialized, Toml},
    value::{Dict, Map},
};

use super::{Config, Error};

/// The prefix of the environment's variables.
pub const ENV_PREFIX: &str = "RIALTO_";

/// The file that is read when none is named, if it is there.
pub const DEFAULT_FILE: &str = "rialto.toml";

/// A configuration that knows where each of its settings came from.
#[derive(Debug)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    figment: Figment,
}

/// Merges defaults, file, environment and flags, the later over the earlier.
pub fn load(file: Option<&Path>, flags: Dict) -> Result<Loaded, Error> {
    let mut figment = Figment::from(Serialized::defaults(Config::default()));
    match file {
        Some(named) if !named.is_file() => return Err(Error::NoFile(named.to_owned())),
        Some(named) => figment = figment.merge(Toml::file_exact(named)),
        None if Path::new(DEFAULT_FILE).is_file() => figment = figment.merge(Toml::file_exact(DEFAULT_FILE)),
        None => {}
    }
    // Other programs may have variables behind our prefix, so those that are no settings are left alone.
    let known = names();
    let environment = Env::prefixed(ENV_PREFIX).filter(move |name| known.iter().any(|known| name == known.as_str()));
    let figment = figment.merge(environment).merge(Flags(flags));
    let config: Config = figment.extract().map_err(|error| Error::Wrong(Box::new(error)))?;
    config.check()?;
    Ok(Loaded { config, figment })
}

/// What was given on the command line.
struct Flags(Dict);

impl Provider for Flags {
    fn metadata(&self) -> Metadata {
        Metadata::named("flags")
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.0.clone()))
    }
}

/// The names of all settings.
fn names() -> Vec<String> {
    Config::default().to_table().keys().cloned().collect()
}

impl Config {
    fn to_table(&self) -> toml::Table {
        toml::Table::try_from(self).unwrap_or_default()
    }
}

impl Loaded {
    /// Every setting as a line of the configuration file, with its source behind it.
    #[must_use]
    pub fn describe(&self) -> String {
        let mut lines = String::new();
        for (name, value) in self.config.to_table() {
            let source = self.figment.find_metadata(&name).map_or("default", |metadata| match metadata.name.as_ref() {
                "flags" => "flag",
                name if name.contains("environment") => "environment",
                name if name.contains("TOML") => "file",
                _ => "default",
            });
            lines.push_str(&format!("{name} = {value}  # {source}\n"));
        }
        lines
    }
}
