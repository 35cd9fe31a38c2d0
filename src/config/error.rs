//! Why there is no configuration.

use std::{
    fmt,
    path::{Path, PathBuf},
};

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration file that was named does not exist.
    #[error("the configuration file {0} does not exist")]
    NoFile(PathBuf),
    /// The configuration file cannot be read.
    #[error("the configuration file {0} cannot be read: {1}")]
    Unreadable(PathBuf, std::io::Error),
    /// The configuration file is not TOML.
    #[error("the configuration file {0} is not valid TOML: {1}")]
    Syntax(PathBuf, Box<toml::de::Error>),
    /// Settings are unknown or have values that they cannot have. All of them are reported.
    #[error("the configuration is wrong: {}", lines(.0))]
    Settings(Vec<Problem>),
}

fn lines(problems: &[Problem]) -> String {
    let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
    lines.join("\n  ")
}

/// Where the value of a setting comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The configuration file.
    File(PathBuf),
    /// An environment variable.
    Environment(String),
    /// An option of the command line.
    Flag(&'static str),
}

impl Source {
    /// The kind of source, in one word.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::Environment(_) => "environment",
            Self::Flag(_) => "flag",
        }
    }

    pub(super) fn file(path: &Path) -> Self {
        Self::File(path.to_owned())
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Environment(variable) => variable.fmt(f),
            Self::Flag(flag) => flag.fmt(f),
        }
    }
}

/// What is wrong with one setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The setting, as `section.name`.
    pub name: String,
    /// The value that it was given, if that value is the problem.
    pub value: Option<String>,
    /// Where it was given; `None` if that is not known, or if it has its default.
    pub source: Option<Source>,
    /// What it must be, and what to do.
    pub reason: String,
}

impl Problem {
    pub(super) fn new(name: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { name: name.into(), value: None, source: None, reason: reason.into() }
    }

    pub(super) fn of_value(name: impl Into<String>, value: impl fmt::Display, reason: impl Into<String>) -> Self {
        Self { value: Some(value.to_string()), ..Self::new(name, reason) }
    }

    pub(super) fn from(self, source: &Source) -> Self {
        Self { source: Some(source.clone()), ..self }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(value) = &self.value {
            write!(f, " = {value}")?;
        }
        if let Some(source) = &self.source {
            write!(f, " (from {source})")?;
        }
        write!(f, " {}", self.reason)
    }
}
