//! Handshakes that never finish, and too many connections.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};
use tokio_rustls::rustls::ClientConnection;

use crate::support::{
    Hub,
    certs::{Authority, Files, ask, trusting},
    client,
    process::Process,
    soon,
};

/// Sockets at once.
const SLOW: usize = 2_000;

/// Waits until the server has closed it, by FIN or RST.
async fn closed(socket: &mut TcpStream) {
    while soon(socket.read(&mut [0; 64])).await.is_ok_and(|read| read > 0) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_handshakes_are_cut_off_and_delay_no_other() {
    _ = rlimit::increase_nofile_limit(u64::MAX);
    let (data, authority) = (tempfile::tempdir().unwrap(), Authority::new("ours"));
    let files = Files::of(&authority.server());
    let arguments: Vec<_> =
        files.arguments().into_iter().chain(["--set".into(), "tls.handshake_seconds=2".into()]).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let process = Process::serve_with(data.path(), &arguments).await;
    let address: SocketAddr = process.address().parse().unwrap();
    let config = trusting(&authority, None);
    ask(address, &config).await.unwrap();
    let before = process.memory();

    let mut hello = Vec::new();
    let mut session = ClientConnection::new(Arc::clone(&config), "localhost".try_into().unwrap()).unwrap();
    session.write_tls(&mut hello).unwrap();
    hello.truncate(hello.len() / 2);

    let mut slow = JoinSet::new();
    for n in 0..SLOW {
        let mut socket = soon(TcpStream::connect(address)).await.unwrap();
        if n % 2 == 0 {
            socket.write_all(&hello).await.unwrap();
        }
        slow.spawn(async move {
            let began = Instant::now();
            closed(&mut socket).await;
            began.elapsed()
        });
    }
    let (mut served, mut slowest) = (0, Duration::ZERO);
    loop {
        tokio::select! {
            biased;
            ended = slow.join_next() => match ended {
                Some(took) => slowest = slowest.max(took.unwrap()),
                None => break,
            },
            answer = ask(address, &config) => {
                answer.unwrap();
                served += 1;
            }
        }
    }
    assert!(served > 0, "somebody was served meanwhile");
    assert!(slowest < Duration::from_secs(8), "the slowest was closed after {slowest:?}");
    let grown = process.peak_memory().zip(before).map(|(peak, before)| peak.saturating_sub(before));
    eprintln!(
        "{SLOW} slow handshakes: closed within {slowest:?}, {served} others served, the process grew by {grown:?} bytes at most"
    );
    assert!(grown.is_none_or(|grown| grown < 64 << 20), "{grown:?}");
    process.kill().await;
}

/// Connects; the server accepts it and waits for its first byte.
async fn is_let_in(socket: &mut TcpStream) -> bool {
    _ = socket.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    soon(socket.read(&mut [0; 512])).await.is_ok_and(|read| read > 0)
}

#[tokio::test]
async fn the_connections_of_an_address_are_limited() {
    const MOST: usize = 3;
    let hub = Hub::start_with(|config| {
        config.http.max_connections_per_address = MOST;
        config.http.limit_loopback = true;
    })
    .await;
    let mut held = Vec::new();
    for _ in 0..MOST {
        let mut socket = TcpStream::connect(hub.address()).await.unwrap();
        assert!(is_let_in(&mut socket).await);
        held.push(socket);
    }
    for _ in 0..MOST {
        assert!(!is_let_in(&mut TcpStream::connect(hub.address()).await.unwrap()).await);
    }
    assert_eq!(hub.counts().await.connections, MOST);
    drop(held.pop());
    hub.counts_become(|counts| counts.connections < MOST).await;
    assert!(is_let_in(&mut TcpStream::connect(hub.address()).await.unwrap()).await);
}

#[tokio::test]
async fn loopback_connections_are_limited_only_if_configured() {
    let hub = Hub::start_with(|config| config.http.max_connections_per_address = 1).await;
    let _clients = [client(&hub.address().to_string()).await, client(&hub.address().to_string()).await];
    hub.counts_become(|counts| counts.connections == 2).await;
}

#[tokio::test]
async fn a_handshake_counts_as_a_connection_from_its_start() {
    let authority = Authority::new("ours");
    let files = Files::of(&authority.server());
    let hub = Hub::start_with(|config| {
        files.configure(config);
        config.http.max_connections = 1;
    })
    .await;
    let silent = TcpStream::connect(hub.address()).await.unwrap();
    hub.counts_become(|counts| counts.connections == 1).await;
    ask(hub.address(), &trusting(&authority, None)).await.unwrap_err();
    drop(silent);
    soon(async { while ask(hub.address(), &trusting(&authority, None)).await.is_err() {} }).await;
}
