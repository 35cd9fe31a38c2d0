//! The section `[logging]`.

use serde::{Deserialize, Serialize};

use super::section::section;

section! {
    /// What the server logs, on standard error. Tokens, passwords and texts of messages are never logged.
    pub struct Logging in "logging" {
        /// `text`, `json` (one object per line), or `auto`: text on a terminal, JSON otherwise.
        pub format: LogFormat = LogFormat::Auto;
        /// What to log: a level, or directives such as `info,rialto=debug` (`tracing_subscriber::EnvFilter`). By default, libraries are
        /// limited to what a client cannot cause, so that clients cannot fill the log.
        pub filter: String = "info,h2=error,rustls=error,rusqlite_migration=warn".into();
    }
}

/// The format of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// Lines of text, for people.
    Text,
    /// One JSON object per line, for programs.
    Json,
}
