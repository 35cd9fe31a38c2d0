// Included by `build.rs` too, which leaves these methods out of the generated servers.

/// The path of Chat.
pub(crate) const CHAT: &str = "/user.UserService/Chat";

/// The path of Subscribe.
pub(crate) const SUBSCRIBE: &str = "/rialto.v1.ChatService/Subscribe";

/// The methods that `rpc/chat` serves with a response body of its own.
#[allow(dead_code, reason = "used by build.rs")]
pub(crate) const OWN_BODIES: [&str; 2] = [CHAT, SUBSCRIBE];
