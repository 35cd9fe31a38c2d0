//! One connection: HTTP over its socket, until it ends or the server drains.

use std::{
    future::{Future, poll_fn},
    mem,
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use hyper::{body::Incoming, rt::Executor};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;
use tower::Service;

use super::{BoxError, coalesce::coalesce, connections::ConnectionHandle, socket::Socket};
use crate::{config, lifecycle::TaskGroup};

/// Buffer of an HTTP/1 connection, in bytes.
const HTTP_1_BUFFER: usize = 16 * 1024;

/// A connection's socket, plain or with TLS, whose state is large and therefore boxed.
pub(super) type Wire = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// Serves HTTP/1 and HTTP/2 with the limits of the settings.
#[derive(Debug)]
pub(super) struct Http(auto::Builder<StreamExecutor>);

impl Http {
    /// `streams` runs the tasks of HTTP/2 streams.
    pub(super) fn new(settings: &config::Http, streams: TaskGroup) -> Self {
        let mut http = auto::Builder::new(StreamExecutor { streams });
        http.http1()
            .timer(TokioTimer::new())
            .header_read_timeout(Duration::from_secs(settings.first_bytes_seconds))
            .max_buf_size(HTTP_1_BUFFER);
        http.http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(settings.max_streams_per_connection)
            .max_local_error_reset_streams(settings.max_local_error_resets)
            .max_pending_accept_reset_streams(settings.max_pending_accept_resets)
            .max_header_list_size(settings.max_header_list_bytes)
            .initial_stream_window_size(settings.stream_window_bytes)
            .initial_connection_window_size(settings.connection_window_bytes)
            .adaptive_window(false)
            .max_send_buf_size(settings.send_buffer_bytes)
            .keep_alive_interval(Duration::from_secs(settings.keepalive_interval_seconds))
            .keep_alive_timeout(Duration::from_secs(settings.keepalive_timeout_seconds));
        Self(http)
    }

    /// Runs a connection to its end. In a drain it takes no new requests, and ends when the running ones have.
    pub(super) fn run<S, B>(
        &self,
        wire: Wire,
        service: S,
        first_bytes: Duration,
        handle: ConnectionHandle,
    ) -> impl Future<Output = Result<(), BoxError>> + Send + use<S, B>
    where
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let (io, turn) = coalesce(Socket::new(wire, first_bytes));
        // Boxed before it goes into the task, which would hold it twice: as its argument, and as what it runs.
        let mut connection =
            Box::pin(self.0.serve_connection(TokioIo::new(io), TowerToHyperService::new(service)).into_owned());
        let mut is_draining = false;
        poll_fn(move |cx| {
            handle.register(cx.waker());
            if handle.is_draining() && !mem::replace(&mut is_draining, true) {
                connection.as_mut().graceful_shutdown();
            }
            let ended = connection.as_mut().poll(cx);
            // The writes of the last turn too, as far as the system takes them, if the socket has not been shut down.
            match turn.poll_end(cx) {
                Poll::Ready(Err(error)) if ended.is_pending() => Poll::Ready(Err(error.into())),
                _ => ended,
            }
        })
    }
}

/// Runs the tasks of HTTP/2 streams where they are counted, awaited, and can be aborted.
#[derive(Debug, Clone)]
struct StreamExecutor {
    streams: TaskGroup,
}

impl<F> Executor<F> for StreamExecutor
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, stream: F) {
        self.streams.spawn(stream);
    }
}
