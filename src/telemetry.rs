//! Sets up the log. Tokens, passwords and texts of messages are never logged.

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::config::{LogFormat, Logging};

/// Why the log could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filter does not parse.
    #[error("the configuration is wrong: logging.filter is not a list of directives such as `info,rialto=debug`: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// The process has a subscriber already.
    #[error("the log is already set up in this process: {0}")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

/// Sets up the log of the process, on standard error.
///
/// # Errors
///
/// If the filter does not parse, or if the log is already set up.
pub fn init(settings: &Logging) -> Result<(), Error> {
    let text = match settings.format {
        LogFormat::Auto => std::io::stderr().is_terminal(),
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    let filter = EnvFilter::try_new(&settings.filter)?;
    let log = tracing_subscriber::registry().with(filter);
    let line = fmt::layer().with_writer(std::io::stderr);
    if text {
        log.with(line.with_ansi(std::io::stderr().is_terminal())).try_init()?;
    } else {
        log.with(line.json()).try_init()?;
    }
    Ok(())
}
