//! Who may make a call. `rpc/methods` has the rule of every method, and `docs/security.md` documents them.

use super::Error;
use crate::{
    caller::{Caller, Standing},
    users::parse_id,
};

/// Who may call a method, in token mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// Every caller, without a token. A token that is sent along is ignored.
    Anyone,
    /// Admins. While registration is open, every caller.
    Registration,
    /// Callers with a token.
    Authenticated,
    /// The user that the call is about, and admins: the handler calls [`may_change`].
    SelfOrAdmin,
    /// Admins.
    Admin,
}

/// Checks whether a caller may make a call.
pub(super) fn check(who: Who, caller: &Caller, open_registration: bool) -> Result<(), Error> {
    let is_anonymous = caller.standing == Standing::Anonymous;
    match who {
        Who::Anyone => Ok(()),
        Who::Registration if open_registration => Ok(()),
        _ if is_anonymous => Err(Error::TokenMissing),
        Who::Authenticated | Who::SelfOrAdmin => Ok(()),
        Who::Registration | Who::Admin if caller.is_admin() => Ok(()),
        Who::Registration => Err(Error::NotAllowed("registration is closed: only admins create users")),
        Who::Admin => Err(Error::NotAllowed("this call needs the role admin")),
    }
}

/// Checks whether a caller may change or delete the user with this id.
pub fn may_change(caller: &Caller, id: &str) -> Result<(), Error> {
    let is_allowed = caller.is_admin() || parse_id(id).is_some_and(|id| caller.answers_for(id));
    if is_allowed { Ok(()) } else { Err(Error::NotAllowed("only admins change other users")) }
}

/// Checks whether a caller may set roles.
pub fn may_set_roles(caller: &Caller) -> Result<(), Error> {
    if caller.is_admin() { Ok(()) } else { Err(Error::NotAllowed("only admins set roles")) }
}
