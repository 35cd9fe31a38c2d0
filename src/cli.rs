//! The command tree. Standard output is an interface here: results go there, everything else to standard error.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line talks")]

mod cert;
mod completions;
mod config;
mod serve;
mod users;

use std::{error::Error, path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};
use figment::value::{Dict, Value};

use crate::config::{Loaded, LogFormat, load};

/// A gRPC chat hub: one binary, one data file, many rooms.
#[derive(Debug, Parser)]
#[command(name = "rialto", version, args_conflicts_with_subcommands = true, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    serve: Settings,
}

const AFTER_HELP: &str = "\
Without a command, `rialto` serves.

Try it:
  rialto                                        serve on 127.0.0.1:50051, data in ./rialto-data
  rialto users create ada --email ada@example.com
  rialto users list
  rialto serve --listen 127.0.0.1:0 --data :memory:
  rialto cert --dev                             certificates to try TLS with";

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the hub (the default).
    Serve(Settings),
    /// Look at users and change them, on a running hub.
    Users(users::Users),
    /// Print the settings, and where each comes from.
    Config(Settings),
    /// Make certificates to try TLS with.
    Cert(cert::Cert),
    /// Print a completion script for a shell.
    Completions(completions::Completions),
}

/// Settings given on the command line; they win over the environment and the file.
#[derive(Debug, Args)]
struct Settings {
    /// Where to listen; port 0 is any free port [default: 127.0.0.1:50051]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// The folder of the data file; `:memory:` forgets everything at the end [default: ./rialto-data]
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// The configuration file [default: ./rialto.toml, if it is there]
    #[arg(long, value_name = "FILE", env = "RIALTO_CONFIG")]
    config: Option<PathBuf>,
    /// Serve others than this machine although nobody has to say who he is
    #[arg(long)]
    insecure: bool,
    /// The server's certificate, for TLS: a PEM file, with those that lead to its root
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<String>,
    /// The private key of the certificate: a PEM file
    #[arg(long, value_name = "FILE")]
    tls_key: Option<String>,
    /// Take only clients with a certificate of these authorities: a PEM file
    #[arg(long, value_name = "FILE")]
    tls_client_ca: Option<String>,
    /// How the log is written [default: auto]
    #[arg(long, value_name = "FORMAT", value_enum)]
    log_format: Option<LogFormat>,
    /// What to log: a level, or directives such as `info,rialto=debug` [default: info]
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
    /// Any other setting, as `rialto config` prints it; can be given many times
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = assignment)]
    set: Vec<(String, Value)>,
}

impl Settings {
    fn load(self) -> Result<Loaded, crate::config::Error> {
        let mut flags: Dict = self.set.into_iter().collect();
        let mut give = |name: &str, value: Option<Value>| flags.extend(value.map(|value| (name.to_owned(), value)));
        give("listen", self.listen.map(Value::from));
        give("data", self.data.map(Value::from));
        give("insecure", self.insecure.then(|| Value::from(true)));
        give("tls_cert", self.tls_cert.map(Value::from));
        give("tls_key", self.tls_key.map(Value::from));
        give("tls_client_ca", self.tls_client_ca.map(Value::from));
        give("log_format", self.log_format.map(|format| Value::from(format!("{format:?}").to_lowercase())));
        give("log", self.log.map(Value::from));
        let loaded = load(self.config.as_deref(), flags)?;
        crate::server::check(&loaded.config)?;
        Ok(loaded)
    }
}

fn assignment(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("must be NAME=VALUE")?;
    let value = value.parse().unwrap_or_else(|never| match never {});
    Ok((name.to_owned(), value))
}

/// Runs what the process was called with.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.verb.unwrap_or(Verb::Serve(cli.serve)) {
        Verb::Serve(settings) => serve::run(settings),
        Verb::Users(users) => users.run(),
        Verb::Config(settings) => config::run(settings),
        Verb::Cert(cert) => cert.run(),
        Verb::Completions(completions) => completions.run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rialto: {error}");
            ExitCode::FAILURE
        }
    }
}

type Outcome = Result<(), Box<dyn Error>>;

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}
