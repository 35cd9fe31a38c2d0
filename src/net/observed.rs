//! A response body that the stream's handle can see: whether anybody takes what it gives, whether it has ended, and whether it is to end.
//!
//! What is larger than a piece is given in pieces: hyper hands over whatever it was given as soon as the client's window lets one byte
//! through, and what waits in h2 is nobody's to see, or to limit.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use crate::lifecycle::{EndReason, RequestHandle};

/// The trailers that tell why a stream ends.
pub(crate) type Tell = fn(EndReason) -> HeaderMap;

/// Bytes that are given at once.
const PIECE: usize = 64 * 1024;

/// Tells the handle of its stream.
#[derive(Debug)]
pub(super) struct ObservedBody<B> {
    body: B,
    /// What was more than a piece.
    rest: Bytes,
    stream: RequestHandle,
    tell: Tell,
    is_over: bool,
}

impl<B> ObservedBody<B> {
    /// To be made by the stream's own task.
    pub(super) fn new(body: B, tell: Tell) -> Self {
        Self { body, rest: Bytes::new(), stream: RequestHandle::current(), tell, is_over: false }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for ObservedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        self.stream.asked(cx.waker());
        if !self.rest.is_empty() {
            let piece = self.rest.len().min(PIECE);
            self.stream.gave();
            return Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(piece)))));
        }
        // Here, and not in the middle of a message.
        if self.is_over {
            return Poll::Ready(None);
        }
        if let Some(reason) = self.stream.should_end() {
            self.is_over = true;
            self.stream.ended();
            return Poll::Ready(Some(Ok(Frame::trailers((self.tell)(reason)))));
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        Poll::Ready(match frame.map(|frame| frame.map(Frame::into_data)) {
            Some(Ok(Ok(mut data))) => {
                self.stream.gave();
                if data.len() > PIECE {
                    self.rest = data.split_off(PIECE);
                }
                Some(Ok(Frame::data(data)))
            }
            Some(Ok(Err(trailers))) => {
                self.stream.ended();
                Some(Ok(trailers))
            }
            Some(Err(error)) => {
                self.stream.ended();
                Some(Err(error))
            }
            None => {
                self.stream.ended();
                None
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && (self.is_over || self.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        if self.rest.is_empty() { self.body.size_hint() } else { SizeHint::default() }
    }
}
