//! Rialto, by `user.UserService/Chat` directly on HTTP/2, so that the load itself costs little.

mod access;

use std::future::poll_fn;

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use h2::{RecvStream, SendStream, client::SendRequest};
use http::{HeaderMap, Request, header::AUTHORIZATION};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::JoinSet,
};

use super::{Connection, Member, System};
use crate::{
    frames::{self, Reader},
    proto::user::ChatMessage,
    stamp::Room,
    subscriber::Subscriber,
};
pub use access::Access;

/// Flow-control windows of a stream and of a connection in bytes, large enough never to hold up the server.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// A hub.
#[derive(Debug, Clone)]
pub struct Rialto {
    /// `host:port`.
    pub address: String,
    /// Credentials; `None` for a hub without TLS and tokens.
    pub access: Option<Access>,
}

/// A connection to a hub.
#[derive(Debug)]
pub struct Http2 {
    hub: Rialto,
    requests: SendRequest<Bytes>,
    /// The connection's task. It may outlive this value while a member holds a stream.
    _tasks: JoinSet<()>,
}

/// A Chat stream.
#[derive(Debug)]
struct Chat {
    requests: SendStream<Bytes>,
    _reading: JoinSet<()>,
}

impl Rialto {
    /// Opens a connection with the operations that only the hub has.
    pub async fn open(&self) -> Result<Http2> {
        let socket =
            TcpStream::connect(&self.address).await.with_context(|| format!("cannot connect to {}", self.address))?;
        socket.set_nodelay(true)?;
        let (requests, tasks) = match &self.access {
            None => handshake(socket).await?,
            // Boxed: the stream is large, and the connection's task would hold it twice.
            Some(access) => handshake(Box::new(access.secure(socket, &self.address).await?)).await?,
        };
        Ok(Http2 { hub: self.clone(), requests, _tasks: tasks })
    }
}

/// Performs the HTTP/2 handshake. Generic, so that a plain connection pays nothing for TLS.
async fn handshake(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<(SendRequest<Bytes>, JoinSet<()>)> {
    let (requests, connection) = h2::client::Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .handshake(io)
        .await?;
    let mut tasks = JoinSet::new();
    // Every stream on the connection sees its end.
    tasks.spawn(async { drop(connection.await) });
    Ok((requests, tasks))
}

#[async_trait]
impl System for Rialto {
    async fn connect(&self) -> Result<Box<dyn Connection>> {
        Ok(Box::new(self.open().await?))
    }
}

impl Http2 {
    /// Opens a Chat stream in these rooms. Returns once it is in all of them.
    pub async fn chat(&self, rooms: &[Room]) -> Result<(SendStream<Bytes>, RecvStream)> {
        let names: Vec<_> = rooms.iter().map(|room| name(*room)).collect();
        let Rialto { address, access } = &self.hub;
        let scheme = if access.is_some() { "https" } else { "http" };
        let mut request = Request::post(format!("{scheme}://{address}/user.UserService/Chat"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("rialto-rooms", names.join(","))
            .body(())?;
        if let Some(access) = access {
            request.headers_mut().insert(AUTHORIZATION, access.authorization());
        }
        let mut free = self.requests.clone().ready().await?;
        let (response, requests) = free.send_request(request, false)?;
        let response = response.await?;
        if let Some(status) = status(response.headers()) {
            bail!("Chat was refused: {status}");
        }
        Ok((requests, response.into_body()))
    }
}

#[async_trait]
impl Connection for Http2 {
    async fn join(&self, rooms: &[Room], subscriber: Subscriber) -> Result<Box<dyn Member>> {
        let (requests, responses) = self.chat(rooms).await?;
        let mut reading = JoinSet::new();
        reading.spawn(async move {
            let why = match read(responses, &subscriber).await {
                Ok(why) => why,
                Err(error) => format!("{error:#}"),
            };
            subscriber.ended(&why);
        });
        Ok(Box::new(Chat { requests, _reading: reading }))
    }
}

/// Passes deliveries to the subscriber until the stream ends, and returns its status.
async fn read(mut responses: RecvStream, subscriber: &Subscriber) -> Result<String> {
    let mut frames = Reader::default();
    while let Some(chunk) = responses.data().await {
        let chunk = chunk?;
        responses.flow_control().release_capacity(chunk.len())?;
        let mut subscriber = subscriber.lock();
        frames.read(&chunk, |message| match message.event {
            None => subscriber.delivery(Some(message.seq), message.text),
            Some(message) => subscriber.unexpected(&format!("{message:?}")),
        })?;
        subscriber.settle();
    }
    let trailers = responses.trailers().await?.unwrap_or_default();
    Ok(status(&trailers).unwrap_or_else(|| "no status".to_owned()))
}

#[async_trait]
impl Member for Chat {
    async fn publish(&mut self, texts: Vec<(Room, String)>) -> Result<()> {
        let mut bytes = BytesMut::new();
        for (room, text) in texts {
            let message = ChatMessage { user_id: USER.to_owned(), text, room: name(room), ..ChatMessage::default() };
            frames::put(&message, &mut bytes);
        }
        send(&mut self.requests, bytes.freeze()).await
    }
}

/// Sends all bytes, as flow control permits.
pub async fn send(requests: &mut SendStream<Bytes>, mut bytes: Bytes) -> Result<()> {
    while !bytes.is_empty() {
        requests.reserve_capacity(bytes.len());
        let room = poll_fn(|cx| requests.poll_capacity(cx)).await.context("the stream has ended")??;
        requests.send_data(bytes.split_to(room.min(bytes.len())), false)?;
    }
    Ok(())
}

/// The user ID of all messages on every system. For a hub with tokens it is the subject of [`OPERATOR`]'s token.
pub const USER: &str = "operator:load";

/// The operator name in the token.
pub const OPERATOR: &str = "load";

/// The name of a room.
pub fn name(room: Room) -> String {
    format!("room-{room}")
}

/// Formats the status in headers or trailers. `None` if they carry none.
pub fn status(headers: &HeaderMap) -> Option<String> {
    let text = |name| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let code = text("grpc-status")?;
    Some(format!("status {code}, {}", text("grpc-message").unwrap_or_default()))
}
