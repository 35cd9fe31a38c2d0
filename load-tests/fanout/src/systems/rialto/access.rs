//! Credentials for a hub with TLS and tokens.

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

/// The trusted certificate, and the token.
#[derive(Debug, Clone)]
pub struct Access {
    tls: Arc<ClientConfig>,
    authorization: HeaderValue,
}

impl Access {
    /// Creates the credentials for a hub with this certificate.
    pub fn new(certificate: CertificateDer<'static>, token: &str) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(certificate)?;
        // Explicit, because other users of rustls in this process have defaults of their own.
        let mut tls = ClientConfig::builder_with_provider(Arc::new(crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"h2".to_vec()];
        // Each connection stands for a new client: resumption would spare the hub half of the handshake.
        tls.resumption = Resumption::disabled();
        Ok(Self { tls: Arc::new(tls), authorization: HeaderValue::try_from(format!("Bearer {token}"))? })
    }

    /// Performs the TLS handshake with the hub at this address (`host:port`).
    pub async fn secure(&self, socket: TcpStream, address: &str) -> Result<TlsStream<TcpStream>> {
        let host = address.parse::<SocketAddr>().context("a hub with TLS must be addressed by its IP address")?.ip();
        Ok(TlsConnector::from(Arc::clone(&self.tls)).connect(ServerName::from(host), socket).await?)
    }

    /// The value of the `authorization` header of every call.
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

    /// Connects to a server that has the first of two certificates, trusting the one at this index.
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
    async fn only_the_trusted_certificate_is_accepted() {
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
