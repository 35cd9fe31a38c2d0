//! The bare TCP server of this program, which writes all bytes to every connection.

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use bytes::BytesMut;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::JoinSet,
};

use super::{Connection, Member, System, rialto};
use crate::{
    bare::tcp::WELCOME,
    frames::{self, Reader},
    proto::user::ChatMessage,
    stamp::Room,
    subscriber::Subscriber,
};

/// A bare server.
#[derive(Debug)]
pub struct Tcp {
    /// `host:port`.
    pub address: String,
}

#[derive(Debug)]
struct Address(String);

#[derive(Debug)]
struct Socket {
    writing: OwnedWriteHalf,
    published: u64,
    _reading: JoinSet<()>,
}

#[async_trait]
impl System for Tcp {
    async fn connect(&self) -> Result<Box<dyn Connection>> {
        Ok(Box::new(Address(self.address.clone())))
    }
}

#[async_trait]
impl Connection for Address {
    async fn join(&self, rooms: &[Room], subscriber: Subscriber) -> Result<Box<dyn Member>> {
        if rooms.len() > 1 || rooms.iter().any(|room| *room > 0) {
            bail!("the bare TCP server has one room");
        }
        let socket = TcpStream::connect(&self.0).await.with_context(|| format!("cannot connect to {}", self.0))?;
        socket.set_nodelay(true)?;
        let (mut responses, writing) = socket.into_split();
        if responses.read_u8().await? != WELCOME {
            bail!("{} is not a bare TCP server", self.0);
        }
        let mut reading = JoinSet::new();
        reading.spawn(async move {
            let why = match read(responses, &subscriber).await {
                Ok(()) => "the connection was closed".to_owned(),
                Err(error) => format!("{error:#}"),
            };
            subscriber.ended(&why);
        });
        Ok(Box::new(Socket { writing, published: 0, _reading: reading }))
    }
}

/// Bytes to read at a time; as large as one of Rialto's batches.
const CHUNK: usize = 64 * 1024;

async fn read(mut responses: OwnedReadHalf, subscriber: &Subscriber) -> Result<()> {
    let mut frames = Reader::default();
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(CHUNK);
        if responses.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        let mut subscriber = subscriber.lock();
        // The bare server has no sequence numbers.
        frames.read(&buffer, |message| subscriber.delivery(None, message.text))?;
        subscriber.settle();
        buffer.clear();
    }
}

#[async_trait]
impl Member for Socket {
    async fn publish(&mut self, texts: Vec<(Room, String)>) -> Result<()> {
        let mut bytes = BytesMut::new();
        for (room, text) in texts {
            self.published += 1;
            frames::put(&delivered(room, self.published, text), &mut bytes);
        }
        Ok(self.writing.write_all(&bytes).await?)
    }
}

/// A message as long as the one that Rialto would deliver for this text.
fn delivered(room: Room, seq: u64, text: String) -> ChatMessage {
    ChatMessage {
        user_id: rialto::USER.to_owned(),
        text,
        timestamp: 1_700_000_000,
        room: rialto::name(room),
        seq,
        id: "0190163d-8694-739b-aea5-966c26f8ad91".to_owned(),
        timestamp_nanos: 123_456_789,
        event: None,
    }
}
