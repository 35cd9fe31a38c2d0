//! What a client needs for a hub that has a certificate and asks for tokens.

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context, Result};
use http::HeaderValue;
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        client::Resumption,
        crypto,
        pki_types::{CertificateDer, ServerName},
    },
};

/// Whom to trust, and what to show.
#[derive(Debug, Clone)]
pub struct Access {
    tls: Arc<ClientConfig>,
    authorization: HeaderValue,
}

impl Access {
    /// To a hub with this certificate, by this token.
    pub fn new(certificate: CertificateDer<'static>, token: &str) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(certificate)?;
        // Named, because the process has other users of rustls, with defaults of their own.
        let mut tls = ClientConfig::builder_with_provider(Arc::new(crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"h2".to_vec()];
        // Each connection stands for another client, who was not there before: a ticket would spare the hub half of the handshake.
        tls.resumption = Resumption::disabled();
        Ok(Self { tls: Arc::new(tls), authorization: HeaderValue::try_from(format!("Bearer {token}"))? })
    }

    /// Makes a connection to this address (`host:port`) a secret one.
    pub async fn secure(&self, socket: TcpStream, address: &str) -> Result<TlsStream<TcpStream>> {
        let host = address.parse::<SocketAddr>().context("a hub with a certificate is known by its IP address")?.ip();
        Ok(TlsConnector::from(Arc::clone(&self.tls)).connect(ServerName::from(host), socket).await?)
    }

    /// The header of every call.
    pub fn authorization(&self) -> HeaderValue {
        self.authorization.clone()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertifiedKey, generate_simple_self_signed};
    use tokio::net::TcpListener;
    use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};

    use super::*;

    /// Connects to a server with one certificate, trusting the first or the second that there is.
    async fn connects(trusted: usize) -> Result<()> {
        let pairs: Vec<_> = (0..2).map(|_| generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap()).collect();
        let CertifiedKey { cert, signing_key } = &pairs[0];
        let mut server = ServerConfig::builder_with_provider(Arc::new(crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], signing_key.serialize_der().try_into().unwrap())?;
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let served = tokio::spawn(async move {
            let (socket, _) = listener.accept().await.unwrap();
            let stream = TlsAcceptor::from(Arc::new(server)).accept(socket).await?;
            anyhow::Ok(stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec))
        });
        let access = Access::new(pairs[trusted].cert.der().clone(), "t")?;
        access.secure(TcpStream::connect(&address).await?, &address).await?;
        assert_eq!(served.await??.as_deref(), Some(&b"h2"[..]));
        Ok(())
    }

    #[tokio::test]
    async fn only_the_hub_that_was_started_is_talked_to() {
        connects(0).await.unwrap();
        let error = connects(1).await.unwrap_err();
        assert!(format!("{error:#}").contains("certificate"), "{error:#}");
    }

    #[test]
    fn the_token_is_in_the_header() {
        let pair = generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let access = Access::new(pair.cert.der().clone(), "a.b.c").unwrap();
        assert_eq!(access.authorization(), "Bearer a.b.c");
    }
}
