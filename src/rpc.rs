//! gRPC: decode, call, wrap. Nothing below knows it.

mod admission;
mod auth;
mod chat;
mod chat_request;
mod chat_stream;
mod codec;
mod compression;
mod rooms;
mod status;
mod stream_limit;
mod users;

use tonic::codec::CompressionEncoding::{Gzip, Zstd};

use crate::{auth::Sessions, caller::Caller, users::Users};
pub(crate) use admission::{Admission, admit, refuse};
pub(crate) use chat::{CHAT_PATH, Parts as ChatParts, SUBSCRIBE_PATH, chat, subscribe};
pub(crate) use codec::{HalfClose, Unfinished};
pub(crate) use compression::keep_lists_plain;
use generated::user_service_server::{UserService, UserServiceServer};
use generated_v1::{
    auth_service_server::{AuthService, AuthServiceServer},
    chat_service_server::{ChatService, ChatServiceServer},
};
pub(crate) use status::{why, with_details_in_response};
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

/// The limits of the calls.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Bytes of a chat message's frame.
    pub chat_frame_bytes: usize,
    /// Bytes of any other request's frame.
    pub frame_bytes: usize,
    /// Bytes of a message's text.
    pub text_bytes: usize,
    /// Bytes of a reply that is not a stream.
    pub reply_bytes: usize,
    /// Drafts of one stream that may be on their way to the log.
    pub inflight_per_stream: usize,
    /// Bytes of these drafts.
    pub inflight_bytes_per_stream: usize,
    /// Rooms that a stream may start in.
    pub rooms_per_stream: usize,
}

/// The users' methods: all of the service but Chat.
pub(crate) fn users(
    users: Users,
    parts: &ChatParts,
    settings: &Settings,
) -> UserServiceServer<impl UserService + use<>> {
    UserServiceServer::new(users::Calls::new(users, parts.clone(), settings.reply_bytes))
        .max_decoding_message_size(settings.frame_bytes)
        .max_encoding_message_size(settings.reply_bytes)
        .accept_compressed(Gzip)
        .accept_compressed(Zstd)
        .send_compressed(Gzip)
        .send_compressed(Zstd)
}

/// The rooms' methods: all of the service but Subscribe.
pub(crate) fn rooms(parts: &ChatParts, settings: &Settings) -> ChatServiceServer<impl ChatService + use<>> {
    let rules = chat_request::Rules { text_bytes: settings.text_bytes, limits: parts.limits.clone() };
    ChatServiceServer::new(rooms::Calls::new(parts.clone(), rules))
        .max_decoding_message_size(settings.frame_bytes)
        .max_encoding_message_size(settings.reply_bytes)
        .accept_compressed(Gzip)
        .accept_compressed(Zstd)
        .send_compressed(Gzip)
        .send_compressed(Zstd)
}

/// Logging in and out; without sessions there are no tokens.
pub(crate) fn auth(
    sessions: Option<Sessions>,
    parts: &ChatParts,
    settings: &Settings,
) -> AuthServiceServer<impl AuthService + use<>> {
    AuthServiceServer::new(auth::Calls::new(sessions, parts.hub.clone(), parts.limits.clone()))
        .max_decoding_message_size(SMALL_FRAME.min(settings.frame_bytes))
        .max_encoding_message_size(settings.reply_bytes)
        .accept_compressed(Gzip)
        .accept_compressed(Zstd)
}

/// Who makes this call, as the layers have found out; nobody, if none of them was asked.
fn caller(extensions: &http::Extensions) -> Caller {
    extensions.get().cloned().unwrap_or_default()
}
