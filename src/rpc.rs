//! gRPC: decode, call, wrap. Nothing below knows it.

mod chat;
mod codec;
mod door;
mod draft;
mod session;
mod status;
mod user;

use tokio_util::sync::CancellationToken;

use crate::users::Users;
pub(crate) use chat::{PATH as CHAT_PATH, Parts as ChatParts};
pub(crate) use codec::HalfClose;
pub(crate) use door::{Door, door};
use generated::user_service_server::{UserService, UserServiceServer};
pub(crate) use session::Streams;
pub(crate) use status::rename_oversize;

/// The generated servers: every method but Chat, whose response body is our own.
#[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub, unused_qualifications, reason = "generated")]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/servers/user.rs"));
}

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
    /// Drafts of one stream that may be on their way.
    pub inflight_per_stream: usize,
    /// Rooms that a stream may start in.
    pub rooms_per_stream: usize,
}

/// The users' methods: all of the service but Chat.
pub(crate) fn users(
    users: Users,
    draining: CancellationToken,
    settings: &Settings,
) -> UserServiceServer<impl UserService + use<>> {
    UserServiceServer::new(user::Calls::new(users, settings.reply_bytes, draining))
        .max_decoding_message_size(settings.frame_bytes)
        .max_encoding_message_size(settings.reply_bytes)
}

/// The Chat method, to be routed by its own path beside its service.
pub(crate) fn chat(parts: chat::Parts, settings: &Settings) -> chat::Chat {
    chat::Chat::new(parts, settings.clone())
}
