//! Generated from `proto/`: messages and clients. The servers' side is generated for [`crate::rpc`].

#![allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub, unused_qualifications, reason = "generated")]

/// Package `user`: the users, and the chat between them.
pub mod user {
    tonic::include_proto!("user");
}

/// The packages `rialto.*`.
pub mod rialto {
    /// Package `rialto.v1`: rooms for those who only listen, only speak, or only look.
    pub mod v1 {
        tonic::include_proto!("rialto.v1");
    }
}

/// Secrets are never printed.
mod redacted {
    use std::fmt::{Debug, Formatter, Result};

    use super::user::{CreateUserRequest, RefreshToken, UpdateUserRequest};

    impl Debug for CreateUserRequest {
        fn fmt(&self, f: &mut Formatter<'_>) -> Result {
            let Self { username, email, password: _ } = self;
            f.debug_struct("CreateUserRequest")
                .field("username", username)
                .field("email", email)
                .finish_non_exhaustive()
        }
    }

    impl Debug for UpdateUserRequest {
        fn fmt(&self, f: &mut Formatter<'_>) -> Result {
            let Self { id, username, email, password: _, expected_revision, roles } = self;
            f.debug_struct("UpdateUserRequest")
                .field("id", id)
                .field("username", username)
                .field("email", email)
                .field("expected_revision", expected_revision)
                .field("roles", roles)
                .finish_non_exhaustive()
        }
    }

    impl Debug for RefreshToken {
        fn fmt(&self, f: &mut Formatter<'_>) -> Result {
            f.debug_struct("RefreshToken").finish_non_exhaustive()
        }
    }
}

/// Every definition, for reflection: a serialised `google.protobuf.FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

#[cfg(test)]
mod tests {
    use super::user::{ChatMessage, CreateUserRequest, RefreshToken, UpdateUserRequest, chat_message::Event};

    #[test]
    fn secrets_are_not_printed() {
        let secret = || "hunter2".to_owned();
        let create = CreateUserRequest { password: secret(), ..CreateUserRequest::default() };
        let update = UpdateUserRequest { password: Some(secret()), ..UpdateUserRequest::default() };
        let refresh = Event::RefreshToken(RefreshToken { token: secret() });
        let message = ChatMessage { event: Some(refresh), ..ChatMessage::default() };
        let printed = format!("{create:?}{update:?}{message:?}");
        assert!(!printed.contains("hunter2"), "{printed}");
    }
}
