//! What one turn of a connection writes, given to the system together, and what it may read.
//!
//! h2 writes and flushes frame by frame, and a frame has mostly at most 16 KiB: under load a system call each would cost more than what it
//! carries, and more than the copy that this costs.
//! So a connection's writes are shared until its turn is over; `CoalescedIo` is what hyper writes to, [`Turn`] what ends the turn. What keeps
//! bytes itself, as TLS does, is flushed then.
//!
//! And h2 handles every frame that it can read before it gives up its turn, which tokio ends only after 128 reads: of the smallest frames that
//! is 100,000. So a turn reads no more than a few full ones, and a client that floods takes turns with all others.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes from which on nothing more is shared: they go out before the turn is over. With one more frame, which has at most what a body gives
/// at once (`watched`), this is what a connection holds back whose peer does not read.
const MOST: usize = 64 * 1024;

/// Bytes that a turn reads, or a little more; then it is others' turn.
const READ: usize = 16 * 1024;

/// A connection's socket, as hyper sees it.
#[derive(Debug)]
pub(super) struct CoalescedIo<I>(Arc<Mutex<Shared<I>>>);

/// The same, as the connection's task sees it.
#[derive(Debug)]
pub(super) struct Turn<I>(Arc<Mutex<Shared<I>>>);

#[derive(Debug)]
struct Shared<I> {
    io: I,
    bytes: BytesMut,
    /// Bytes read in this turn.
    read: usize,
}

/// The two ends of a socket's wrapping.
pub(super) fn coalesce<I>(io: I) -> (CoalescedIo<I>, Turn<I>) {
    let shared = Arc::new(Mutex::new(Shared { io, bytes: BytesMut::new(), read: 0 }));
    (CoalescedIo(Arc::clone(&shared)), Turn(shared))
}

impl<I: AsyncWrite + Unpin> Turn<I> {
    /// Gives what was written in this turn to the system, and begins the next. Pending: it takes no more now, and the task will be woken.
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
        // An idle connection keeps no memory for it.
        self.bytes = BytesMut::new();
        // Also if nothing was written: reading may have left something to answer, as a change of keys.
        Pin::new(&mut self.io).poll_flush(cx)
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for CoalescedIo<I> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut shared = lock(&self.0);
        if shared.read >= READ {
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
        if shared.bytes.len() >= MOST {
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
    async fn what_is_written_in_a_turn_goes_out_at_its_end() {
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
        assert_eq!(lock(&turn.0).bytes.capacity(), 0, "nothing is shared for an idle connection");

        io.write_all(b"end").await.unwrap();
        io.shutdown().await.unwrap();
        assert_eq!(far.read(&mut received).await.unwrap(), 3, "an end takes along what waits");
        assert_eq!(far.read(&mut received).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn what_the_socket_keeps_itself_goes_out_at_the_end_of_the_turn_too() {
        let (near, mut far) = duplex(4);
        let (mut io, turn) = coalesce(BufWriter::with_capacity(1024, near));
        let end = || std::future::poll_fn(|cx| turn.poll_end(cx));
        io.write_all(b"one two ").await.unwrap();
        assert!(end().now_or_never().is_none(), "the peer takes four bytes, and then no more");
        assert_eq!(lock(&turn.0).bytes.capacity(), 0, "nothing is shared twice");
        let mut received = [0; 8];
        let (ended, read) = tokio::join!(end(), far.read_exact(&mut received));
        ended.unwrap();
        read.unwrap();
        assert_eq!(&received, b"one two ");
    }

    #[tokio::test]
    async fn a_peer_that_does_not_read_holds_up_the_writer_at_the_limit() {
        let (near, mut far) = duplex(1024);
        let (mut io, turn) = coalesce(near);
        let chunk = [0; 16 * 1024];
        let mut written = 0;
        while let Some(outcome) = io.write(&chunk).now_or_never() {
            written += outcome.unwrap();
            assert!(written <= MOST + 2 * chunk.len(), "{written}");
        }
        assert!(written >= MOST);
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
    async fn a_turn_reads_only_so_much_and_then_asks_for_another() {
        let (near, mut far) = duplex(8 * READ);
        let (mut io, turn) = coalesce(near);
        far.write_all(&[0; 3 * READ]).await.unwrap();
        let woken = Arc::<Woken>::default();
        let waker = Arc::clone(&woken).into();
        let mut cx = Context::from_waker(&waker);
        let mut buffer = [0; 4096];
        for _ in 0..3 {
            for _ in 0..READ / buffer.len() {
                io.read_exact(&mut buffer).now_or_never().expect("the turn goes on").unwrap();
            }
            assert!(Pin::new(&mut io).poll_read(&mut cx, &mut ReadBuf::new(&mut buffer)).is_pending());
            assert!(woken.0.swap(false, Ordering::Relaxed));
            assert!(turn.poll_end(&mut cx).is_ready());
        }
        assert!(Pin::new(&mut io).poll_read(&mut cx, &mut ReadBuf::new(&mut buffer)).is_pending());
        assert!(!woken.0.load(Ordering::Relaxed), "there is nothing to read");
    }
}
