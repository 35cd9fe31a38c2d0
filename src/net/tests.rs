//! The peer that a request finds in its extensions.

use std::{convert::Infallible, fs, net::SocketAddr, sync::Arc, time::Duration};

use http::{Request, Response};
use hyper::body::Incoming;
use rcgen::{CertificateParams, DnType, KeyPair};
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

use super::*;
use crate::{caller::Peer, config, lifecycle::RequestHandle};

/// A server that answers with who it believes the caller to be.
struct Mirror {
    address: SocketAddr,
    tasks: Tasks,
    accept: JoinHandle<()>,
}

impl Mirror {
    async fn start(tls: Option<Tls>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = tower::service_fn(|request: Request<Incoming>| async move {
            let Peer { address, certificate } = request.extensions().get::<Peer>().unwrap();
            let number = request.extensions().get::<RequestHandle>().unwrap().id().number;
            if request.uri().path() == "/never" {
                std::future::pending::<()>().await;
            }
            let body = axum::body::Body::from(format!("[{address} {certificate:?}]#{number}"));
            Ok::<_, Infallible>(Response::new(body))
        });
        let tasks = Tasks::default();
        let accept = tokio::spawn(serve(
            listener,
            service,
            config::Http::default(),
            tls,
            Duration::from_secs(10),
            tasks.clone(),
        ));
        Self { address, tasks, accept }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn end(self) {
        self.tasks.drain.cancel();
        self.tasks.connections.close();
        self.tasks.connections.drain();
        self.accept.await.unwrap();
        self.tasks.connections.wait().await;
    }
}

/// Two requests on one connection, and what the server answers until it has closed it in the orderly way.
async fn asked_twice(mut io: impl AsyncRead + AsyncWrite + Unpin) -> String {
    let request = |last| format!("GET / HTTP/1.1\r\nHost: here\r\nConnection: {last}\r\n\r\n");
    io.write_all((request("keep-alive") + &request("close")).as_bytes()).await.unwrap();
    let mut answer = String::new();
    io.read_to_string(&mut answer).await.unwrap();
    answer
}

/// A certificate that is its own authority, and its key; both as PEM.
fn named(name: &str) -> (String, String) {
    let mut params = CertificateParams::new(["localhost".into()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

/// A server that takes clients with this certificate, and what connects with it.
fn mutual(folder: &TempDir, client: &(String, String)) -> (Tls, TlsConnector) {
    let path = |name| folder.path().join(name);
    let server = named("server");
    for (name, text) in [("cert", &server.0), ("key", &server.1), ("ca", &client.0)] {
        fs::write(path(name), text).unwrap();
    }
    let tls = Tls::load(&TlsFiles { cert: path("cert"), key: path("key"), client_ca: Some(path("ca")) }).unwrap();
    let certificate = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate(&server.0)).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(
            vec![certificate(&client.0)],
            PrivateKeyDer::from_pem_slice(client.1.as_bytes()).unwrap(),
        )
        .unwrap();
    (tls, TlsConnector::from(Arc::new(config)))
}

#[tokio::test]
async fn every_request_knows_the_address_it_comes_from() {
    let mirror = Mirror::start(None).await;
    let answer = asked_twice(mirror.connect().await).await;
    assert_eq!(answer.matches("[127.0.0.1 None]").count(), 2, "{answer}");
    mirror.end().await;
}

#[tokio::test]
async fn requests_of_one_http_1_connection_have_handles_of_their_own() {
    let mirror = Mirror::start(None).await;
    let answer = asked_twice(mirror.connect().await).await;
    assert!(answer.contains("]#1") && answer.contains("]#2"), "{answer}");
    mirror.end().await;
}

#[tokio::test]
async fn aborting_an_http_1_request_closes_its_connection() {
    let mirror = Mirror::start(None).await;
    let mut io = mirror.connect().await;
    io.write_all(b"GET /never HTTP/1.1\r\nHost: here\r\n\r\n").await.unwrap();
    // Reaches the request whether it has begun or not.
    mirror.tasks.requests.abort();
    let mut answer = String::new();
    io.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "");
    mirror.end().await;
}

#[tokio::test]
async fn every_request_knows_whom_its_connections_certificate_names() {
    let folder = tempfile::tempdir().unwrap();
    let (tls, connector) = mutual(&folder, &named("ada"));
    let mirror = Mirror::start(Some(tls)).await;
    let io = connector.connect("localhost".try_into().unwrap(), mirror.connect().await).await.unwrap();
    let answer = asked_twice(io).await;
    assert_eq!(answer.matches("[127.0.0.1 Some(\"ada\")]").count(), 2, "{answer}");
    mirror.end().await;
}

#[tokio::test]
async fn a_certificate_that_names_nobody_is_let_in_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let (tls, connector) = mutual(&folder, &named("a\nb"));
    let mirror = Mirror::start(Some(tls)).await;
    let mut io = connector.connect("localhost".try_into().unwrap(), mirror.connect().await).await.unwrap();
    // The server may have closed it already.
    _ = io.write_all(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n").await;
    let mut answer = String::new();
    _ = io.read_to_string(&mut answer).await;
    assert_eq!(answer, "");
    drop(io);
    mirror.end().await;
}

#[tokio::test]
async fn a_drain_waits_for_no_handshake() {
    let folder = tempfile::tempdir().unwrap();
    let (tls, _) = mutual(&folder, &named("ada"));
    let mirror = Mirror::start(Some(tls)).await;
    let mut silent = mirror.connect().await;
    while mirror.tasks.connections.is_empty() {
        tokio::task::yield_now().await;
    }
    let began = tokio::time::Instant::now();
    mirror.end().await;
    assert!(began.elapsed() < Duration::from_secs(5), "it took {:?}", began.elapsed());
    assert_eq!(silent.read(&mut [0]).await.unwrap(), 0);
}
