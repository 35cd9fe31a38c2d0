//! A bare TCP fan-out: whatever whole frames come on any connection go to every connection, as they are. No rooms, no log, no numbers.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::{Bytes, BytesMut};
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

/// Returns, and so closes the connection, when it has fallen behind.
async fn write(mut socket: OwnedWriteHalf, mut chunks: Receiver<Bytes>) -> io::Result<()> {
    socket.write_u8(WELCOME).await?;
    while let Ok(chunk) = chunks.recv().await {
        socket.write_all(&chunk).await?;
    }
    Ok(())
}
