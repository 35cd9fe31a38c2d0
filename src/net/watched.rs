//! A response body that the stream's handle can see: whether anybody takes what it gives, and whether it has ended.
//!
//! What is larger than a piece is given in pieces: hyper hands over whatever it was given as soon as the client's window lets one byte
//! through, and what waits in h2 is nobody's to see, or to limit.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::hub::Stream;

/// Bytes that are given at once.
const PIECE: usize = 64 * 1024;

/// Tells the handle of its stream.
#[derive(Debug)]
pub(super) struct Watched<B> {
    body: B,
    /// What was more than a piece.
    rest: Bytes,
    stream: Stream,
}

impl<B> Watched<B> {
    /// To be made by the stream's own task.
    pub(super) fn new(body: B) -> Self {
        Self { body, rest: Bytes::new(), stream: Stream::current() }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Watched<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        self.stream.asked(cx.waker());
        if !self.rest.is_empty() {
            let piece = self.rest.len().min(PIECE);
            self.stream.gave();
            return Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(piece)))));
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
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.rest.is_empty() { self.body.size_hint() } else { SizeHint::default() }
    }
}
