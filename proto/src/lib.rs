//! Rialto's protocol: messages and clients generated from the definitions in `proto/`, and the compiled definitions themselves.
//!
//! The feature `server` adds server traits on prost's codec. The hub does not use it: it generates traits on a codec of its own.

#![allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub, unused_qualifications, reason = "generated")]

/// Package `user`: users, and the chat between them.
pub mod user {
    tonic::include_proto!("user");
}

/// The packages `rialto.*`.
pub mod rialto {
    /// Package `rialto.v1`: sign-in, and rooms without a Chat stream.
    pub mod v1 {
        tonic::include_proto!("rialto.v1");
    }
}

/// `Debug` without secrets.
mod redacted {
    use std::fmt::{Debug, Formatter, Result};

    use super::{
        rialto::v1::{LoginRequest, LogoutRequest, RefreshRequest, Tokens},
        user::{CreateUserRequest, RefreshToken, UpdateUserRequest},
    };

    /// Prints the named fields and `..` in place of the secret ones.
    macro_rules! debug_without_secrets {
        ($($message:ident { $($shown:ident),* } without { $($secret:ident),+ })+) => {$(
            impl Debug for $message {
                fn fmt(&self, f: &mut Formatter<'_>) -> Result {
                    // Every field is named, so that a new one does not compile until it is listed as shown or secret.
                    let Self { $($shown,)* $($secret: _),+ } = self;
                    f.debug_struct(stringify!($message))$(.field(stringify!($shown), $shown))*.finish_non_exhaustive()
                }
            }
        )+};
    }

    debug_without_secrets! {
        CreateUserRequest { username, email } without { password }
        UpdateUserRequest { id, username, email, expected_revision, roles } without { password }
        RefreshToken {} without { token }
        LoginRequest { username } without { password }
        RefreshRequest {} without { refresh_token }
        LogoutRequest {} without { refresh_token }
        Tokens { access_expires_in, refresh_expires_in } without { access_token, refresh_token }
    }
}

/// All definitions with their comments, as a serialised `google.protobuf.FileDescriptorSet`. For reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

#[cfg(test)]
mod tests {
    use super::{
        rialto::v1::{LoginRequest, LoginResponse, LogoutRequest, RefreshRequest, Tokens},
        user::{ChatMessage, CreateUserRequest, RefreshToken, UpdateUserRequest, chat_message::Event},
    };

    #[test]
    fn secrets_are_not_printed() {
        let secret = || "hunter2".to_owned();
        let create = CreateUserRequest { password: secret(), ..CreateUserRequest::default() };
        let update = UpdateUserRequest { password: Some(secret()), ..UpdateUserRequest::default() };
        let refresh = Event::RefreshToken(RefreshToken { token: secret() });
        let message = ChatMessage { event: Some(refresh), ..ChatMessage::default() };
        let login = LoginRequest { username: "ada".into(), password: secret() };
        let again = (RefreshRequest { refresh_token: secret() }, LogoutRequest { refresh_token: secret() });
        let tokens = Tokens { access_token: secret(), refresh_token: secret(), ..Tokens::default() };
        let given = LoginResponse { tokens: Some(tokens), user: None };
        let printed = format!("{create:?}{update:?}{message:?}{login:?}{again:?}{given:?}");
        assert!(!printed.contains("hunter2"), "{printed}");
        assert!(printed.contains("ada"), "{printed}");
    }
}
