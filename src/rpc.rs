//! gRPC: decode, call, wrap. Nothing below knows it.

mod admission;
mod auth;
mod chat;
mod chat_request;
mod chat_stream;
mod codec;
mod compression;
mod deadline;
mod ending;
mod extensions;
mod methods;
mod rooms;
mod services;
mod status;
mod stream_limit;
mod users;

pub(crate) use admission::{Admission, admit, refuse};
pub(crate) use chat::{Parts as ChatParts, chat, subscribe};
pub(crate) use codec::{HalfClose, Unfinished};
pub(crate) use compression::{keep_plain, with_encodings};
pub(crate) use ending::EndingLayer;
use extensions::{caller, handle};
pub(crate) use methods::{CHAT, SUBSCRIBE, access, check as check_methods, health_services};
pub use methods::{METHODS, Method, MethodsError, Streaming};
pub(crate) use services::{auth, rooms, users};
pub(crate) use status::with_details_in_response;
pub(crate) use stream_limit::StreamLimit;

/// The generated servers: every method but those whose response body is our own.
#[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub, unused_qualifications, reason = "generated")]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/user.rs"));
}
#[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub, unused_qualifications, reason = "generated")]
mod generated_v1 {
    include!(concat!(env!("OUT_DIR"), "/rialto.v1.rs"));
}

/// Bytes of a request of those who may have no token: names and tokens.
pub(crate) const SMALL_FRAME: usize = 8 * 1024;
