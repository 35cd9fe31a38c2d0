//! A response body that the stream's handle can see: whether anybody takes what it gives, and whether it has ended.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use http_body::{Body, Frame, SizeHint};

use crate::hub::Stream;

/// Tells the handle of its stream.
#[derive(Debug)]
pub(super) struct Watched<B> {
    body: B,
    stream: Stream,
}

impl<B> Watched<B> {
    /// To be made by the stream's own task.
    pub(super) fn new(body: B) -> Self {
        Self { body, stream: Stream::current() }
    }
}

impl<B: Body + Unpin> Body for Watched<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.stream.asked(cx.waker());
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) if frame.is_data() => self.stream.gave(),
            _ => self.stream.ended(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
