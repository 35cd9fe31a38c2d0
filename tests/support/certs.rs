//! Certificate authorities and certificates for the tests, and clients that use them.

use std::{
    fs, io,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use rialto::{config::Config, proto::user::user_service_client::UserServiceClient};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ALL_VERSIONS, ClientConfig, RootCertStore, SupportedProtocolVersion,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Error, Identity};

use super::{Client, soon};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A certificate and its key, as PEM.
#[derive(Clone)]
pub struct Pair {
    pub cert: String,
    pub key: String,
}

pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// For `localhost` and 127.0.0.1.
    pub fn server(&self) -> Pair {
        self.sign(&server())
    }

    pub fn client(&self, name: &str) -> Pair {
        self.sign(&client(name))
    }

    /// A client certificate that expired yesterday.
    pub fn expired(&self, name: &str) -> Pair {
        let mut params = client(name);
        params.not_after = (SystemTime::now() - DAY).into();
        self.sign(&params)
    }

    fn sign(&self, params: &CertificateParams) -> Pair {
        let key = KeyPair::generate().unwrap();
        Pair { cert: params.signed_by(&key, &self.0).unwrap().pem(), key: key.serialize_pem() }
    }
}

/// Self-signed.
pub fn self_signed(name: &str) -> Pair {
    let key = KeyPair::generate().unwrap();
    Pair { cert: client(name).self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
}

fn server() -> CertificateParams {
    let mut params = CertificateParams::new(["localhost".into(), "127.0.0.1".into()]).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}

fn client(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

/// The TLS files of a server.
pub struct Files(TempDir);

impl Files {
    pub fn of(server: &Pair) -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.replace(server);
        files
    }

    pub fn replace(&self, server: &Pair) {
        fs::write(self.path("cert"), &server.cert).unwrap();
        fs::write(self.path("key"), &server.key).unwrap();
    }

    /// Requires a client certificate of this authority from now on.
    pub fn replace_authority(&self, authority: &Authority) {
        fs::write(self.path("ca"), authority.pem()).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// For a server in this process.
    pub fn configure(&self, config: &mut Config) {
        (config.tls.cert, config.tls.key) = (self.path("cert"), self.path("key"));
        if self.path("ca").exists() {
            config.tls.client_ca = self.path("ca");
        }
    }

    /// For a server in a process of its own.
    pub fn arguments(&self) -> Vec<String> {
        let flags = [("--tls-cert", "cert"), ("--tls-key", "key"), ("--tls-client-ca", "ca")];
        let there = flags.into_iter().filter(|(_, name)| self.path(name).exists());
        there.flat_map(|(flag, name)| [flag.to_owned(), self.path(name).to_str().unwrap().to_owned()]).collect()
    }
}

/// The TLS configuration of a client: the authorities that it trusts and its certificate.
pub fn trusting(authority: &Authority, shows: Option<&Pair>) -> Arc<ClientConfig> {
    speaking(authority, shows, ALL_VERSIONS, &[])
}

/// The same with these TLS versions and ALPN protocols.
pub fn speaking(
    authority: &Authority,
    shows: Option<&Pair>,
    versions: &[&'static SupportedProtocolVersion],
    protocols: &[&[u8]],
) -> Arc<ClientConfig> {
    let certificate = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate(&authority.pem())).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match shows {
        None => builder.with_no_client_auth(),
        Some(Pair { cert, key }) => {
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            builder.with_client_auth_cert(vec![certificate(cert)], key).unwrap()
        }
    };
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Arc::new(config)
}

pub async fn connect(address: SocketAddr, config: &Arc<ClientConfig>) -> io::Result<TlsStream<TcpStream>> {
    let stream = soon(TcpStream::connect(address)).await?;
    soon(TlsConnector::from(Arc::clone(config)).connect("localhost".try_into().unwrap(), stream)).await
}

/// Makes a call over its own connection, then closes it. (With TLS 1.3 a client learns only after its handshake that it
/// is refused.)
pub async fn ask(address: SocketAddr, config: &Arc<ClientConfig>) -> io::Result<()> {
    let mut stream = connect(address, config).await?;
    soon(stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")).await?;
    let mut answer = String::new();
    if soon(stream.read_to_string(&mut answer)).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    assert!(answer.starts_with("HTTP/1.1 415 "), "{answer}");
    Ok(())
}

/// An ordinary client.
pub async fn client_of(address: &str, ca: &str, shows: Option<&Pair>) -> Result<Client, Error> {
    Ok(UserServiceClient::new(channel_of(address, ca, shows).await?))
}

/// The connection of an ordinary client.
pub async fn channel_of(address: &str, ca: &str, shows: Option<&Pair>) -> Result<Channel, Error> {
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca)).domain_name("localhost");
    if let Some(Pair { cert, key }) = shows {
        tls = tls.identity(Identity::from_pem(cert, key));
    }
    let endpoint = Endpoint::from_shared(format!("https://{address}")).unwrap().tls_config(tls)?;
    soon(endpoint.connect()).await
}
