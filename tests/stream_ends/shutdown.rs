//! Shutdown: streams end with UNAVAILABLE after everything accepted is delivered, and no client delays it beyond its deadline.

use std::{
    fs::{File, TryLockError},
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use rialto::proto::user::{ChatMessage, ListUsersRequest};
use tokio::{io::AsyncReadExt, net::TcpStream, runtime::Handle, sync::oneshot, task::JoinHandle};
use tonic::{Code, Status};

use super::{creating, unread::fill};
use crate::support::{Chat, Hub, client, is_draining, keyed, process::Process, raw::Raw, rejected, said, soon, texts};

/// The drain deadline in seconds, in tests whose clients hold the drain.
const DRAIN: u64 = 2;

/// Enough on a busy machine, and far below the 22 seconds after which the default deadline drops what is left.
const A_MOMENT: Duration = Duration::from_secs(10);

/// Waits for something that no client may delay.
async fn in_a_moment<F: Future>(what: F) -> F::Output {
    let began = Instant::now();
    let output = soon(what).await;
    assert!(began.elapsed() < A_MOMENT, "it took {:?}", began.elapsed());
    output
}

/// Waits until connections to this address are refused.
async fn refused(address: SocketAddr) {
    let refused = async {
        loop {
            match TcpStream::connect(address).await {
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => return,
                _ => tokio::task::yield_now().await,
            }
        }
    };
    soon(refused).await;
}

/// Waits until no task of the test's runtime is left, and no thread holds the data folder.
async fn everything_is_gone(folder: &Path) {
    let lock = File::open(folder.join("rialto.lock")).unwrap();
    let gone = async {
        while Handle::current().metrics().num_alive_tasks() > 0 {
            tokio::task::yield_now().await;
        }
        loop {
            match lock.try_lock() {
                Ok(()) => return,
                Err(TryLockError::WouldBlock) => tokio::task::yield_now().await,
                Err(TryLockError::Error(error)) => panic!("{error}"),
            }
        }
    };
    let done = tokio::time::timeout(A_MOMENT, gone).await;
    assert!(done.is_ok(), "{} tasks are left", Handle::current().metrics().num_alive_tasks());
}

#[tokio::test]
async fn shutdown_ends_streams_with_unavailable_and_refuses_new_connections() {
    let hub = Hub::start().await;
    let address = hub.address();
    let mut chat = hub.chat("den,attic").await;
    let mut nowhere = hub.chat("").await;
    let mut raw = Raw::connect(address).await;
    let mut call = raw.chat("den").await;
    chat.say("den", "ada", "hello").await;
    chat.next().await;

    let folder = in_a_moment(hub.shutdown()).await;
    refused(address).await;
    for chat in [&mut chat, &mut nowhere] {
        let (messages, end) = chat.rest().await;
        assert_eq!((messages.len(), end.unwrap_err().code()), (1, Code::Unavailable));
        assert!(is_draining(&messages[0]));
    }
    let (messages, end) = call.response.rest().await;
    assert_eq!((texts(&messages), end.unwrap().code()), (vec!["hello", ""], Code::Unavailable));
    assert!(is_draining(&messages[1]));
    raw.closed().await;
    drop((chat, nowhere, raw, call));
    everything_is_gone(folder.path()).await;
}

#[tokio::test]
async fn no_new_connection_is_accepted_during_a_drain() {
    let hub = Hub::start().await;
    let address = hub.address();
    let mut raw = Raw::connect(address).await;
    let _unread = raw.chat("den").await;
    fill(&mut hub.chat("den").await).await;
    let mut chat = hub.chat("den").await;
    let stopping = tokio::spawn(hub.shutdown());
    let (_, end) = chat.rest().await;
    assert_eq!(end.unwrap_err().code(), Code::Unavailable);
    refused(address).await;
    assert!(!stopping.is_finished(), "the unread stream still holds the drain");
    raw.hang_up().await;
    in_a_moment(stopping).await.unwrap();
}

/// Publishes as fast as it can until its stream ends; returns what it received, the status, and how many messages it sent.
async fn talk(chat: Chat, began: oneshot::Sender<()>) -> (Vec<ChatMessage>, Status, usize) {
    let (sender, mut receiver) = chat.split();
    let send: JoinHandle<usize> = tokio::spawn(async move {
        let mut sent = 0;
        while sender.send(keyed("den", "ada", &sent.to_string(), &sent.to_string())).await.is_ok() {
            sent += 1;
        }
        sent
    });
    let mut began = Some(began);
    let mut heard = Vec::new();
    loop {
        match soon(receiver.message()).await {
            Ok(message) => {
                let message = message.expect("no half-close, no OK");
                // Later messages are rejected until the stream ends.
                match &message.event {
                    None => heard.push(message),
                    Some(_) => assert!(is_draining(&message) || rejected(&message).reason == "DRAINING"),
                }
            }
            Err(status) => return (heard, status, soon(send).await.unwrap()),
        }
        if heard.len() >= 200
            && let Some(began) = began.take()
        {
            began.send(()).unwrap();
        }
    }
}

#[tokio::test]
async fn a_sender_receives_everything_accepted_before_it_ends_with_unavailable() {
    let hub = Hub::start().await;
    let (began, talking) = oneshot::channel();
    let talker = tokio::spawn(talk(hub.chat("den").await, began));
    soon(talking).await.unwrap();
    let folder = in_a_moment(hub.shutdown()).await;
    let (heard, end, sent) = soon(talker).await.unwrap();
    assert_eq!(end.code(), Code::Unavailable, "{end:?}");
    assert!(texts(&heard).into_iter().eq((0..heard.len()).map(|n| n.to_string())), "in order, and none left out");

    // A message is in the log exactly if publishing it again is a duplicate.
    let hub = Hub::start_in(folder, |_| {}).await;
    let mut chat = hub.chat("den").await;
    for n in 0..sent.min(heard.len() + 200) {
        chat.send(keyed("den", "ada", &n.to_string(), "again")).await;
        let accepted = chat.next().await.event.is_some();
        assert_eq!(accepted, n < heard.len(), "message {n} of {sent}, of which {} came back", heard.len());
    }
}

#[tokio::test]
async fn a_listener_receives_everything_accepted_before_it_ends_with_unavailable() {
    let hub = Hub::start().await;
    let mut listener = hub.chat("den").await;
    let listening = tokio::spawn(async move { listener.rest().await });
    let (began, talking) = oneshot::channel();
    let talker = tokio::spawn(talk(hub.chat("den").await, began));
    soon(talking).await.unwrap();
    in_a_moment(hub.shutdown()).await;
    let (accepted, ..) = soon(talker).await.unwrap();
    let (mut heard, end) = soon(listening).await.unwrap();
    assert_eq!(end.unwrap_err().code(), Code::Unavailable);
    let before = heard.len();
    heard.retain(|message| !is_draining(message));
    assert_eq!(before - heard.len(), 1, "told once");
    assert_eq!(heard.len(), accepted.len(), "as many as the sender was told are accepted");
    assert!(heard == accepted, "the same ones, in the same order");
}

#[tokio::test]
async fn a_client_that_refuses_to_read_does_not_hold_the_shutdown_beyond_its_deadline() {
    let hub = Hub::start_with(|config| config.drain_seconds = DRAIN).await;
    let mut raw = Raw::connect(hub.address()).await;
    let mut unread = raw.chat("den").await;
    // This one does not even read from TCP, so it never learns of the drain.
    let mut frozen = Raw::connect(hub.address()).await;
    let mut deaf = frozen.chat("den").await;
    frozen.freeze();
    fill(&mut hub.chat("den").await).await;
    in_a_moment(hub.shutdown()).await;
    soon(raw.closed()).await;
    let end = unread.response.end().await;
    assert_ne!(end.map(|status| status.code()).ok(), Some(Code::Ok), "a stream that was cut off is not complete");
    frozen.hang_up().await;
    assert!(deaf.response.end().await.is_err());
}

#[tokio::test]
async fn silent_connections_do_not_hold_the_shutdown() {
    let hub = Hub::start().await;
    let mut silent = TcpStream::connect(hub.address()).await.unwrap();
    let mut idle = Raw::connect(hub.address()).await;
    hub.counts_become(|counts| counts.connections == 2).await;
    in_a_moment(hub.shutdown()).await;
    soon(idle.closed()).await;
    assert_eq!(soon(silent.read(&mut [0])).await.unwrap_or(0), 0, "closed");
}

#[tokio::test]
async fn create_users_in_progress_at_the_shutdown_creates_no_users() {
    let hub = Hub::start().await;
    let mut raw = Raw::connect(hub.address()).await;
    let mut call = creating(&mut raw).await;
    let folder = in_a_moment(hub.shutdown()).await;
    assert_eq!(call.response.end().await.unwrap().code(), Code::Unavailable, "told, and at once");
    let hub = Hub::start_in(folder, |_| {}).await;
    let mut list = hub.client().await.list_users(ListUsersRequest::default()).await.unwrap().into_inner();
    assert_eq!(soon(list.message()).await.unwrap(), None);
}

#[tokio::test]
async fn a_dropped_server_leaves_nothing_running() {
    let hub = Hub::start().await;
    let mut raw = Raw::connect(hub.address()).await;
    let _idle = raw.chat("den,attic").await;
    let _unread = raw.chat("den").await;
    let _creating = creating(&mut raw).await;
    let _silent = TcpStream::connect(hub.address()).await.unwrap();
    let mut chat = hub.chat("den").await;
    fill(&mut chat).await;
    chat.send(keyed("den", "ada", "key", "accepted")).await;
    let accepted = chat.next().await;

    let address = hub.address();
    let folder = hub.drop_server();
    let (_, end) = chat.rest().await;
    assert!(end.is_err(), "nobody takes it for the end of the chat");
    soon(raw.closed()).await;
    refused(address).await;
    drop((raw, chat));
    everything_is_gone(folder.path()).await;

    let hub = Hub::start_in(folder, |_| {}).await;
    let mut chat = hub.chat("den").await;
    chat.send(keyed("den", "ada", "key", "again")).await;
    assert_eq!(chat.next().await.seq, accepted.seq, "what was accepted is in the log");
}

#[tokio::test]
async fn sigterm_ends_the_process_with_0_although_streams_are_open() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::serve(folder.path()).await;
    let mut raw = Raw::connect(process.address().parse().unwrap()).await;
    let mut call = raw.chat("den").await;
    let mut chat = Chat::open(&mut client(process.address()).await, Some("den")).await.unwrap();
    let _silent = TcpStream::connect(process.address()).await.unwrap();
    chat.say("den", "ada", "hello").await;
    chat.next().await;
    let status = in_a_moment(process.terminate()).await;
    assert_eq!(status.code(), Some(0));
    assert_eq!(chat.rest().await.1.unwrap_err().code(), Code::Unavailable);
    let (messages, end) = call.response.rest().await;
    assert_eq!((texts(&messages), end.unwrap().code()), (vec!["hello", ""], Code::Unavailable));
}

#[tokio::test]
async fn a_second_signal_ends_the_process_at_once() {
    for first in ["TERM", "INT"] {
        let folder = tempfile::tempdir().unwrap();
        let process = Process::serve(folder.path()).await;
        let mut raw = Raw::connect(process.address().parse().unwrap()).await;
        let mut unread = raw.chat("den").await;
        fill(&mut Chat::open(&mut client(process.address()).await, Some("den")).await.unwrap()).await;
        unread.request.say(&said("den", "ada", "goodbye")).await;
        process.signal(first).await;
        // The drain lasts as long as the unread stream is open.
        refused(process.address().parse().unwrap()).await;
        let status = in_a_moment(process.terminate()).await;
        assert!(!status.success(), "what was left is not known to be delivered: {status}");
    }
}
