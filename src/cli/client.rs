//! The connection of commands that are clients of a running hub.

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
};

use clap::Args;
use rialto_client::{AccessToken, Connector, Hub};
use tonic::Status;
use tonic_types::StatusExt;

/// The address of the hub, and the identity of the caller.
#[derive(Debug, Args)]
pub(super) struct Connection {
    /// URL of the hub; `https://…` if it uses TLS
    #[arg(long, global = true, value_name = "URL", env = "RIALTO_SERVER", default_value = "http://127.0.0.1:50051")]
    server: String,
    /// File with the token to send [default: the environment variable RIALTO_TOKEN]
    #[arg(long, global = true, value_name = "FILE", env = "RIALTO_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// PEM file with the authorities that may have signed the hub's certificate [default: those of this machine]
    #[arg(long, global = true, value_name = "FILE", env = "RIALTO_CA")]
    ca: Option<PathBuf>,
    /// PEM file with the client's certificate, if the hub requires one
    #[arg(long, global = true, value_name = "FILE", env = "RIALTO_CERT", requires = "key")]
    cert: Option<PathBuf>,
    /// PEM file with the private key of the client's certificate
    #[arg(long, global = true, value_name = "FILE", env = "RIALTO_KEY", requires = "cert")]
    key: Option<PathBuf>,
}

impl Connection {
    /// Connects, with the token if there is one.
    pub(super) async fn open(&self) -> Result<Hub, Box<dyn Error>> {
        let mut connector = Connector::new(&self.server);
        if let Some(token) = self.token()? {
            connector = connector.token(AccessToken::new(&token)?);
        }
        if let Some(ca) = &self.ca {
            connector = connector.ca(read(ca)?);
        }
        if let (Some(cert), Some(key)) = (&self.cert, &self.key) {
            connector = connector.identity(read(cert)?, read(key)?);
        }
        connector.connect().await.map_err(|error| match error {
            rialto_client::Error::Unreachable { .. } => {
                format!("{error}; start one with `rialto serve`, or give its address with --server").into()
            }
            other => other.into(),
        })
    }

    fn token(&self) -> Result<Option<String>, String> {
        let token = match &self.token_file {
            Some(file) => fs::read_to_string(file).map(Some).map_err(|error| format!("{}: {error}", file.display()))?,
            None => std::env::var("RIALTO_TOKEN").ok(),
        };
        Ok(token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty()))
    }
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    fs::read(file).map_err(|error| format!("{}: {error}", file.display()))
}

/// Describes a status: its message, what to do about it, and when to retry.
pub(super) fn explain(status: &Status) -> String {
    let details = status.get_error_details();
    let mut text = status.message().to_owned();
    if text.is_empty() {
        text = status.code().description().to_owned();
    }
    match details.error_info().map(|info| info.reason.as_str()) {
        Some("TOKEN_MISSING") => {
            text = "this hub requires a token: run `export RIALTO_TOKEN=$(rialto token --name me --role admin)` on the machine with its data folder"
                .into();
        }
        Some("TOKEN_EXPIRED") => text.push_str("; get another one with `rialto token`"),
        _ => {}
    }
    if let Some(after) = details.retry_info().and_then(|retry| retry.retry_delay) {
        text.push_str(&format!("; try again in {} s", after.as_secs()));
    }
    text
}
