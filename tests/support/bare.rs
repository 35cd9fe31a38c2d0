//! A client that writes HTTP/2 octets by hand, for what no library sends.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use super::soon;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Frame types (RFC 9113, section 6).
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

/// Frame flags.
pub const NONE: u8 = 0;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// Error codes (section 7).
pub const PROTOCOL_ERROR: u32 = 1;
pub const REFUSED_STREAM: u32 = 7;
pub const ENHANCE_YOUR_CALM: u32 = 11;

/// An encoded frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The payload of a PING whose answer shows that everything before it was read.
const LAST: &[u8] = b"all read";

/// The stream ids that a client uses.
pub fn streams() -> impl Iterator<Item = u32> + Send {
    (1..).step_by(2)
}

/// The headers of a call, as HPACK literals without indexing (RFC 7541, section 6.2.2).
pub fn block(path: &str) -> Vec<u8> {
    let mut block = vec![0x83, 0x86, 0x04];
    string(path.as_bytes(), &mut block);
    block.push(0x01);
    string(b"localhost", &mut block);
    literal("content-type", b"application/grpc", &mut block);
    literal("te", b"trailers", &mut block);
    block
}

/// A field that is not added to the dynamic table.
pub fn literal(name: &str, value: &[u8], block: &mut Vec<u8>) {
    block.push(0);
    string(name.as_bytes(), block);
    string(value, block);
}

/// A field that becomes the newest entry of the dynamic table.
pub fn indexed_literal(name: &str, value: &[u8], block: &mut Vec<u8>) {
    block.push(0x40);
    string(name.as_bytes(), block);
    string(value, block);
}

/// A reference to the newest entry of the dynamic table.
pub const NEWEST: u8 = 0x80 | 62;

/// A string without Huffman coding: its length, then its octets.
fn string(text: &[u8], block: &mut Vec<u8>) {
    match u8::try_from(text.len()) {
        Ok(len @ 0..=126) => block.push(len),
        _ => {
            block.push(127);
            let mut rest = text.len() - 127;
            while rest >= 128 {
                block.push(u8::try_from(rest % 128).unwrap() | 0x80);
                rest /= 128;
            }
            block.push(u8::try_from(rest).unwrap());
        }
    }
    block.extend(text);
}

/// A frame from the server.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Bytes,
}

impl Frame {
    /// The error code of a RST_STREAM.
    pub fn code(&self) -> u32 {
        assert_eq!(self.kind, RST_STREAM, "{self:?}");
        self.payload.clone().get_u32()
    }
}

/// How a connection ended: with GOAWAY's code and debug data, or without.
#[derive(Debug, Clone, PartialEq)]
pub enum End {
    GoAway(u32, String),
    Closed,
}

impl End {
    pub fn calm(word: &str) -> Self {
        Self::GoAway(ENHANCE_YOUR_CALM, word.into())
    }
}

/// One TCP connection.
pub struct Bare {
    reader: Reader,
    writer: OwnedWriteHalf,
}

pub struct Reader {
    half: OwnedReadHalf,
    read: BytesMut,
}

impl Bare {
    /// Connects without sending anything.
    pub async fn connect(address: SocketAddr) -> Self {
        let tcp = soon(TcpStream::connect(address)).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        let (half, writer) = tcp.into_split();
        Self { reader: Reader { half, read: BytesMut::new() }, writer }
    }

    /// Sends the HTTP/2 preface.
    pub async fn greet(address: SocketAddr) -> Self {
        let mut bare = Self::connect(address).await;
        assert!(bare.write(&[PREFACE, &frame(SETTINGS, NONE, 0, &[])].concat()).await);
        bare
    }

    /// Writes octets; returns whether the connection was still open.
    pub async fn write(&mut self, octets: &[u8]) -> bool {
        soon(self.writer.write_all(octets)).await.is_ok()
    }

    /// Opens a stream for a call and leaves it open.
    pub async fn call(&mut self, stream: u32, path: &str) {
        assert!(self.write(&frame(HEADERS, END_HEADERS, stream, &block(path))).await);
    }

    /// The next frame, if there is one.
    pub async fn next(&mut self) -> Option<Frame> {
        soon(self.reader.next()).await
    }

    /// The next frame on this stream.
    pub async fn next_on(&mut self, stream: u32) -> Frame {
        loop {
            let frame = self.next().await.expect("the connection ended too early");
            if frame.stream == stream {
                return frame;
            }
        }
    }

    /// Waits until the server has read everything sent so far.
    pub async fn flushed(&mut self) {
        assert!(self.write(&frame(PING, NONE, 0, LAST)).await);
        while self.next_on(0).await.payload != LAST {}
    }

    /// Waits for the server to end the connection.
    pub async fn end(&mut self) -> End {
        soon(self.reader.end()).await.expect("nothing was asked")
    }

    /// Writes these octets and reads the answers until the server ends the connection. `None`: the server has read all of them and goes on.
    pub async fn flood(&mut self, octets: impl IntoIterator<Item = Vec<u8>>) -> Option<End> {
        let Self { reader, writer } = self;
        let write = async {
            let last = frame(PING, NONE, 0, LAST);
            for octets in octets.into_iter().chain([last]) {
                if writer.write_all(&octets).await.is_err() {
                    break;
                }
            }
            std::future::pending::<()>().await;
        };
        soon(async {
            tokio::select! {
                end = reader.end() => end,
                () = write => None,
            }
        })
        .await
    }

    /// Writes without reading for as long as the server reads; returns how many octets it took.
    pub async fn push(&mut self, octets: &[u8], taken: &AtomicUsize) {
        while self.writer.write_all(octets).await.is_ok() {
            taken.fetch_add(octets.len(), Ordering::Relaxed);
        }
    }

    /// Writes an octet now and then, if any are left, until the server closes the connection.
    pub async fn drip(&mut self, octets: impl IntoIterator<Item = u8>) {
        let Self { reader, writer } = self;
        let drip = async {
            for octet in octets {
                if writer.write_all(&[octet]).await.is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            std::future::pending::<()>().await;
        };
        soon(async {
            tokio::select! {
                () = async { while reader.next().await.is_some() {} } => {}
                () = drip => {}
            }
        })
        .await;
    }
}

impl Reader {
    async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.cut() {
                return Some(frame);
            }
            // Closed by FIN or RST.
            if self.half.read_buf(&mut self.read).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    fn cut(&mut self) -> Option<Frame> {
        let head = self.read.get(..9)?;
        let len = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let (kind, flags) = (head[3], head[4]);
        let stream = u32::from_be_bytes(head[5..9].try_into().unwrap());
        self.read.get(..9 + len)?;
        self.read.advance(9);
        Some(Frame { kind, flags, stream, payload: self.read.split_to(len).freeze() })
    }

    /// The end of the connection, or `None` once the last PING is answered.
    async fn end(&mut self) -> Option<End> {
        while let Some(frame) = self.next().await {
            match frame.kind {
                GOAWAY => {
                    // After the last stream.
                    let (mut code, word) = frame.payload[4..].split_at(4);
                    return Some(End::GoAway(code.get_u32(), String::from_utf8_lossy(word).into()));
                }
                PING if frame.payload == LAST => return None,
                _ => {}
            }
        }
        Some(End::Closed)
    }
}
