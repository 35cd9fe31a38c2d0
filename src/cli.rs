//! The command tree. Results go to standard output, which is an interface; everything else goes to standard error.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the output of a command line")]

mod cert;
mod client;
mod completions;
mod outcome;
mod print_config;
mod runtime;
mod serve;
mod settings;
mod token;
mod users;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use settings::Settings;

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
Without a command, `rialto` runs the hub.

Try it:
  rialto                                        run the hub on 127.0.0.1:50051, data in ./rialto-data
  rialto users create ada --email ada@example.com
  rialto users list
  rialto serve --listen 127.0.0.1:0 --data :memory:
  rialto cert --dev                             certificates for trying TLS";

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the hub (the default).
    Serve(Settings),
    /// List, create, update and delete users of a running hub.
    Users(users::Users),
    Token(token::Token),
    /// Print the settings in force, and where each comes from.
    Config(Settings),
    /// Make certificates for trying TLS.
    Cert(cert::Cert),
    /// Print a completion script for a shell.
    Completions(completions::Completions),
}

/// Runs the command that the process was started with.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.verb.unwrap_or(Verb::Serve(cli.serve)) {
        Verb::Serve(settings) => serve::run(settings),
        Verb::Users(users) => users.run(),
        Verb::Token(token) => token.run(),
        Verb::Config(settings) => print_config::run(settings),
        Verb::Cert(cert) => cert.run(),
        Verb::Completions(completions) => completions.run(&mut Cli::command()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rialto: {error}");
            ExitCode::FAILURE
        }
    }
}
