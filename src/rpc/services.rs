//! The generated servers, with their limits and encodings.

use super::{
    SMALL_FRAME, auth as auth_calls,
    chat::Parts,
    chat_request,
    compression::with_encodings,
    generated::user_service_server::{UserService, UserServiceServer},
    generated_v1::{
        auth_service_server::{AuthService, AuthServiceServer},
        chat_service_server::{ChatService, ChatServiceServer},
    },
    rooms as rooms_calls, users as users_calls,
};
use crate::{auth::Sessions, config, users::Users};

/// The users' methods: all of the service but Chat.
pub(crate) fn users(
    users: Users,
    parts: &Parts,
    settings: &config::Limits,
) -> UserServiceServer<impl UserService + use<>> {
    let server = UserServiceServer::new(users_calls::Calls::new(users, parts.clone(), settings.max_reply_bytes))
        .max_decoding_message_size(settings.max_frame_bytes)
        .max_encoding_message_size(settings.max_reply_bytes);
    let server = with_encodings(server, UserServiceServer::accept_compressed);
    with_encodings(server, UserServiceServer::send_compressed)
}

/// The rooms' methods: all of the service but Subscribe.
pub(crate) fn rooms(parts: &Parts, settings: &config::Limits) -> ChatServiceServer<impl ChatService + use<>> {
    let rules = chat_request::Rules { text_bytes: settings.max_text_bytes, limits: parts.limits.clone() };
    let server = ChatServiceServer::new(rooms_calls::Calls::new(parts.clone(), rules))
        .max_decoding_message_size(settings.max_frame_bytes)
        .max_encoding_message_size(settings.max_reply_bytes);
    let server = with_encodings(server, ChatServiceServer::accept_compressed);
    with_encodings(server, ChatServiceServer::send_compressed)
}

/// Login, refresh and logout. Without `sessions`, the server takes no tokens and the methods fail.
pub(crate) fn auth(
    sessions: Option<Sessions>,
    parts: &Parts,
    settings: &config::Limits,
) -> AuthServiceServer<impl AuthService + use<>> {
    let server = AuthServiceServer::new(auth_calls::Calls::new(sessions, parts.hub.clone(), parts.limits.clone()))
        .max_decoding_message_size(SMALL_FRAME.min(settings.max_frame_bytes))
        .max_encoding_message_size(settings.max_reply_bytes);
    with_encodings(server, AuthServiceServer::accept_compressed)
}
