//! Rialto, by `user.UserService/Chat` on HTTP/2: as close to the wire as a client gets, so that the load costs little.

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

/// Bytes that a stream, and all streams of a connection, may be sent before they are read: enough that the window never holds anybody up.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// A hub.
#[derive(Debug, Clone)]
pub struct Rialto {
    /// `host:port`.
    pub address: String,
    /// None: it is plain and open.
    pub access: Option<Access>,
}

/// A connection to a hub.
#[derive(Debug)]
pub struct Http2 {
    hub: Rialto,
    requests: SendRequest<Bytes>,
    /// Ends with this, which outlives it if a member still holds it.
    _tasks: JoinSet<()>,
}

/// A Chat stream.
#[derive(Debug)]
struct Chat {
    requests: SendStream<Bytes>,
    _reading: JoinSet<()>,
}

impl Rialto {
    /// Opens a connection, with more to it than every system has.
    pub async fn open(&self) -> Result<Http2> {
        let socket =
            TcpStream::connect(&self.address).await.with_context(|| format!("no connection to {}", self.address))?;
        socket.set_nodelay(true)?;
        let (requests, tasks) = match &self.access {
            None => begin(socket).await?,
            // Boxed: it is large, and the connection's task would hold it twice.
            Some(access) => begin(Box::new(access.secure(socket, &self.address).await?)).await?,
        };
        Ok(Http2 { hub: self.clone(), requests, _tasks: tasks })
    }
}

/// Speaks HTTP/2 on a connection, each kind by code of its own: the plain one costs what it did before there was another.
async fn begin(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Result<(SendRequest<Bytes>, JoinSet<()>)> {
    let (requests, connection) = h2::client::Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .handshake(io)
        .await?;
    let mut tasks = JoinSet::new();
    // Its end is seen by every stream on it.
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
    /// Opens a Chat stream in these rooms. Both halves are there when the joins hold.
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

/// Gives the subscriber what comes, to the end, and says with which status that came.
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
    async fn say(&mut self, texts: Vec<(Room, String)>) -> Result<()> {
        let mut bytes = BytesMut::new();
        for (room, text) in texts {
            let message = ChatMessage { user_id: USER.to_owned(), text, room: name(room), ..ChatMessage::default() };
            frames::put(&message, &mut bytes);
        }
        send(&mut self.requests, bytes.freeze()).await
    }
}

/// Sends all of it, as the windows let it through.
pub async fn send(requests: &mut SendStream<Bytes>, mut bytes: Bytes) -> Result<()> {
    while !bytes.is_empty() {
        requests.reserve_capacity(bytes.len());
        let room = poll_fn(|cx| requests.poll_capacity(cx)).await.context("the stream has ended")??;
        requests.send_data(bytes.split_to(room.min(bytes.len())), false)?;
    }
    Ok(())
}

/// Who speaks in every load, to every system: whom a hub that asks for tokens knows as such by the token of [`OPERATOR`].
pub const USER: &str = "operator:load";

/// Whose token it is.
pub const OPERATOR: &str = "load";

/// What a room is called.
pub fn name(room: Room) -> String {
    format!("room-{room}")
}

/// The status of headers or trailers, if they carry one.
pub fn status(headers: &HeaderMap) -> Option<String> {
    let text = |name| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let code = text("grpc-status")?;
    Some(format!("status {code}, {}", text("grpc-message").unwrap_or_default()))
}
