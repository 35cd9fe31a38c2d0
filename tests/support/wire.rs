//! Calls with raw bytes, for what no generated client sends, and errors as clients decode them.

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::StreamExt;
use http::Request;
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Code, Status, Streaming,
    body::Body,
    codec::Codec,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;
use tonic_types::StatusExt;
use tower::ServiceExt;

use super::soon;

/// The machine-readable parts of an error.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    pub code: Code,
    pub reason: String,
    pub field: Option<String>,
    /// Kind and name.
    pub resource: Option<(String, String)>,
    pub retry: bool,
}

impl Refusal {
    pub fn new(code: Code, reason: &str) -> Self {
        Self { code, reason: reason.into(), field: None, resource: None, retry: false }
    }

    pub fn field(self, name: impl Into<String>) -> Self {
        Self { field: Some(name.into()), ..self }
    }

    pub fn resource(self, kind: &str, name: &str) -> Self {
        Self { resource: Some((kind.into(), name.into())), ..self }
    }

    pub fn retry(self) -> Self {
        Self { retry: true, ..self }
    }

    pub fn of(status: &Status) -> Self {
        let details = status.get_error_details();
        let field = details.bad_request().map(|bad| {
            let fields: Vec<_> = bad.field_violations.iter().map(|violation| violation.field.as_str()).collect();
            fields.join(" ")
        });
        let reason = details.error_info().map(|info| {
            assert_eq!(info.domain, "rialto");
            info.reason.clone()
        });
        Self {
            code: status.code(),
            reason: reason.unwrap_or_else(|| format!("no ErrorInfo, but {:?}", status.message())),
            field,
            resource: details.resource_info().map(|info| (info.resource_type.clone(), info.resource_name.clone())),
            retry: details.retry_info().is_some_and(|retry| retry.retry_delay.is_some_and(|delay| !delay.is_zero())),
        }
    }
}

/// A connection that several clients share.
pub async fn connection(address: std::net::SocketAddr) -> Channel {
    soon(Endpoint::from_shared(format!("http://{address}")).unwrap().connect()).await.unwrap()
}

/// A framed message.
pub fn frame(message: &impl Message) -> Bytes {
    framed(0, &message.encode_to_vec())
}

/// Any payload, framed with any first byte.
pub fn framed(flag: u8, payload: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(5 + payload.len());
    frame.put_u8(flag);
    frame.put_u32(u32::try_from(payload.len()).unwrap());
    frame.put_slice(payload);
    frame.freeze()
}

/// The frame of a message, with an invalid UTF-8 byte in place of each `?`.
pub fn not_utf8(message: &impl Message) -> Bytes {
    let mut payload = message.encode_to_vec();
    payload.iter_mut().filter(|byte| **byte == b'?').for_each(|byte| *byte = 0xff);
    framed(0, &payload)
}

/// Calls a method of the service with these bytes as the body.
pub async fn call<M>(channel: &Channel, method: &str, body: impl Into<axum::body::Body>) -> Result<Streaming<M>, Status>
where
    M: Message + Default + 'static,
{
    let request = Request::post(format!("/user.UserService/{method}")).header("content-type", "application/grpc");
    let request = request.header("te", "trailers").header("rialto-rooms", "den").body(Body::new(body.into())).unwrap();
    let response = soon(channel.clone().oneshot(request)).await.map_err(|error| Status::from_error(error.into()))?;
    let http_status = response.status();
    match Status::from_header_map(response.headers()) {
        Some(status) if status.code() != Code::Ok => Err(status),
        _ => {
            let decoder = ProstCodec::<M, M>::default().decoder();
            Ok(Streaming::new_response(decoder, response.into_body(), http_status, None, None))
        }
    }
}

/// Opens a Chat stream in the room `den` and sends it these frames.
pub struct RawChat {
    frames: mpsc::Sender<Bytes>,
    pub chat: super::Chat,
}

impl RawChat {
    pub async fn open(channel: &Channel) -> Self {
        let (frames, sent) = mpsc::channel(16);
        let body = axum::body::Body::from_stream(ReceiverStream::new(sent).map(Ok::<_, std::io::Error>));
        let receiver = call(channel, "Chat", body).await.unwrap();
        Self { frames, chat: super::Chat::listening(receiver) }
    }

    pub async fn send(&self, frame: Bytes) {
        soon(self.frames.send(frame)).await.unwrap();
    }
}
