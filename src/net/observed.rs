//! Gives every request its handle, and reports to it how the response body is read.
//!
//! A body's data is passed on in pieces: hyper hands over a whole chunk as soon as the client's window lets one byte through, and what waits
//! inside h2 can be neither observed nor limited.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower::Service;

use crate::{
    caller::Peer,
    lifecycle::{RequestHandle, Requests},
};

/// Maximum size of a piece, in bytes.
pub(super) const PIECE: usize = 64 * 1024;

/// Puts [`Peer`] and [`RequestHandle`] into the extensions of every request of a connection, and observes its response.
#[derive(Debug, Clone)]
pub(super) struct Observe<S> {
    service: S,
    requests: Requests,
    peer: Peer,
}

impl<S> Observe<S> {
    pub(super) fn new(service: S, requests: Requests, peer: Peer) -> Self {
        Self { service, requests, peer }
    }
}

impl<S, R, B> Service<Request<R>> for Observe<S>
where
    S: Service<Request<R>, Response = Response<B>>,
{
    type Response = Response<ObservedBody<B>>;
    type Error = S::Error;
    type Future = ObservedResponse<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<R>) -> Self::Future {
        let handle = self.requests.register();
        request.extensions_mut().insert(self.peer.clone());
        request.extensions_mut().insert(handle.clone());
        ObservedResponse { response: self.service.call(request), request: handle, is_bound: false }
    }
}

pin_project! {
    /// The response of an observed request. Binds the request to the task that polls it: of the stream for HTTP/2, of the connection for
    /// HTTP/1.
    #[derive(Debug)]
    pub(super) struct ObservedResponse<F> {
        #[pin]
        response: F,
        request: RequestHandle,
        is_bound: bool,
    }
}

impl<F, B, E> Future for ObservedResponse<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<ObservedBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if !std::mem::replace(this.is_bound, true) {
            this.request.bind_task();
        }
        let response = ready!(this.response.poll(cx))?;
        Poll::Ready(Ok(response.map(|body| ObservedBody::new(body, this.request.clone()))))
    }
}

/// A response body that reports to the handle of its request.
#[derive(Debug)]
pub(super) struct ObservedBody<B> {
    body: B,
    /// The rest of a chunk that was larger than a piece.
    rest: Bytes,
    request: RequestHandle,
}

impl<B> ObservedBody<B> {
    fn new(body: B, request: RequestHandle) -> Self {
        Self { body, rest: Bytes::new(), request }
    }

    /// Yields the first piece of a chunk, and keeps the rest.
    fn piece(&mut self, mut chunk: Bytes) -> Frame<Bytes> {
        self.request.body_yielded();
        if chunk.len() > PIECE {
            self.rest = chunk.split_off(PIECE);
        }
        Frame::data(chunk)
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for ObservedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        self.request.body_polled();
        if !self.rest.is_empty() {
            let rest = std::mem::take(&mut self.rest);
            return Poll::Ready(Some(Ok(self.piece(rest))));
        }
        let polled = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = polled {
            return Poll::Ready(Some(Ok(match frame.into_data() {
                Ok(chunk) => self.piece(chunk),
                Err(trailers) => {
                    self.request.body_ended();
                    trailers
                }
            })));
        }
        self.request.body_ended();
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.rest.is_empty() { self.body.size_hint() } else { SizeHint::default() }
    }
}
