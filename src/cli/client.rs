//! How the verbs that are clients reach a hub.

use std::{error::Error, fs, path::PathBuf, time::Duration};

use clap::Args;
use http::Uri;
use tonic::{
    Request, Status,
    metadata::AsciiMetadataValue,
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};
use tonic_types::StatusExt;

use crate::caller::is_loopback;

/// Where the hub is, and who calls.
#[derive(Debug, Args)]
pub(super) struct Connection {
    /// The hub to talk to; `https://…` for one with TLS
    #[arg(long, global = true, value_name = "URL", env = "RIALTO_SERVER", default_value = "http://127.0.0.1:50051")]
    server: String,
    /// A file with the token to show; without it, what is in the environment variable RIALTO_TOKEN
    #[arg(long, global = true, value_name = "FILE", env = "RIALTO_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// The authorities that the hub's certificate may come from [default: those of this machine]
    #[arg(long, global = true, value_name = "FILE", env = "RIALTO_CA")]
    ca: Option<PathBuf>,
    /// The certificate to show, where the hub wants one
    #[arg(long, global = true, value_name = "FILE", env = "RIALTO_CERT", requires = "key")]
    cert: Option<PathBuf>,
    /// Its private key
    #[arg(long, global = true, value_name = "FILE", env = "RIALTO_KEY", requires = "cert")]
    key: Option<PathBuf>,
}

/// How long a hub may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection that shows a token with each call.
pub(super) type Hub = InterceptedService<Channel, Bearer>;

/// Shows a token, if there is one.
#[derive(Debug, Clone)]
pub(super) struct Bearer(Option<AsciiMetadataValue>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

impl Connection {
    /// Connects.
    pub(super) async fn open(&self) -> Result<Hub, Box<dyn Error>> {
        let server = &self.server;
        let uri: Uri = server.parse().map_err(|_| format!("{server} is no URL; give one as http://127.0.0.1:50051"))?;
        let is_secret = uri.scheme_str() == Some("https");
        let bearer = self.bearer()?;
        if bearer.0.is_some() && !is_secret && !uri.host().is_some_and(is_loopback) {
            return Err(format!("the token would be sent to {server} in the clear: call it by https").into());
        }
        let mut endpoint = Endpoint::from(uri).connect_timeout(PATIENCE).timeout(PATIENCE);
        if is_secret {
            endpoint = endpoint.tls_config(self.tls()?)?;
        }
        let channel = endpoint.connect().await.map_err(|error| {
            let mut causes = String::new();
            let mut next = error.source();
            while let Some(cause) = next {
                causes.push_str(&format!(": {cause}"));
                next = cause.source();
            }
            format!("no hub answers at {server}{causes}; start one with `rialto serve`, or name another with --server")
        })?;
        Ok(InterceptedService::new(channel, bearer))
    }

    fn bearer(&self) -> Result<Bearer, Box<dyn Error>> {
        let token = match &self.token_file {
            Some(file) => Some(fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?),
            None => std::env::var("RIALTO_TOKEN").ok(),
        };
        let Some(token) = token.as_deref().map(str::trim).filter(|token| !token.is_empty()) else {
            return Ok(Bearer(None));
        };
        let mut value = AsciiMetadataValue::try_from(format!("Bearer {token}")).map_err(|_| "the token is none")?;
        value.set_sensitive(true);
        Ok(Bearer(Some(value)))
    }

    fn tls(&self) -> Result<ClientTlsConfig, Box<dyn Error>> {
        let read = |file: &PathBuf| fs::read(file).map_err(|error| format!("{}: {error}", file.display()));
        let mut tls = ClientTlsConfig::new();
        tls = match &self.ca {
            Some(file) => tls.ca_certificate(Certificate::from_pem(read(file)?)),
            None => tls.with_native_roots(),
        };
        if let (Some(cert), Some(key)) = (&self.cert, &self.key) {
            tls = tls.identity(Identity::from_pem(read(cert)?, read(key)?));
        }
        Ok(tls)
    }
}

/// A status in words: what was wrong, with which field, and whether to try again.
pub(super) fn explain(status: &Status) -> String {
    let details = status.get_error_details();
    let mut text = status.message().to_owned();
    if text.is_empty() {
        text = status.code().description().to_owned();
    }
    match details.error_info().map(|info| info.reason.as_str()) {
        Some("TOKEN_MISSING") => {
            text = "this hub asks for a token: `export RIALTO_TOKEN=$(rialto token --name me --role admin)` where its data is"
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
