//! The rows, and what is derived from them.

use super::own_bodies::{CHAT, SUBSCRIBE};
use crate::auth::Who;

/// What the server has to know about a method.
#[derive(Debug, Clone, Copy)]
pub struct Method {
    /// The path, as in HTTP/2's `:path`.
    pub path: &'static str,
    /// The callers who may call it.
    pub who: Who,
    /// Which sides send a stream of messages.
    pub streaming: Streaming,
    /// Whether replies are compressed if that makes them smaller and the client accepts it. Never for streams of small messages, which
    /// compression makes larger.
    pub compresses_replies: bool,
}

/// Which sides of a method send a stream of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Streaming {
    /// Neither.
    None,
    /// The client.
    Requests,
    /// The server.
    Responses,
    /// Both.
    Both,
}

impl Streaming {
    /// Whether the response is a stream: it lasts, so it ends with the token and at the deadline of its call.
    #[must_use]
    pub fn of_responses(self) -> bool {
        matches!(self, Self::Responses | Self::Both)
    }
}

const fn unary(path: &'static str, who: Who) -> Method {
    Method { path, who, streaming: Streaming::None, compresses_replies: false }
}

const fn stream(path: &'static str, who: Who, streaming: Streaming) -> Method {
    Method { path, who, streaming, compresses_replies: false }
}

const fn compressed(method: Method) -> Method {
    Method { compresses_replies: true, ..method }
}

/// All methods of the server. `docs/security.md` documents who may call them.
pub const METHODS: [Method; 18] = [
    compressed(unary("/user.UserService/GetUser", Who::Authenticated)),
    stream("/user.UserService/ListUsers", Who::Authenticated, Streaming::Responses),
    compressed(unary("/user.UserService/CreateUser", Who::Registration)),
    compressed(stream("/user.UserService/CreateUsers", Who::Admin, Streaming::Requests)),
    compressed(unary("/user.UserService/UpdateUser", Who::SelfOrAdmin)),
    compressed(unary("/user.UserService/DeleteUser", Who::SelfOrAdmin)),
    stream(CHAT, Who::Authenticated, Streaming::Both),
    stream(SUBSCRIBE, Who::Authenticated, Streaming::Responses),
    compressed(unary("/rialto.v1.ChatService/Publish", Who::Authenticated)),
    compressed(unary("/rialto.v1.ChatService/GetHistory", Who::Authenticated)),
    stream("/rialto.v1.ChatService/ListRooms", Who::Authenticated, Streaming::Responses),
    unary("/rialto.v1.AuthService/Login", Who::Anyone),
    unary("/rialto.v1.AuthService/Refresh", Who::Anyone),
    unary("/rialto.v1.AuthService/Logout", Who::Anyone),
    // Probes have no tokens. A watch needs one, as every stream does.
    unary("/grpc.health.v1.Health/Check", Who::Anyone),
    stream("/grpc.health.v1.Health/Watch", Who::Authenticated, Streaming::Responses),
    stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Who::Authenticated, Streaming::Both),
    stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Who::Authenticated, Streaming::Both),
];

/// The method of a path. `None` if there is none.
pub(crate) fn find(path: &str) -> Option<&'static Method> {
    static TABLE: [Method; METHODS.len()] = METHODS;
    TABLE.iter().find(|method| method.path == path)
}

/// Who may call the method of a path. An unknown one needs a token, so that only authenticated callers learn what does not exist.
pub(crate) fn access(path: &str) -> Who {
    find(path).map_or(Who::Authenticated, |method| method.who)
}

/// The names under which health is reported: the server as a whole, by the empty name, and each of its own services.
pub(crate) fn health_services() -> Vec<&'static str> {
    let mut services = vec![""];
    for method in METHODS {
        let service = method.path.trim_start_matches('/').split('/').next().unwrap_or_default();
        // Health and reflection are about the others.
        if !service.starts_with("grpc.") && !services.contains(&service) {
            services.push(service);
        }
    }
    services
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_is_reported_for_the_server_and_each_of_its_own_services() {
        let expected = ["", "user.UserService", "rialto.v1.ChatService", "rialto.v1.AuthService"];
        assert_eq!(health_services(), expected);
    }

    #[test]
    fn what_lasts_needs_a_token() {
        for method in METHODS.iter().filter(|method| method.streaming != Streaming::None) {
            assert!(!matches!(method.who, Who::Anyone | Who::Registration), "{}", method.path);
        }
    }

    #[test]
    fn an_unknown_method_needs_a_token() {
        assert_eq!(access("/user.UserService/NoSuchMethod"), Who::Authenticated);
    }
}
