//! Writes of one turn of a connection, given to the system together.
//!
//! h2 writes and flushes frame by frame, and a frame has at most 16 KiB: under load a system call each would cost more than what it carries.
//! So a connection's writes are kept until its turn is over; `Together` is what hyper writes to, [`Turn`] what ends the turn.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that are kept. More than that goes out before the turn is over.
const MOST: usize = 128 * 1024;

/// A connection's socket, as hyper sees it.
#[derive(Debug)]
pub(super) struct Together<I>(Arc<Mutex<Kept<I>>>);

/// The same, as the connection's task sees it.
#[derive(Debug)]
pub(super) struct Turn<I>(Arc<Mutex<Kept<I>>>);

#[derive(Debug)]
struct Kept<I> {
    io: I,
    bytes: BytesMut,
}

/// The two ends of a socket's wrapping.
pub(super) fn together<I>(io: I) -> (Together<I>, Turn<I>) {
    let kept = Arc::new(Mutex::new(Kept { io, bytes: BytesMut::new() }));
    (Together(Arc::clone(&kept)), Turn(kept))
}

impl<I: AsyncWrite + Unpin> Turn<I> {
    /// Gives what was written in this turn to the system. Pending: it takes no more now, and the task will be woken.
    pub(super) fn poll_end(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        lock(&self.0).poll_write_out(cx)
    }
}

impl<I: AsyncWrite + Unpin> Kept<I> {
    fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.bytes.is_empty() {
            let written = ready!(Pin::new(&mut self.io).poll_write(cx, &self.bytes))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.bytes.advance(written);
        }
        // An idle connection keeps no memory for it.
        self.bytes = BytesMut::new();
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Together<I> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut lock(&self.0).io).poll_read(cx, buf)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Together<I> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(buf)])
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut kept = lock(&self.0);
        ready!(kept.poll_write_out(cx))?;
        Pin::new(&mut kept.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut kept = lock(&self.0);
        if kept.bytes.len() >= MOST {
            ready!(kept.poll_write_out(cx))?;
        }
        let len = bufs.iter().map(|buf| buf.len()).sum();
        kept.bytes.reserve(len);
        bufs.iter().for_each(|buf| kept.bytes.extend_from_slice(buf));
        Poll::Ready(Ok(len))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}

fn lock<I>(kept: &Mutex<Kept<I>>) -> MutexGuard<'_, Kept<I>> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}
