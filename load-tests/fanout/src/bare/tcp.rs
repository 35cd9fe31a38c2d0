//! A bare TCP fan-out: whatever whole frames come on any connection go to every connection, as they are. No rooms, no log, no numbers.

use std::{
    io::{self, IoSlice},
    sync::{Arc, Mutex, PoisonError},
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    select,
    sync::{
        Notify,
        broadcast::{Receiver, Sender},
    },
};

use super::fault::{Breaker, Fault};
use crate::frames;

/// What it says to a connection that gets everything from now on.
pub const WELCOME: u8 = b'!';

/// Chunks that may wait for the slowest connection. One that falls behind is closed: nothing is kept from which it could go on.
const RING: usize = 16 * 1024;

/// Bytes that are read at once.
const CHUNK: usize = 64 * 1024;

/// Chunks that are written at once.
const TOGETHER: usize = 64;

/// Serves for ever, or until it does wrong by ending.
pub async fn serve(listener: TcpListener, fault: Option<Fault>) -> io::Result<()> {
    let ring = Sender::new(RING);
    let breaker = fault.map(|fault| Arc::new(Mutex::new(Breaker::new(fault))));
    let end = Arc::new(Notify::new());
    loop {
        let socket = select! {
            accepted = listener.accept() => accepted?.0,
            () = end.notified() => return Ok(()),
        };
        socket.set_nodelay(true)?;
        let (reading, writing) = socket.into_split();
        // They end with their connection, and nobody waits for them.
        tokio::spawn(write(writing, ring.subscribe()));
        tokio::spawn(read(reading, ring.clone(), breaker.clone(), Arc::clone(&end)));
    }
}

async fn read(
    mut socket: OwnedReadHalf,
    ring: Sender<Bytes>,
    breaker: Option<Arc<Mutex<Breaker>>>,
    end: Arc<Notify>,
) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(CHUNK);
        if socket.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        let mut whole = buffer.split_to(frames::whole(&buffer)).freeze();
        if let Some(breaker) = &breaker {
            match breaker.lock().unwrap_or_else(PoisonError::into_inner).pass(whole) {
                Some(passed) => whole = passed,
                None => {
                    end.notify_one();
                    return Ok(());
                }
            }
        }
        if !whole.is_empty() {
            // Whoever sends receives as well: there is a receiver.
            _ = ring.send(whole);
        }
    }
}

/// Writes what is ready in one go. Returns, and so closes the connection, when it has fallen behind.
async fn write(mut socket: OwnedWriteHalf, mut chunks: Receiver<Bytes>) -> io::Result<()> {
    socket.write_u8(WELCOME).await?;
    let mut ready: Vec<Bytes> = Vec::with_capacity(TOGETHER);
    while let Ok(chunk) = chunks.recv().await {
        ready.push(chunk);
        while ready.len() < TOGETHER
            && let Ok(chunk) = chunks.try_recv()
        {
            ready.push(chunk);
        }
        write_all(&mut socket, &mut ready).await?;
    }
    Ok(())
}

async fn write_all(socket: &mut OwnedWriteHalf, chunks: &mut Vec<Bytes>) -> io::Result<()> {
    if let [only] = &chunks[..] {
        socket.write_all(only).await?;
        chunks.clear();
    }
    while !chunks.is_empty() {
        let slices: Vec<_> = chunks.iter().map(|chunk| IoSlice::new(chunk)).collect();
        let mut written = socket.write_vectored(&slices).await?;
        chunks.retain_mut(|chunk| {
            let part = written.min(chunk.len());
            chunk.advance(part);
            written -= part;
            !chunk.is_empty()
        });
    }
    Ok(())
}
