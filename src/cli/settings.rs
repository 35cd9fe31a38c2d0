//! The options that stand for settings.

use std::{env, path::PathBuf};

use clap::{Args, ValueEnum};

use crate::config::{self, Assignment, AuthMode, Loaded, LogFormat};

/// Settings given on the command line. They take precedence over the environment and the file.
#[derive(Debug, Args)]
pub(super) struct Settings {
    /// Address to listen on; port 0 takes any free port [default: 127.0.0.1:50051]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Folder of the data file; `:memory:` uses a temporary folder, which is removed at shutdown [default: ./rialto-data]
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// Configuration file [default: ./rialto.toml, if it exists]
    #[arg(long, value_name = "FILE", env = "RIALTO_CONFIG")]
    config: Option<PathBuf>,
    /// Whether callers need a token: `token`, or `open` [default: open]
    #[arg(long, value_name = "MODE", value_enum)]
    auth: Option<AuthMode>,
    /// Listen on an address that is not loopback even without authentication, or with tokens but without TLS
    #[arg(long)]
    insecure: bool,
    /// PEM file with the server's certificate and the chain to its root; enables TLS
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<String>,
    /// PEM file with the private key of the certificate
    #[arg(long, value_name = "FILE")]
    tls_key: Option<String>,
    /// PEM file with certificate authorities; clients must present a certificate of one of them
    #[arg(long, value_name = "FILE")]
    tls_client_ca: Option<String>,
    /// Format of the log [default: auto]
    #[arg(long, value_name = "FORMAT", value_enum)]
    log_format: Option<LogFormat>,
    /// What to log: a level, or directives such as `info,rialto=debug` [default: info, with less from some libraries]
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
    /// Any setting, as `rialto config` prints it, such as `limits.max_text_bytes=8192`; can be given more than once
    #[arg(long = "set", value_name = "SECTION.NAME=VALUE", value_parser = assignment)]
    set: Vec<(String, String)>,
}

impl Settings {
    pub(super) fn load(self) -> Result<Loaded, config::Error> {
        // Each option and the setting that it stands for.
        let options = [
            ("--listen", "listen", self.listen),
            ("--data", "data", self.data),
            ("--auth", "auth.mode", self.auth.as_ref().and_then(name)),
            ("--insecure", "insecure", self.insecure.then(|| "true".to_owned())),
            ("--tls-cert", "tls.cert", self.tls_cert),
            ("--tls-key", "tls.key", self.tls_key),
            ("--tls-client-ca", "tls.client_ca", self.tls_client_ca),
            ("--log-format", "logging.format", self.log_format.as_ref().and_then(name)),
            ("--log", "logging.filter", self.log),
        ];
        let set = self.set.into_iter().map(|(name, value)| Assignment { flag: "--set", name, value });
        let options = options
            .into_iter()
            .filter_map(|(flag, name, value)| Some(Assignment { flag, name: name.to_owned(), value: value? }));
        config::load(self.config.as_deref(), env::vars_os(), set.chain(options).collect())
    }
}

/// The name of a choice, as the option and the setting take it.
fn name(choice: &impl ValueEnum) -> Option<String> {
    Some(choice.to_possible_value()?.get_name().to_owned())
}

fn assignment(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once('=').ok_or("must be SECTION.NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}
