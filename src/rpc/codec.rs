//! Decoding of requests, where tonic's own would end a stream at the first bad message, or mistake a reset for the end of a request.

mod framing;

use std::{
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http::{Request, Version};
use http_body::{Body, Frame, SizeHint};
use prost::{DecodeError, Message};
use tonic::{
    Status,
    codec::{BufferSettings, Codec as TonicCodec, DecodeBuf, Decoder},
};
use tonic_prost::ProstCodec;

use super::status::{Failure, RequestError};
use crate::proto::user::ChatMessage;
pub(crate) use framing::Unfinished;
use framing::{Framing, Full};

/// The codec of the generated servers. A message that does not decode is INVALID_ARGUMENT with details, and not INTERNAL.
#[derive(Debug)]
pub(crate) struct Codec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> TonicCodec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = <ProstCodec<T, U> as TonicCodec>::Encoder;
    type Decoder = RequestDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::default().encoder()
    }

    fn decoder(&mut self) -> Self::Decoder {
        RequestDecoder::default()
    }
}

/// Decodes requests. One that does not decode fails the call.
#[derive(Debug)]
pub(crate) struct RequestDecoder<U>(PhantomData<U>);

impl<U> Default for RequestDecoder<U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<U: Message + Default> Decoder for RequestDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, frame: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        decode_whole(frame).map(Some).map_err(|error| refused(RequestError::MalformedMessage(error)))
    }
}

/// Decodes chat messages. One that does not decode is an item of the stream, which continues.
#[derive(Debug, Default)]
pub(crate) struct ChatDecoder;

impl Decoder for ChatDecoder {
    type Item = Result<ChatMessage, DecodeError>;
    type Error = Status;

    fn decode(&mut self, frame: &mut DecodeBuf<'_>) -> Result<Option<Self::Item>, Status> {
        Ok(Some(decode_whole(frame)))
    }

    fn buffer_settings(&self) -> BufferSettings {
        // Chat messages are small and streams are many: tonic's default of 8 KiB would be most of a stream's memory.
        BufferSettings::new(1024, 32 * 1024)
    }
}

fn refused(error: RequestError) -> Status {
    Failure::from(error).into()
}

/// Decodes a frame, and consumes all of it even if that fails, so that the next read begins at the next frame.
fn decode_whole<M: Message + Default>(frame: &mut DecodeBuf<'_>) -> Result<M, DecodeError> {
    let decoded = M::decode(&mut *frame);
    frame.advance(frame.remaining());
    decoded
}

/// A request body that ends at the client's half-close and fails at a reset.
///
/// hyper ends a body on `RST_STREAM(NO_ERROR)` as if it were complete, and tonic treats `CANCEL` as the end of the messages. Only a half-close
/// has END_STREAM (RFC 9113, section 8.1).
#[derive(Debug)]
pub(crate) struct HalfClose<B> {
    body: B,
    framing: Framing,
    /// What this request holds of the budget for incomplete messages.
    unfinished: Unfinished,
    /// Whether the request came by HTTP/2. HTTP/1 has no resets: hyper fails a truncated body itself.
    is_http_2: bool,
}

impl<B> HalfClose<B> {
    pub(crate) fn wrap(request: Request<B>, unfinished: Unfinished) -> Request<Self> {
        let is_http_2 = request.version() == Version::HTTP_2;
        request.map(|body| Self { body, framing: Framing::default(), unfinished, is_http_2 })
    }
}

impl<B> Body for HalfClose<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Poll::Ready(match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.framing.advance(data);
                    let Self { framing, unfinished, .. } = &mut *self;
                    if let Err(Full { limit }) = unfinished.reserve(framing) {
                        let full = RequestError::TooManyIncompleteMessages { limit };
                        return Poll::Ready(Some(Err(refused(full))));
                    }
                }
                // tonic ignores what is missing before trailers.
                let is_truncated = frame.is_trailers() && self.framing.is_inside();
                Some(if is_truncated { Err(refused(RequestError::Truncated)) } else { Ok(frame) })
            }
            Some(Err(_)) => Some(Err(refused(RequestError::Reset))),
            None if self.is_http_2 && !self.body.is_end_stream() => Some(Err(refused(RequestError::Reset))),
            None if self.framing.is_inside() => Some(Err(refused(RequestError::Truncated))),
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
