//! Coalesces the writes of one poll of a connection (a turn) into one system call, and limits what a turn reads.
//!
//! h2 writes and flushes each frame, and most frames have at most 16 KiB: under load, a system call for each would cost more than the frame, and
//! more than the copy made here. So hyper writes to [`CoalescedIo`], which buffers until [`Turn::poll_end`] writes everything at once and
//! flushes the socket (TLS has a buffer of its own).
//!
//! h2 also handles all frames that it can read before it returns, and tokio interrupts it only after 128 reads, which is 100,000 of the smallest
//! frames. So a turn reads only a few full frames, and a client that floods the server takes turns with all others.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Number of buffered bytes that are written before the turn ends. A connection whose peer does not read buffers this much and one more frame,
/// which has at most `observed::PIECE` bytes.
const MAX_BUFFERED: usize = 64 * 1024;

/// Number of bytes after which a turn stops reading. The last read may exceed it.
const MAX_READ: usize = 16 * 1024;

/// A connection's socket, as hyper sees it.
#[derive(Debug)]
pub(super) struct CoalescedIo<I>(Arc<Mutex<Shared<I>>>);

/// The same socket, as the connection's task sees it.
#[derive(Debug)]
pub(super) struct Turn<I>(Arc<Mutex<Shared<I>>>);

#[derive(Debug)]
struct Shared<I> {
    io: I,
    bytes: BytesMut,
    /// Bytes read in this turn.
    read: usize,
}

/// Wraps a socket.
pub(super) fn coalesce<I>(io: I) -> (CoalescedIo<I>, Turn<I>) {
    let shared = Arc::new(Mutex::new(Shared { io, bytes: BytesMut::new(), read: 0 }));
    (CoalescedIo(Arc::clone(&shared)), Turn(shared))
}

impl<I: AsyncWrite + Unpin> Turn<I> {
    /// Writes what the turn has buffered, and begins the next turn. Pending if the socket takes no more now; the task is woken when it does.
    pub(super) fn poll_end(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut shared = lock(&self.0);
        shared.read = 0;
        shared.poll_write_out(cx)
    }
}

impl<I: AsyncWrite + Unpin> Shared<I> {
    fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.bytes.is_empty() {
            let written = ready!(Pin::new(&mut self.io).poll_write(cx, &self.bytes))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.bytes.advance(written);
        }
        // An idle connection keeps no buffer.
        self.bytes = BytesMut::new();
        // Even if nothing was written: reading may have produced something to send, such as a TLS key update.
        Pin::new(&mut self.io).poll_flush(cx)
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for CoalescedIo<I> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut shared = lock(&self.0);
        if shared.read >= MAX_READ {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut shared.io).poll_read(cx, buf))?;
        shared.read += buf.filled().len() - before;
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for CoalescedIo<I> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(buf)])
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut shared = lock(&self.0);
        ready!(shared.poll_write_out(cx))?;
        Pin::new(&mut shared.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut shared = lock(&self.0);
        if shared.bytes.len() >= MAX_BUFFERED {
            ready!(shared.poll_write_out(cx))?;
        }
        let len = bufs.iter().map(|buf| buf.len()).sum();
        shared.bytes.reserve(len);
        bufs.iter().for_each(|buf| shared.bytes.extend_from_slice(buf));
        Poll::Ready(Ok(len))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}

fn lock<I>(shared: &Mutex<Shared<I>>) -> MutexGuard<'_, Shared<I>> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicBool, Ordering},
        task::Wake,
    };

    use futures_util::FutureExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, BufWriter, duplex};

    use super::*;

    #[tokio::test]
    async fn writes_of_a_turn_reach_the_socket_at_its_end() {
        let (near, mut far) = duplex(1024);
        let (mut io, turn) = coalesce(near);
        let mut received = [0; 64];
        for part in [&b"one "[..], b"two "] {
            io.write_all(part).await.unwrap();
            io.flush().await.unwrap();
        }
        assert!(far.read(&mut received).now_or_never().is_none(), "the turn is not over");
        std::future::poll_fn(|cx| turn.poll_end(cx)).await.unwrap();
        assert_eq!(far.read(&mut received).await.unwrap(), 8);
        assert_eq!(&received[..8], b"one two ");
        assert_eq!(lock(&turn.0).bytes.capacity(), 0, "an idle connection has no buffer");

        io.write_all(b"end").await.unwrap();
        io.shutdown().await.unwrap();
        assert_eq!(far.read(&mut received).await.unwrap(), 3, "a shutdown writes what is buffered");
        assert_eq!(far.read(&mut received).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn the_buffer_of_the_socket_itself_is_flushed_at_the_end_of_a_turn() {
        let (near, mut far) = duplex(4);
        let (mut io, turn) = coalesce(BufWriter::with_capacity(1024, near));
        let end = || std::future::poll_fn(|cx| turn.poll_end(cx));
        io.write_all(b"one two ").await.unwrap();
        assert!(end().now_or_never().is_none(), "the peer takes four bytes, and then no more");
        assert_eq!(lock(&turn.0).bytes.capacity(), 0, "no data is buffered twice");
        let mut received = [0; 8];
        let (ended, read) = tokio::join!(end(), far.read_exact(&mut received));
        ended.unwrap();
        read.unwrap();
        assert_eq!(&received, b"one two ");
    }

    #[tokio::test]
    async fn a_peer_that_does_not_read_blocks_the_writer_at_the_limit() {
        let (near, mut far) = duplex(1024);
        let (mut io, turn) = coalesce(near);
        let chunk = [0; 16 * 1024];
        let mut written = 0;
        while let Some(outcome) = io.write(&chunk).now_or_never() {
            written += outcome.unwrap();
            assert!(written <= MAX_BUFFERED + 2 * chunk.len(), "{written}");
        }
        assert!(written >= MAX_BUFFERED);
        let reads = async {
            let mut read = vec![0; written];
            far.read_exact(&mut read).await.unwrap();
        };
        let (ended, ()) = tokio::join!(std::future::poll_fn(|cx| turn.poll_end(cx)), reads);
        ended.unwrap();
    }

    #[derive(Default)]
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    #[tokio::test]
    async fn a_turn_stops_reading_at_its_limit_and_wakes_the_task() {
        let (near, mut far) = duplex(8 * MAX_READ);
        let (mut io, turn) = coalesce(near);
        far.write_all(&[0; 3 * MAX_READ]).await.unwrap();
        let woken = Arc::<Woken>::default();
        let waker = Arc::clone(&woken).into();
        let mut cx = Context::from_waker(&waker);
        let mut buffer = [0; 4096];
        for _ in 0..3 {
            for _ in 0..MAX_READ / buffer.len() {
                io.read_exact(&mut buffer).now_or_never().expect("the turn may read more").unwrap();
            }
            assert!(Pin::new(&mut io).poll_read(&mut cx, &mut ReadBuf::new(&mut buffer)).is_pending());
            assert!(woken.0.swap(false, Ordering::Relaxed));
            assert!(turn.poll_end(&mut cx).is_ready());
        }
        assert!(Pin::new(&mut io).poll_read(&mut cx, &mut ReadBuf::new(&mut buffer)).is_pending());
        assert!(!woken.0.load(Ordering::Relaxed), "there is nothing to read");
    }
}
