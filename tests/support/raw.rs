//! A client below gRPC that frames, resets, withholds and cuts off messages by hand, as no gRPC library would.

use std::{future::poll_fn, net::SocketAddr, pin::pin};

use bytes::{Buf, Bytes, BytesMut};
use h2::{
    Ping, PingPong, Reason, RecvStream, SendStream,
    client::{Builder, Connection, ResponseFuture, SendRequest},
};
use http::{HeaderMap, Method, Request};
use prost::Message;
use rialto::proto::user::ChatMessage;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::watch,
    task::JoinSet,
};
use tonic::Status;

use super::soon;

pub const CHAT: &str = "/user.UserService/Chat";
pub const SUBSCRIBE: &str = "/rialto.v1.ChatService/Subscribe";
pub const GET_USER: &str = "/user.UserService/GetUser";
pub const CREATE_USERS: &str = "/user.UserService/CreateUsers";

/// One HTTP/2 connection.
pub struct Raw {
    requests: SendRequest<Bytes>,
    pings: PingPong,
    address: SocketAddr,
    awake: watch::Sender<bool>,
    driver: JoinSet<()>,
}

impl Raw {
    pub async fn connect(address: SocketAddr) -> Self {
        Self::over(soon(TcpStream::connect(address)).await.unwrap(), address).await
    }

    /// The same, but when dropped, TCP ends with RST instead of FIN.
    pub async fn connect_abrupt(address: SocketAddr) -> Self {
        let stream = soon(TcpStream::connect(address)).await.unwrap();
        stream.set_zero_linger().unwrap();
        Self::over(stream, address).await
    }

    /// A connection on which the server may send this many bytes of a stream that is not read.
    pub async fn connect_narrow(address: SocketAddr, window: u32) -> Self {
        let stream = soon(TcpStream::connect(address)).await.unwrap();
        Self::over_with(Builder::new().initial_window_size(window), stream, address).await
    }

