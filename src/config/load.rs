//! Merges what is given: flags over the environment over the file over the defaults.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
};

use toml::{Table, Value};

use super::{
    error::{Error, Problem, Source},
    names::{self, ENV_PREFIX},
    section::{Setting, full_name, must_be_in},
    settings::{Config, value},
};

/// The file that is read if none is named and it exists.
pub const DEFAULT_FILE: &str = "rialto.toml";

/// A setting that was given on the command line.
#[derive(Debug, Clone)]
pub struct Assignment {
    /// The option: `--set`, or the setting's own.
    pub flag: &'static str,
    /// The setting, as `section.name`.
    pub name: String,
    /// Its value, as text.
    pub value: String,
}

/// A configuration, and where its settings come from.
#[derive(Debug)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// The sources of the settings that were given, by their full names. All others have their defaults.
    pub(super) sources: BTreeMap<String, Source>,
}

/// Merges defaults, file, environment and flags, and checks the result. The file is `file`, or [`DEFAULT_FILE`] if that exists. Of
/// `environment` only variables with [`ENV_PREFIX`] are used.
///
/// # Errors
///
/// [`Error::Settings`] with every problem found: unknown settings, values of the wrong type, and values that [`Config::check`] rejects. The
/// other errors are about the file.
pub fn load(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    flags: Vec<Assignment>,
) -> Result<Loaded, Error> {
    let mut merge = Merge::new();
    if let Some(file) = find_file(file)? {
        merge.file(&file)?;
    }
    for (variable, value) in environment {
        merge.variable(&variable, value);
    }
    for flag in flags {
        merge.flag(flag);
    }
    merge.finish()
}

fn find_file(named: Option<&Path>) -> Result<Option<PathBuf>, Error> {
    match named {
        Some(named) if !named.is_file() => Err(Error::NoFile(named.to_owned())),
        Some(named) => Ok(Some(named.to_owned())),
        None => Ok(Some(PathBuf::from(DEFAULT_FILE)).filter(|file| file.is_file())),
    }
}

/// What was given so far. A later value of a setting replaces an earlier one.
struct Merge {
    defaults: Table,
    given: Table,
    sources: BTreeMap<String, Source>,
    problems: Vec<Problem>,
}

impl Merge {
    fn new() -> Self {
        Self {
            defaults: Config::default().to_table(),
            given: Table::new(),
            sources: BTreeMap::new(),
            problems: Vec::new(),
        }
    }

    fn file(&mut self, file: &Path) -> Result<(), Error> {
        let text = fs::read_to_string(file).map_err(|error| Error::Unreadable(file.to_owned(), error))?;
        let table: Table = text.parse().map_err(|error| Error::Syntax(file.to_owned(), Box::new(error)))?;
        let source = Source::file(file);
        for (name, value) in table {
            match value {
                // Keys of a section that does not exist are reported one by one, each with the setting that is meant.
                Value::Table(section) if !section.is_empty() && !names::is_renamed(&name) => {
                    for (key, value) in section {
                        self.give(&full_name(&name, &key), value, &source);
                    }
                }
                Value::Table(section) if section.is_empty() && names::is_section(&name) => {}
                value => self.give(&name, value, &source),
            }
        }
        Ok(())
    }

    fn variable(&mut self, variable: &OsStr, value: OsString) {
        // A variable whose name is not UTF-8 is not ours.
        let Some(variable) = variable.to_str().filter(|variable| variable.starts_with(ENV_PREFIX)) else { return };
        if names::is_other_variable(variable) {
            return;
        }
        let name = variable.trim_start_matches(ENV_PREFIX).to_lowercase().replace("__", ".");
        let source = Source::Environment(variable.to_owned());
        // Only the exact spelling is a setting: `RIALTO_listen` is not.
        if names::find(&name).is_none() || names::variable(&name) != variable {
            let reason = names::unknown(&name, names::variable);
            return self.problems.push(Problem::new(variable, reason));
        }
        match value.into_string() {
            Ok(text) => self.give_text(&name, text, &source),
            Err(_) => self.problems.push(Problem::new(name, "must be UTF-8").from(&source)),
        }
    }

    fn flag(&mut self, Assignment { flag, name, value }: Assignment) {
        self.give_text(&name, value, &Source::Flag(flag));
    }

    /// Takes a value that is text. It stays text unless the default of the setting is something else.
    fn give_text(&mut self, name: &str, text: String, source: &Source) {
        let default = names::find(name).and_then(|setting| value(&self.defaults, setting));
        let value = match default {
            None | Some(Value::String(_)) => Some(Value::String(text.clone())),
            Some(_) => toml_value(&text),
        };
        // A number, boolean, list or table that does not parse is reported as the text that it is.
        self.give(name, value.unwrap_or(Value::String(text)), source);
    }

    fn give(&mut self, name: &str, value: Value, source: &Source) {
        let Some(setting) = names::find(name) else {
            let reason = names::unknown(name, str::to_owned);
            return self.problems.push(Problem::new(name, reason).from(source));
        };
        let mut alone = Table::new();
        insert(&mut alone, setting, value.clone());
        if let Err(error) = alone.try_into::<Config>() {
            let reason = self.expected(setting).unwrap_or_else(|| error.message().to_owned());
            return self.problems.push(Problem::of_value(name, value, reason).from(source));
        }
        insert(&mut self.given, setting, value);
        self.sources.insert(name.to_owned(), source.clone());
    }

    /// What a number or a boolean must be. `None` for other settings, whose parts are explained by the parser.
    fn expected(&self, setting: &Setting) -> Option<String> {
        match (&setting.range, value(&self.defaults, setting)) {
            (Some(range), _) => Some(must_be_in(range)),
            (None, Some(Value::Boolean(_))) => Some("must be true or false".into()),
            _ => None,
        }
    }

    fn finish(mut self) -> Result<Loaded, Error> {
        let config: Config = match self.given.try_into() {
            Ok(config) => config,
            // Not reached: each value was accepted by itself.
            Err(error) => return Err(Error::Settings(vec![Problem::new("configuration", error.message())])),
        };
        self.problems.extend(config.problems().into_iter().map(|problem| match self.sources.get(&problem.name) {
            Some(source) => problem.from(source),
            None => problem,
        }));
        if self.problems.is_empty() {
            Ok(Loaded { config, sources: self.sources })
        } else {
            Err(Error::Settings(self.problems))
        }
    }
}

fn insert(table: &mut Table, setting: &Setting, value: Value) {
    if setting.section.is_empty() {
        table.insert(setting.key.to_owned(), value);
        return;
    }
    let section = table.entry(setting.section).or_insert_with(|| Table::new().into());
    if let Value::Table(section) = section {
        section.insert(setting.key.to_owned(), value);
    }
}

/// The text as a TOML value.
fn toml_value(text: &str) -> Option<Value> {
    let mut table: Table = format!("value = {}", text.trim()).parse().ok()?;
    // A text with line breaks could hold more than one value.
    if table.len() > 1 { None } else { table.remove("value") }
}
