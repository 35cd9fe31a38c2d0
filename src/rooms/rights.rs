//! Who may do what in a room.
//!
//! Today every authenticated caller may do everything in every room, as itself; with authentication off, anyone may, under any name.
//! Checks of membership belong here.

use std::sync::Arc;

use crate::{
    caller::{Caller, Standing},
    types::RoomName,
};

/// An operation that needs a right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Join,
    Publish,
    Type,
    ReadHistory,
    List,
}

/// The caller lacks the right to an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Nothing has authenticated the caller.
    #[error("the caller is not authenticated")]
    Unauthenticated,
}

/// A message names another user than the caller that sent it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this caller is {0:?} and can act only under this user_id; leave user_id empty or set it to this")]
pub struct UserMismatch(pub String);

/// Returns whether the caller may do this in this room.
pub(super) fn check(caller: &Caller, _operation: Operation, _room: &RoomName) -> Result<(), Denied> {
    // The methods' rules refuse such calls earlier; a layer that is missing must not open the rooms.
    if caller.standing == Standing::Anonymous { Err(Denied::Unauthenticated) } else { Ok(()) }
}

/// Returns the user id under which the caller acts, given the one that it claims; empty if it claims none. A claimed id is accepted
/// only from anonymous callers.
pub fn speaks_as(caller: &Caller, claimed: String) -> Result<String, UserMismatch> {
    match caller.id.as_deref() {
        Some(id) if claimed.is_empty() => Ok(id.to_owned()),
        _ => check_speaker(caller, &claimed).map(|()| claimed),
    }
}

/// Returns the identity of a new member: the caller's own, or the claimed one of an anonymous caller; `None` for an anonymous member.
pub(super) fn member(caller: &Caller, claimed: Option<Arc<str>>) -> Result<Option<Arc<str>>, UserMismatch> {
    let Some(claimed) = claimed else { return Ok(caller.id.clone()) };
    check_speaker(caller, &claimed).map(|()| Some(claimed))
}

/// Returns whether the caller acts under this user id.
pub(super) fn check_speaker(caller: &Caller, user_id: &str) -> Result<(), UserMismatch> {
    match caller.id.as_deref() {
        Some(id) if id != user_id => Err(UserMismatch(id.to_owned())),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authenticated_caller_acts_only_as_itself() {
        let open = Caller::default();
        assert_eq!(speaks_as(&open, "eve".into()), Ok("eve".into()));
        assert_eq!(speaks_as(&open, String::new()), Ok(String::new()));
        assert_eq!(member(&open, None), Ok(None));
        let ada = Caller { id: Some("ada".into()), ..Caller::default() };
        assert_eq!(speaks_as(&ada, String::new()), Ok("ada".into()));
        assert_eq!(speaks_as(&ada, "ada".into()), Ok("ada".into()));
        assert_eq!(speaks_as(&ada, "eve".into()), Err(UserMismatch("ada".into())));
        assert_eq!(member(&ada, None), Ok(Some("ada".into())));
        assert_eq!(member(&ada, Some("eve".into())), Err(UserMismatch("ada".into())));
        assert_eq!(check_speaker(&ada, ""), Err(UserMismatch("ada".into())), "what is published names its user");
    }

    #[test]
    fn a_caller_that_no_layer_has_authenticated_may_do_nothing() {
        let room = RoomName::default();
        let may = |standing, operation| check(&Caller { standing, ..Caller::default() }, operation, &room).is_ok();
        let known = Standing::Authenticated { user: None, admin: false };
        for operation in [Operation::Join, Operation::Publish, Operation::Type, Operation::ReadHistory, Operation::List]
        {
            let granted = [Standing::Open, known, Standing::Anonymous].map(|standing| may(standing, operation));
            assert_eq!(granted, [true, true, false], "{operation:?}");
        }
    }
}
