//! TLS: which clients are accepted by which certificate, and what changes while the server runs.

mod dev;
mod identity;
mod limits;

use std::{fs, io, net::SocketAddr, sync::Arc};

use rialto::{
    config::{Config, Tls},
    proto::user::{CreateUserRequest, GetUserRequest},
    server::{self, Counts},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::oneshot,
};
use tokio_rustls::{
    client::TlsStream,
    rustls::{
        ClientConfig, HandshakeKind, ProtocolVersion, SupportedProtocolVersion,
        version::{TLS12, TLS13},
    },
};
use tonic::Code;

use crate::support::{
    Chat, Hub,
    certs::{Authority, Files, Pair, ask, client_of, connect, self_signed, speaking, trusting},
    is_draining,
    process::Process,
    raw::Raw,
    said, soon, texts,
};

/// A server with a certificate of the first authority that accepts clients with certificates of the second.
async fn mutual(authority: &Authority, clients: &Authority) -> (Hub, Files) {
    let files = Files::of(&authority.server());
    files.replace_authority(clients);
    (Hub::start_with(|config| files.configure(config)).await, files)
}

#[tokio::test]
async fn a_server_without_its_files_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let files = ["no.pem", "no-key.pem"].map(|name| folder.path().join(name));
    let config = Config {
        listen: "127.0.0.1:0".parse().unwrap(),
        data: folder.path().join("data"),
        tls: Tls { cert: files[0].clone(), key: files[1].clone(), ..Tls::default() },
        ..Config::default()
    };
    let error = server::start(&config).await.unwrap_err().to_string();
    assert!(error.contains("no.pem cannot be read"), "{error}");
    assert!(!config.data.exists(), "nothing else was begun");
}