    /// Uses an existing TCP connection.
    pub async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, address: SocketAddr) -> Self {
        Self::over_with(&mut Builder::new(), stream, address).await
    }

    async fn over_with(
        settings: &mut Builder,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        address: SocketAddr,
    ) -> Self {
        // An unread stream must not hold up the others of its connection.
        let handshake = settings.initial_connection_window_size(8 << 20).handshake(stream);
        let (requests, mut connection) = soon(handshake).await.unwrap();
        let pings = connection.ping_pong().unwrap();
        let (awake, wakes) = watch::channel(true);
        let mut driver = JoinSet::new();
        driver.spawn(drive(connection, wakes));
        Self { requests, pings, address, awake, driver }
    }

    /// Starts a call by sending its headers.
    pub async fn call(&mut self, path: &str, rooms: Option<&str>) -> Call {
        let rooms = rooms.map(|rooms| ("rialto-rooms", rooms));
        self.call_at(&self.address.to_string(), path, rooms).await
    }

    /// The same with another server name and an additional header.
    pub async fn call_at(&mut self, authority: &str, path: &str, header: Option<(&str, &str)>) -> Call {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(format!("http://{authority}{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        let mut requests = soon(self.requests.clone().ready()).await.unwrap();
        let (headers, body) = requests.send_request(request.body(()).unwrap(), false).unwrap();
        Call {
            request: Sending(body),
            response: Receiving { state: Response::Waiting(headers), read: BytesMut::new() },
        }
    }

    /// Opens a Chat stream that has joined these rooms when this returns.
    pub async fn chat(&mut self, rooms: &str) -> Call {
        let mut call = self.call(CHAT, Some(rooms)).await;
        call.response.opened().await;
        call
    }

    /// Waits until the server has read everything that its windows let through so far.
    pub async fn flushed(&mut self) {
        // The first PING may overtake queued data; the second is written after it.
        for _ in 0..2 {
            soon(self.pings.ping(Ping::opaque())).await.unwrap();
        }
    }

    /// Stops reading and writing, but keeps TCP open.
    pub fn freeze(&self) {
        self.awake.send_replace(false);
    }

    /// Closes TCP without GOAWAY.
    pub async fn hang_up(mut self) {
        soon(self.driver.shutdown()).await;
    }

    /// Waits until the server has closed the connection.
    pub async fn closed(&mut self) {
        soon(self.driver.join_next()).await;
    }
}

async fn drive(connection: Connection<impl AsyncRead + AsyncWrite + Unpin>, mut awake: watch::Receiver<bool>) {
    let mut connection = pin!(connection);
    loop {
        tokio::select! {
            biased;
            _ = awake.wait_for(|awake| !awake) => {}
            _ = connection.as_mut() => return,
        }
        if awake.wait_for(|awake| *awake).await.is_err() {
            return;
        }
    }
}

/// One call with its two halves. Dropping both resets it with CANCEL.
pub struct Call {
    pub request: Sending,
    pub response: Receiving,
}

pub struct Sending(SendStream<Bytes>);

impl Sending {
    /// Sends a whole message, waiting for the server's windows.
    pub async fn say(&mut self, message: &impl Message) {
        self.write(framed(message)).await;
    }

    /// Sends raw bytes.
    pub async fn write(&mut self, mut bytes: Bytes) {
        while bytes.has_remaining() {
            let room = soon(self.window(bytes.len())).await;
            self.0.send_data(bytes.split_to(room.min(bytes.len())), false).unwrap();
        }
    }

    /// Waits for capacity in the server's windows.
    pub async fn window(&mut self, wanted: usize) -> usize {
        self.0.reserve_capacity(wanted);
        while self.0.capacity() == 0 {
            poll_fn(|cx| self.0.poll_capacity(cx)).await.expect("the stream is open").unwrap();
        }
        self.0.capacity()
    }

    /// END_STREAM.
    pub fn half_close(&mut self) {
        self.0.send_data(Bytes::new(), true).unwrap();
    }

    /// END_STREAM on trailers.
    pub fn half_close_with_trailers(&mut self) {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-checksum", "none".parse().unwrap());
        self.0.send_trailers(trailers).unwrap();
    }

    /// RST_STREAM.
    pub fn reset(&mut self, reason: Reason) {
        self.0.send_reset(reason);
    }
}

pub struct Receiving {
    state: Response,
    read: BytesMut,
}

enum Response {
    Waiting(ResponseFuture),
    Open(HeaderMap, RecvStream),
}

impl Receiving {
    /// Waits for the headers.
    pub async fn opened(&mut self) {
        self.headers().await;
    }

    /// Waits for the first bytes of the body, and leaves the window as it is.
    pub async fn first_byte(&mut self) {
        let (_, body) = self.body().await.unwrap();
        soon(body.data()).await.expect("the stream ended too early").unwrap();
    }

    pub async fn headers(&mut self) -> &HeaderMap {
        self.body().await.unwrap().0
    }

    async fn body(&mut self) -> Result<(&HeaderMap, &mut RecvStream), h2::Error> {
        if let Response::Waiting(headers) = &mut self.state {
            let (head, body) = soon(headers).await?.into_parts();
            self.state = Response::Open(head.headers, body);
        }
        match &mut self.state {
            Response::Open(headers, body) => Ok((headers, body)),
            Response::Waiting(_) => panic!("the headers are there"),
        }
    }

    /// The next message, `None` after the last, or the reset. Only this call opens the window again.
    pub async fn read<M: Message + Default>(&mut self) -> Result<Option<M>, h2::Error> {
        Ok(self.frame().await?.map(|frame| M::decode(frame).unwrap()))
    }

    /// The next message, still encoded.
    pub async fn frame(&mut self) -> Result<Option<Bytes>, h2::Error> {
        Ok(self.flagged().await?.map(|(flag, frame)| {
            assert_eq!(flag, 0, "not compressed");
            frame
        }))
    }

    /// The next message, still encoded, with its compression flag.
    pub async fn flagged(&mut self) -> Result<Option<(u8, Bytes)>, h2::Error> {
        loop {
            if let Some(frame) = unframed(&mut self.read) {
                return Ok(Some(frame));
            }
            let (_, body) = self.body().await?;
            let Some(chunk) = soon(body.data()).await.transpose()? else { return Ok(None) };
            body.flow_control().release_capacity(chunk.len())?;
            self.read.extend_from_slice(&chunk);
        }
    }

    pub async fn next(&mut self) -> ChatMessage {
        self.read().await.unwrap().expect("the stream ended too early")
    }

    /// Everything up to the end of the stream, and the status of the end or the reset.
    pub async fn rest(&mut self) -> (Vec<ChatMessage>, Result<Status, h2::Error>) {
        let mut messages = Vec::new();
        loop {
            match self.read().await {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => return (messages, self.status().await),
                Err(reset) => return (messages, Err(reset)),
            }
        }
    }

    /// The same, discarding the messages.
    pub async fn end(&mut self) -> Result<Status, h2::Error> {
        while self.read::<()>().await?.is_some() {}
        self.status().await
    }

    async fn status(&mut self) -> Result<Status, h2::Error> {
        let (headers, body) = self.body().await?;
        if let Some(status) = Status::from_header_map(headers) {
            return Ok(status);
        }
        let trailers = soon(body.trailers()).await?.expect("an end without trailers");
        Ok(Status::from_header_map(&trailers).expect("an end without a status"))
    }
}

/// A message as gRPC frames it.
pub fn framed(message: &impl Message) -> Bytes {
    let mut frame = vec![0];
    frame.extend(u32::try_from(message.encoded_len()).unwrap().to_be_bytes());
    message.encode(&mut frame).unwrap();
    frame.into()
}

fn unframed(bytes: &mut BytesMut) -> Option<(u8, Bytes)> {
    let len = u32::from_be_bytes(bytes.get(1..5)?.try_into().unwrap()) as usize;
    bytes.get(..5 + len)?;
    let mut frame = bytes.split_to(5 + len).freeze();
    let message = frame.split_off(5);
    Some((frame[0], message))
}
