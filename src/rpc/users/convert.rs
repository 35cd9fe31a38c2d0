//! Conversion between the wire's messages and users.

use std::sync::Arc;

use uuid::Uuid;

use crate::{
    caller::Caller,
    engine::User as StoredUser,
    hub,
    proto::user::{CreateUserRequest, CreateUsersResponse, State, User},
    rpc::status::Failure,
    users::{InvalidField, NewUser, parse_id},
};

/// Largest page of `ListUsers`, in users. Larger sizes count as this one.
const MAX_PAGE: usize = 10_000;

/// Bytes of a created user in a reply besides username and email address, at most: id, times, revision and the prefixes of fields.
pub(super) const CREATED_USER_BYTES: usize = 74;

pub(super) fn new_user(request: CreateUserRequest) -> NewUser {
    let CreateUserRequest { username, email, password } = request;
    NewUser { username, email, password }
}

/// An id that must be set. An empty id is an invalid request, not a user that does not exist.
pub(super) fn required_id(id: String) -> Result<String, Failure> {
    if id.is_empty() { Err(InvalidField::new("id", "must be set").into()) } else { Ok(id) }
}

/// The id after which a page starts.
pub(super) fn page_token(page_token: &str) -> Result<Option<Uuid>, Failure> {
    if page_token.is_empty() {
        return Ok(None);
    }
    let malformed = || InvalidField::new("page_token", "must be the id of the last user of the previous page");
    Ok(Some(parse_id(page_token).ok_or_else(malformed)?))
}

/// Users of a page. 0 is without limit.
pub(super) fn page_size(page_size: i32) -> Result<usize, Failure> {
    match usize::try_from(page_size) {
        Ok(0) => Ok(usize::MAX),
        Ok(size) => Ok(size.min(MAX_PAGE)),
        Err(_) => Err(InvalidField::new("page_size", "must not be negative").into()),
    }
}

/// Rejects a paging field that is set together with `watch`: a watch starts with all users.
pub(super) fn must_be_unset(field: &'static str, is_unset: bool) -> Result<(), Failure> {
    if is_unset { Ok(()) } else { Err(InvalidField::new(field, "must not be set together with watch").into()) }
}

pub(super) fn created(created: &[Arc<StoredUser>], hub: &hub::Handle) -> CreateUsersResponse {
    let users: Vec<_> = created.iter().map(|user| to_wire(user, hub)).collect();
    CreateUsersResponse { count: i32::try_from(users.len()).unwrap_or(i32::MAX), users }
}

/// A user as this caller may see it. The email address is visible to the user itself and to admins.
pub(super) fn visible_to(caller: &Caller, user: &StoredUser, hub: &hub::Handle) -> User {
    let mut visible = to_wire(user, hub);
    if !caller.answers_for(user.id) {
        visible.email.clear();
    }
    visible
}

/// A user with all its fields.
pub(in crate::rpc) fn to_wire(user: &StoredUser, hub: &hub::Handle) -> User {
    let id = user.id.to_string();
    User {
        online: hub.is_online(&id),
        id,
        username: user.username.clone(),
        email: user.email.clone(),
        created_at: user.created_at.seconds(),
        roles: user.roles.clone(),
        revision: user.revision,
        updated_at: user.updated_at.seconds(),
        state: State::Active.into(),
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    #[test]
    fn a_created_user_is_never_larger_in_a_reply_than_it_was_counted() {
        let (username, email) = ("\u{10000}".repeat(64), "e".repeat(254));
        let created_at = i64::MAX;
        let id = Uuid::max().to_string();
        let counted = CREATED_USER_BYTES + username.len() + email.len();
        let user = User {
            id,
            username,
            email,
            created_at,
            updated_at: created_at,
            revision: 1,
            online: true,
            ..User::default()
        };
        let reply = CreateUsersResponse { users: vec![user], count: 10_000 };
        assert!(reply.encoded_len() <= counted, "{} > {counted}", reply.encoded_len());
    }
}
