//! A bare TCP fan-out: writes the whole frames that arrive on any connection to every connection, unchanged. It has no rooms, no log and
//! no sequence numbers.

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

/// The first byte on a connection: from here on it receives everything.
pub const WELCOME: u8 = b'!';

/// Chunks that may wait for the slowest connection. A connection that falls further behind is closed, since it could not resume.
const RING: usize = 16 * 1024;

/// Bytes to read at a time.
const CHUNK: usize = 64 * 1024;

/// Serves until the fault ends the server; without a fault, for ever.
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
        // Detached: both tasks end with their connection.
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
            // Cannot fail: the sender's own connection is a receiver.
            _ = ring.send(whole);
        }
    }
}

/// Writes chunks until the connection falls behind. Returning closes it.
async fn write(mut socket: OwnedWriteHalf, mut chunks: Receiver<Bytes>) -> io::Result<()> {
    socket.write_u8(WELCOME).await?;
    while let Ok(chunk) = chunks.recv().await {
        socket.write_all(&chunk).await?;
    }
    Ok(())
}
