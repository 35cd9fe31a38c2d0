//! Opening a connection to a hub.

use std::{net::IpAddr, time::Duration};

use http::Uri;
use tonic::{
    service::interceptor::InterceptedService,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

use crate::{AccessToken, Error, token::SendToken};

/// An open connection that sends the access token with each call. Cheap to clone.
pub type Hub = InterceptedService<Channel, SendToken>;

/// Opens a connection to a hub: its URL, TLS, and credentials.
#[derive(Debug, Clone)]
pub struct Connector {
    server: String,
    timeout: Duration,
    token: Option<AccessToken>,
    ca: Option<Certificate>,
    identity: Option<Identity>,
}

impl Connector {
    /// Connects to this URL; `https://…` connects with TLS.
    #[must_use]
    pub fn new(server: impl Into<String>) -> Self {
        let timeout = Duration::from_secs(30);
        Self { server: server.into(), timeout, token: None, ca: None, identity: None }
    }

    /// Limits the time for connecting, and for each call. The default is 30 s.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Sends this access token with each call. The default is none.
    #[must_use]
    pub fn token(self, token: AccessToken) -> Self {
        Self { token: Some(token), ..self }
    }

    /// Accepts the hub's certificate only from these authorities, in PEM. The default is the trust store of the system.
    #[must_use]
    pub fn ca(self, pem: impl AsRef<[u8]>) -> Self {
        Self { ca: Some(Certificate::from_pem(pem)), ..self }
    }

    /// Presents this client certificate, both in PEM. The default is none.
    #[must_use]
    pub fn identity(self, cert_pem: impl AsRef<[u8]>, key_pem: impl AsRef<[u8]>) -> Self {
        Self { identity: Some(Identity::from_pem(cert_pem, key_pem)), ..self }
    }

    /// Connects to the hub. Fails with [`Error::TokenInTheClear`] instead of sending a token without TLS to another machine.
    pub async fn connect(self) -> Result<Hub, Error> {
        let Self { server, timeout, token, ca, identity } = self;
        let Ok(uri) = server.parse::<Uri>() else { return Err(Error::Url(server)) };
        let encrypts = uri.scheme_str() == Some("https");
        if token.is_some() && !encrypts && !uri.host().is_some_and(is_loopback) {
            return Err(Error::TokenInTheClear(server));
        }
        let mut endpoint = Endpoint::from(uri).connect_timeout(timeout).timeout(timeout);
        if encrypts {
            let tls = ClientTlsConfig::new();
            let tls = match ca {
                Some(ca) => tls.ca_certificate(ca),
                None => tls.with_native_roots(),
            };
            let tls = identity.into_iter().fold(tls, ClientTlsConfig::identity);
            endpoint = endpoint.tls_config(tls).map_err(Error::Tls)?;
        }
        let channel = endpoint.connect().await.map_err(|cause| Error::Unreachable { server, cause })?;
        Ok(InterceptedService::new(channel, SendToken(token)))
    }
}

/// Whether the host of a URL is this machine.
fn is_loopback(host: &str) -> bool {
    let name = host.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}