#[tokio::test]
async fn both_tls_versions_and_both_http_versions_are_served() {
    let authority = Authority::new("ours");
    let files = Files::of(&authority.server());
    let hub = Hub::start_with(|config| files.configure(config)).await;
    let versions: [(&'static SupportedProtocolVersion, _); 2] =
        [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)];
    for (version, name) in versions {
        let config = speaking(&authority, None, &[version], &[b"http/1.1", b"h2"]);
        let stream = connect(hub.address(), &config).await.unwrap();
        let session = stream.get_ref().1;
        assert_eq!((session.protocol_version(), session.alpn_protocol()), (Some(name), Some(&b"h2"[..])));
        let mut raw = Raw::over(stream, hub.address()).await;
        let mut call = raw.chat("den").await;
        call.request.say(&said("den", "ada", "in secret")).await;
        assert_eq!(call.response.next().await.text, "in secret");

        let config = speaking(&authority, None, &[version], &[b"http/1.1"]);
        ask(hub.address(), &config).await.unwrap();
    }
    let mut client = client_of(&hub.address().to_string(), &authority.pem(), None).await.unwrap();
    client.create_user(CreateUserRequest { username: "ada".into(), ..CreateUserRequest::default() }).await.unwrap();
}

#[tokio::test]
async fn a_client_without_tls_is_not_served() {
    let authority = Authority::new("ours");
    let files = Files::of(&authority.server());
    let hub = Hub::start_with(|config| files.configure(config)).await;
    for greeting in ["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"] {
        let mut socket = TcpStream::connect(hub.address()).await.unwrap();
        socket.write_all(greeting.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        _ = soon(socket.read_to_end(&mut answer)).await;
        // At most a TLS alert (RFC 8446, section 5.1).
        assert!(answer.len() <= 7 && answer.first().is_none_or(|kind| *kind == 21), "{answer:?}");
    }
    hub.counts_become(|counts| *counts == Counts::default()).await;
    ask(hub.address(), &trusting(&authority, None)).await.unwrap();
}

/// An HTTP/2 connection without a request, until its orderly end: GOAWAY, then the end of TLS, not only of TCP, which an attacker
/// could forge.
async fn idle(mut io: TlsStream<TcpStream>, ready: oneshot::Sender<()>) -> io::Result<()> {
    io.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await?;
    let (mut head, mut ready, mut kinds) = ([0; 9], Some(ready), Vec::new());
    while soon(io.read(&mut head[..1])).await? > 0 {
        io.read_exact(&mut head[1..]).await?;
        let mut payload = vec![0; usize::from(u16::from_be_bytes([head[1], head[2]]))];
        io.read_exact(&mut payload).await?;
        kinds.push(head[3]);
        if head[3] == 6 && head[4] == 0 {
            // A PING is to be answered.
            head[4] = 1;
            io.write_all(&[&head[..], &payload].concat()).await?;
        }
        ready.take().map(|ready| ready.send(()));
    }
    assert_eq!(kinds.last(), Some(&7), "GOAWAY: {kinds:?}");
    Ok(())
}

#[tokio::test]
async fn a_drain_ends_streams_and_connections_gently() {
    let authority = Authority::new("ours");
    let files = Files::of(&authority.server());
    let hub = Hub::start_with(|config| {
        files.configure(config);
        // The drain deadline is longer than this test waits, so the connection must end by itself.
        config.drain_seconds = 300;
    })
    .await;
    let address = hub.address();
    let mut client = client_of(&address.to_string(), &authority.pem(), None).await.unwrap();
    let mut chat = Chat::open(&mut client, Some("den")).await.unwrap();
    let (ready, is_ready) = oneshot::channel();
    let idle = tokio::spawn(idle(connect(address, &trusting(&authority, None)).await.unwrap(), ready));
    is_ready.await.unwrap();
    let began = std::time::Instant::now();
    hub.shutdown().await;
    assert!(began.elapsed().as_secs() < 10, "it took {:?}", began.elapsed());
    let (messages, end) = chat.rest().await;
    assert_eq!(end.unwrap_err().code(), Code::Unavailable);
    assert!(messages.len() == 1 && is_draining(&messages[0]));
    idle.await.unwrap().unwrap();
}

/// Waits until new connections see a certificate of this authority.
async fn served_by(address: SocketAddr, authority: &Authority) {
    let config = trusting(authority, None);
    let served = async { while ask(address, &config).await.is_err() {} };
    soon(served).await;
}

/// A stream opened before the certificate changes stays open.
async fn survives(address: SocketAddr, files: &Files, old: &Authority, replaced: impl AsyncFnOnce()) {
    let new = Authority::new("new");
    let mut client = client_of(&address.to_string(), &old.pem(), None).await.unwrap();
    let mut chat = Chat::open(&mut client, Some("den")).await.unwrap();
    chat.say("den", "ada", "before").await;
    files.replace(&new.server());
    replaced().await;
    served_by(address, &new).await;
    assert!(ask(address, &trusting(old, None)).await.is_err(), "nobody is shown the old one");
    chat.say("den", "ada", "after").await;
    assert_eq!(texts(&chat.take(2).await), ["before", "after"]);
}

#[tokio::test]
async fn a_certificate_that_changes_is_shown_to_new_connections_and_ends_none() {
    let old = Authority::new("old");
    let files = Files::of(&old.server());
    let hub = Hub::start_with(|config| {
        files.configure(config);
        config.tls.reload_seconds = 1;
    })
    .await;
    survives(hub.address(), &files, &old, async || {}).await;
}

#[tokio::test]
async fn sighup_reloads_the_certificate_and_keeps_it_if_the_new_one_is_broken() {
    let (data, old) = (tempfile::tempdir().unwrap(), Authority::new("old"));
    let files = Files::of(&old.server());
    let arguments: Vec<_> =
        files.arguments().into_iter().chain(["--set".into(), "tls.reload_seconds=3600".into()]).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let mut process = Process::serve_with(data.path(), &arguments).await;
    let address = process.address().parse().unwrap();
    let whole = fs::read_to_string(files.path("cert")).unwrap();
    for broken in ["", "garbage", &whole[..whole.len() / 2], &Authority::new("other").server().cert] {
        fs::write(files.path("cert"), broken).unwrap();
        process.signal("HUP").await;
        process.logged("new connections use the previous one").await;
        ask(address, &trusting(&old, None)).await.unwrap();
    }
    survives(address, &files, &old, async || process.signal("HUP").await).await;
    assert!(process.terminate().await.success());
}

#[tokio::test]
async fn only_clients_with_a_valid_certificate_are_served() {
    let (authority, clients) = (Authority::new("ours"), Authority::new("clients"));
    let (hub, _files) = mutual(&authority, &clients).await;
    let ada = clients.client("ada");
    let mut client = client_of(&hub.address().to_string(), &authority.pem(), Some(&ada)).await.unwrap();
    let mut chat = Chat::open(&mut client, Some("den")).await.unwrap();
    let before = hub.counts_become(|counts| counts.chats == 1).await;

    let others: [(&str, Option<Pair>); 5] = [
        ("none", None),
        ("of another authority", Some(Authority::new("clients").client("ada"))),
        ("of the server's authority", Some(authority.client("ada"))),
        ("expired", Some(clients.expired("ada"))),
        ("self-signed", Some(self_signed("ada"))),
    ];
    for (what, shown) in others {
        for version in [&TLS12, &TLS13] {
            let config = speaking(&authority, shown.as_ref(), &[version], &[]);
            ask(hub.address(), &config).await.expect_err(what);
        }
        let mut refused = match client_of(&hub.address().to_string(), &authority.pem(), shown.as_ref()).await {
            Ok(client) => client,
            Err(_) => continue,
        };
        let request = CreateUserRequest { username: "eve".into(), ..CreateUserRequest::default() };
        refused.create_user(request).await.expect_err(what);
    }
    hub.counts_become(|counts| *counts == before).await;
    chat.say("den", "ada", "still here").await;
    assert_eq!(chat.next().await.text, "still here");
    let eve = GetUserRequest { username: "eve".into(), ..GetUserRequest::default() };
    assert_eq!(client.get_user(eve).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_certificate_without_a_name_is_not_enough() {
    let (authority, clients) = (Authority::new("ours"), Authority::new("clients"));
    let (hub, _files) = mutual(&authority, &clients).await;
    for (name, good) in [("ada", true), ("", false), ("a\nb", false), (&"x".repeat(129), false)] {
        let served = ask(hub.address(), &trusting(&authority, Some(&clients.client(name)))).await;
        assert_eq!(served.is_ok(), good, "{name:?}: {served:?}");
    }
}

/// Makes a call; returns whether the TLS session was resumed.
async fn asked(address: SocketAddr, config: &Arc<ClientConfig>) -> io::Result<HandshakeKind> {
    let mut stream = connect(address, config).await?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
    soon(stream.read_to_end(&mut Vec::new())).await?;
    Ok(stream.get_ref().1.handshake_kind().unwrap())
}

#[tokio::test]
async fn clients_of_a_replaced_authority_cannot_reconnect() {
    let (authority, before, after) = (Authority::new("ours"), Authority::new("before"), Authority::new("after"));
    let (hub, files) = mutual(&authority, &before).await;
    let (ada, bob) = (before.client("ada"), after.client("bob"));
    let configs = [&TLS12, &TLS13].map(|version| speaking(&authority, Some(&ada), &[version], &[]));
    for config in &configs {
        for _ in 0..2 {
            assert_eq!(asked(hub.address(), config).await.unwrap(), HandshakeKind::Full, "nothing is resumed");
        }
    }
    let bob = trusting(&authority, Some(&bob));
    ask(hub.address(), &bob).await.unwrap_err();

    files.replace_authority(&after);
    hub.reload();
    soon(async { while ask(hub.address(), &bob).await.is_err() {} }).await;
    for config in &configs {
        asked(hub.address(), config).await.unwrap_err();
    }
}

#[tokio::test]
async fn without_client_certificates_sessions_are_resumed() {
    let authority = Authority::new("ours");
    let files = Files::of(&authority.server());
    let hub = Hub::start_with(|config| files.configure(config)).await;
    let config = trusting(&authority, None);
    asked(hub.address(), &config).await.unwrap();
    assert_eq!(asked(hub.address(), &config).await.unwrap(), HandshakeKind::Resumed);
}
