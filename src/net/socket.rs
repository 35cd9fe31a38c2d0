//! A connection's socket, with a deadline for its first bytes and a lingering close.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Sleep,
};

/// Length of HTTP/2's connection preface (RFC 9113, section 3.4), in bytes. hyper needs it to tell HTTP/1 from HTTP/2.
const PREFACE: usize = 24;

/// How long a closing connection continues to read. A socket that is closed with unread data is reset, and the reset discards what the peer has
/// not read yet: the last messages, and the status (RFC 9112, section 9.6).
const LINGER: Duration = Duration::from_secs(1);

/// A socket whose reads fail if the first bytes do not arrive before a deadline. A shutdown completes when the peer has closed too, or after
/// [`LINGER`].
#[derive(Debug)]
pub(super) struct Socket<I> {
    io: I,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    Beginning { missing: usize, deadline: Pin<Box<Sleep>> },
    Open,
    Lingering { deadline: Pin<Box<Sleep>> },
}

impl<I> Socket<I> {
    pub(super) fn new(io: I, first_bytes: Duration) -> Self {
        let deadline = Box::pin(tokio::time::sleep(first_bytes));
        Self { io, phase: Phase::Beginning { missing: PREFACE, deadline } }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Socket<I> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        let Phase::Beginning { missing, deadline } = &mut self.phase else { return read };
        if read.is_pending() {
            ready!(deadline.as_mut().poll(cx));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        *missing = missing.saturating_sub(buf.filled().len() - before);
        if *missing == 0 {
            self.phase = Phase::Open;
        }
        read
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Socket<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { io, phase } = &mut *self;
        if !matches!(phase, Phase::Lingering { .. }) {
            ready!(Pin::new(&mut *io).poll_shutdown(cx))?;
            *phase = Phase::Lingering { deadline: Box::pin(tokio::time::sleep(LINGER)) };
        }
        let Phase::Lingering { deadline } = phase else { return Poll::Ready(Ok(())) };
        let mut unread = [0; 4096];
        while deadline.as_mut().poll(cx).is_pending() {
            let mut buf = ReadBuf::new(&mut unread);
            // The peer has closed, gracefully or not.
            if ready!(Pin::new(&mut *io).poll_read(cx, &mut buf)).is_err() || buf.filled().is_empty() {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
