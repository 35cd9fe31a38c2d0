//! Who may call which method. `docs/security.md` has the same table for people, and a test compares both with what the server does.

use super::Error;
use crate::{
    caller::{Caller, Standing},
    users::parse_id,
};

/// Who may make a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// Anybody, without a token; one that comes along is not looked at.
    Anybody,
    /// Admins; where registration is open, anybody.
    Registration,
    /// Whoever has a token.
    Everyone,
    /// The user that the call is about, and admins: the handler asks [`may_change`].
    Oneself,
    /// Admins.
    Admins,
}

/// The methods by their paths, and who may call each. What is not named here needs a token, and then is not found.
pub const RULES: [(&str, Who); 18] = [
    ("/user.UserService/GetUser", Who::Everyone),
    ("/user.UserService/ListUsers", Who::Everyone),
    ("/user.UserService/CreateUser", Who::Registration),
    ("/user.UserService/CreateUsers", Who::Admins),
    ("/user.UserService/UpdateUser", Who::Oneself),
    ("/user.UserService/DeleteUser", Who::Oneself),
    ("/user.UserService/Chat", Who::Everyone),
    ("/rialto.v1.ChatService/Subscribe", Who::Everyone),
    ("/rialto.v1.ChatService/Publish", Who::Everyone),
    ("/rialto.v1.ChatService/GetHistory", Who::Everyone),
    ("/rialto.v1.ChatService/ListRooms", Who::Everyone),
    ("/rialto.v1.AuthService/Login", Who::Anybody),
    ("/rialto.v1.AuthService/Refresh", Who::Anybody),
    ("/rialto.v1.AuthService/Logout", Who::Anybody),
    // Probes have no tokens; what goes on needs one.
    ("/grpc.health.v1.Health/Check", Who::Anybody),
    ("/grpc.health.v1.Health/Watch", Who::Everyone),
    ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Who::Everyone),
    ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Who::Everyone),
];

/// Methods whose answer goes on, and with it the need for a token.
const GO_ON: [&str; 7] = [
    "/user.UserService/Chat",
    "/user.UserService/ListUsers",
    "/rialto.v1.ChatService/Subscribe",
    "/rialto.v1.ChatService/ListRooms",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// The answer of this method goes on.
pub(super) fn goes_on(path: &str) -> bool {
    GO_ON.contains(&path)
}

/// Who may make the call of this path.
pub(super) fn who(path: &str) -> Who {
    RULES.iter().find(|(method, _)| *method == path).map_or(Who::Everyone, |(_, who)| *who)
}

/// Whether a caller may make such a call.
pub(super) fn check(who: Who, caller: &Caller, open_registration: bool) -> Result<(), Error> {
    let is_known = caller.standing != Standing::Nobody;
    match who {
        Who::Anybody => Ok(()),
        Who::Registration if open_registration => Ok(()),
        _ if !is_known => Err(Error::TokenMissing),
        Who::Everyone | Who::Oneself => Ok(()),
        Who::Registration | Who::Admins if caller.is_admin() => Ok(()),
        Who::Registration => Err(Error::NotAllowed("admins create users, as long as registration is not open")),
        Who::Admins => Err(Error::NotAllowed("only admins may do this")),
    }
}

/// Whether a caller may change or delete the user of this id.
pub fn may_change(caller: &Caller, id: &str) -> Result<(), Error> {
    let is_allowed = caller.is_admin() || parse_id(id).is_some_and(|id| caller.answers_for(id));
    if is_allowed { Ok(()) } else { Err(Error::NotAllowed("only the user itself and admins may change a user")) }
}

/// Whether a caller may give and take roles.
pub fn may_set_roles(caller: &Caller) -> Result<(), Error> {
    if caller.is_admin() { Ok(()) } else { Err(Error::NotAllowed("only admins give and take roles")) }
}
