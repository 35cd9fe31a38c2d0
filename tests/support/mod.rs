//! Shared by the tests: a server, its clients, and ways to wait without sleeping.

pub mod bare;
pub mod certs;
pub mod logs;
pub mod process;
pub mod raw;
pub mod resuming;
pub mod rooms;
pub mod siege;
pub mod size;
pub mod tokens;
pub mod wire;

use std::{future::Future, path::Path, time::Duration};

use rialto::{
    config::Config,
    metrics::Metrics,
    proto::user::{ChatMessage, chat_message::Event, user_service_client::UserServiceClient},
    server::{self, Counts, Server},
};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request, Status, Streaming,
    transport::{Channel, Endpoint},
};

pub type Client = UserServiceClient<Channel>;

/// The limit of every wait; only a broken test reaches it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for something that must happen.
pub async fn soon<F: Future>(what: F) -> F::Output {
    tokio::time::timeout(PATIENCE, what).await.expect("this should have happened long ago")
}

/// A server in this process, on a free port and its own folder.
pub struct Hub {
    server: Server,
    folder: TempDir,
}

impl Hub {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// Starts it with changed settings.
    pub async fn start_with(adjust: impl FnOnce(&mut Config)) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), adjust).await
    }

    /// Starts it on the data of an earlier server.
    pub async fn start_in(folder: TempDir, adjust: impl FnOnce(&mut Config)) -> Self {
        let mut config =
            Config { listen: "127.0.0.1:0".parse().unwrap(), data: folder.path().into(), ..Config::default() };
        adjust(&mut config);
        logs::keep();
        let server = server::start(&config).await.unwrap();
        Self { server, folder }
    }

    pub fn address(&self) -> std::net::SocketAddr {
        self.server.address()
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A client with a connection of its own.
    pub async fn client(&self) -> Client {
        client(&self.address().to_string()).await
    }

    /// Opens a Chat stream in these rooms (as the metadata names them) on its own connection; it has joined when this returns.
    pub async fn chat(&self, rooms: &str) -> Chat {
        Chat::open(&mut self.client().await, Some(rooms)).await.unwrap()
    }

    pub async fn counts(&self) -> Counts {
        self.server.counts().await
    }

    pub fn reload(&self) {
        self.server.reload();
    }

    pub fn metrics(&self) -> &Metrics {
        self.server.metrics()
    }

    /// Waits until the server's counts satisfy the condition.
    pub async fn counts_become(&self, wanted: impl Fn(&Counts) -> bool) -> Counts {
        let reached = async {
            loop {
                let counts = self.counts().await;
                if wanted(&counts) {
                    return counts;
                }
                tokio::task::yield_now().await;
            }
        };
        match tokio::time::timeout(PATIENCE, reached).await {
            Ok(counts) => counts,
            Err(_) => panic!("the server still holds {:?}", self.counts().await),
        }
    }

    /// Shuts it down and returns its data folder. Panics if an actor has failed.
    pub async fn shutdown(self) -> TempDir {
        soon(self.server.shutdown()).await.unwrap();
        self.folder
    }

    /// Drops it without a shutdown.
    pub fn drop_server(self) -> TempDir {
        self.folder
    }
}

pub async fn client(address: &str) -> Client {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    UserServiceClient::new(soon(endpoint.connect()).await.unwrap())
}

/// One Chat stream.
pub struct Chat {
    sender: Option<mpsc::Sender<ChatMessage>>,
    pub receiver: Streaming<ChatMessage>,
}

impl Chat {
    /// Opens a stream; it has joined its rooms when this returns. `None` omits the metadata.
    pub async fn open(client: &mut Client, rooms: Option<&str>) -> Result<Self, Status> {
        let (sender, messages) = mpsc::channel(16);
        let mut request = Request::new(ReceiverStream::new(messages));
        if let Some(rooms) = rooms {
            request.metadata_mut().insert("rialto-rooms", rooms.parse().unwrap());
        }
        let receiver = soon(client.chat(request)).await?.into_inner();
        Ok(Self::new(sender, receiver))
    }

    pub fn new(sender: mpsc::Sender<ChatMessage>, receiver: Streaming<ChatMessage>) -> Self {
        Self { sender: Some(sender), receiver }
    }

    /// The receiving side of a stream.
    pub fn listening(receiver: Streaming<ChatMessage>) -> Self {
        Self { sender: None, receiver }
    }

    pub async fn send(&self, message: ChatMessage) {
        soon(self.sender.as_ref().unwrap().send(message)).await.unwrap();
    }

    pub async fn say(&self, room: &str, user_id: &str, text: &str) {
        self.send(said(room, user_id, text)).await;
    }

    /// The two halves, to use them at the same time.
    pub fn split(mut self) -> (mpsc::Sender<ChatMessage>, Streaming<ChatMessage>) {
        (self.sender.take().unwrap(), self.receiver)
    }

    pub fn half_close(&mut self) {
        self.sender = None;
    }

    /// The next message, which may be an event.
    pub async fn next(&mut self) -> ChatMessage {
        soon(self.receiver.message()).await.unwrap().expect("the stream ended too early")
    }

    /// The next `n` messages.
    pub async fn take(&mut self, n: usize) -> Vec<ChatMessage> {
        let mut messages = Vec::with_capacity(n);
        while messages.len() < n {
            messages.push(self.next().await);
        }
        messages
    }

    /// Everything up to the end of the stream, and the status of the end.
    pub async fn rest(&mut self) -> (Vec<ChatMessage>, Result<(), Status>) {
        let mut messages = Vec::new();
        loop {
            match soon(self.receiver.message()).await {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => return (messages, Ok(())),
                Err(status) => return (messages, Err(status)),
            }
        }
    }
}

/// A plain message of a client.
pub fn said(room: &str, user_id: &str, text: &str) -> ChatMessage {
    logs::is_said(text);
    ChatMessage { room: room.into(), user_id: user_id.into(), text: text.into(), ..ChatMessage::default() }
}

/// The same with an idempotency key.
pub fn keyed(room: &str, user_id: &str, id: &str, text: &str) -> ChatMessage {
    ChatMessage { id: id.into(), ..said(room, user_id, text) }
}

/// The `rejected` event of a message, which must be one.
pub fn rejected(message: &ChatMessage) -> &rialto::proto::user::Rejected {
    match &message.event {
        Some(Event::Rejected(rejected)) => rejected,
        _ => panic!("not rejected: {message:?}"),
    }
}

/// Whether the message is `draining`, with the time to reconnect.
pub fn is_draining(message: &ChatMessage) -> bool {
    match &message.event {
        Some(Event::Draining(draining)) => {
            assert!(draining.reconnect_after.is_some() && message.room.is_empty(), "{message:?}");
            true
        }
        _ => false,
    }
}

pub fn texts(messages: &[ChatMessage]) -> Vec<&str> {
    messages.iter().map(|message| message.text.as_str()).collect()
}

pub fn seqs(messages: &[ChatMessage]) -> Vec<u64> {
    messages.iter().map(|message| message.seq).collect()
}
