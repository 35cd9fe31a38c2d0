//! The users' methods: decode, call, wrap.

mod watch;

use std::{pin::Pin, sync::Arc};

use async_stream::stream;
use tokio_stream::Stream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use uuid::Uuid;

use super::{
    caller, chat::Parts, compression::reply, generated::user_service_server::UserService, status::Failure,
    stream_limit::StreamLimit,
};
use crate::{
    auth::{may_change, may_set_roles},
    caller::Caller,
    engine::User as StoredUser,
    hub,
    limit::RateLimits,
    proto::user::{
        CreateUserRequest, CreateUsersResponse, DeleteUserRequest, DeleteUserResponse, GetUserRequest,
        ListUsersRequest, State, UpdateUserRequest, User,
    },
    users::{Bulk, Change, InvalidField, NewUser, Users, login_key, parse_id},
};

/// More in one page counts as this.
const PAGE: usize = 10_000;

/// Users looked up at once while a list is streamed.
const CHUNK: usize = 256;

/// Serves the methods.
#[derive(Debug, Clone)]
pub(super) struct Calls {
    users: Users,
    /// Knows who is online.
    hub: hub::Handle,
    streams: StreamLimit,
    limits: RateLimits,
    reply_bytes: usize,
    draining: CancellationToken,
}

impl Calls {
    pub(super) fn new(users: Users, parts: Parts, reply_bytes: usize) -> Self {
        let Parts { hub, streams, limits, draining, .. } = parts;
        Self { users, hub, streams, limits, reply_bytes, draining }
    }

    /// A password takes work, which only admins may ask for as they like.
    fn may_set_password(&self, caller: &Caller, name: &str) -> Result<(), Failure> {
        if caller.is_admin() { Ok(()) } else { Ok(self.limits.login(name, &caller.peer)?) }
    }
}

#[tonic::async_trait]
impl UserService for Calls {
    async fn get_user(&self, request: Request<GetUserRequest>) -> Result<Response<User>, Status> {
        let caller = caller(request.extensions());
        let GetUserRequest { id, username } = request.into_inner();
        let found = match (id.is_empty(), username.is_empty()) {
            (false, true) => self.users.get(&id),
            (true, false) => self.users.get_by_username(&username),
            _ => Err(InvalidField::new("id", "exactly one of id and username must be set").into()),
        };
        Ok(reply(seen(&*found.map_err(Failure::from)?, &caller, &self.hub)))
    }

    async fn create_user(&self, request: Request<CreateUserRequest>) -> Result<Response<User>, Status> {
        let caller = caller(request.extensions());
        if !caller.is_admin() {
            self.limits.registration(&caller.peer).map_err(Failure::from)?;
        }
        let new = new_user(request.into_inner());
        if !new.password.is_empty() {
            self.may_set_password(&caller, &login_key(&new.username).unwrap_or_default())?;
        }
        let created = self.users.create(new).await.map_err(Failure::from)?;
        Ok(reply(wire(&created, &self.hub)))
    }

    async fn update_user(&self, request: Request<UpdateUserRequest>) -> Result<Response<User>, Status> {
        let caller = caller(request.extensions());
        let UpdateUserRequest { id, username, email, password, expected_revision, roles } = request.into_inner();
        let id = named(id)?;
        may_change(&caller, &id).map_err(Failure::from)?;
        if roles.is_some() {
            may_set_roles(&caller).map_err(Failure::from)?;
        }
        if password.is_some() {
            self.may_set_password(&caller, &id)?;
        }
        let roles = roles.map(|roles| roles.values);
        let change = Change { username, email, password, roles, expected_revision };
        let updated = self.users.update(&id, change).await.map_err(Failure::from)?;
        Ok(reply(wire(&updated, &self.hub)))
    }

    async fn delete_user(&self, request: Request<DeleteUserRequest>) -> Result<Response<DeleteUserResponse>, Status> {
        let caller = caller(request.extensions());
        let id = named(request.into_inner().id)?;
        may_change(&caller, &id).map_err(Failure::from)?;
        self.users.delete(&id).await.map_err(Failure::from)?;
        Ok(reply(DeleteUserResponse { success: true }))
    }

    type ListUsersStream = Pin<Box<dyn Stream<Item = Result<User, Status>> + Send>>;

    async fn list_users(&self, request: Request<ListUsersRequest>) -> Result<Response<Self::ListUsersStream>, Status> {
        let caller = caller(request.extensions());
        let ListUsersRequest { page_size, page_token, watch } = request.into_inner();
        let mut after = token(&page_token)?;
        let mut left = size(page_size)?;
        if watch {
            alone("page_size", page_size == 0)?;
            alone("page_token", page_token.is_empty())?;
            let watch = self.users.watch().map_err(Failure::from)?;
            let online = self.hub.online_changes().map_err(Failure::from)?;
            let place = self.streams.acquire_of_caller(&caller).map_err(Failure::from)?;
            let (hub, draining) = (self.hub.clone(), self.draining.clone());
            return Ok(Response::new(Box::pin(watch::follow(watch, (caller, place), hub, online, draining))));
        }
        let (users, hub) = (self.users.clone(), self.hub.clone());
        // The id is the cursor: users that come and go meanwhile disturb no other, and a slow reader holds no more than a chunk.
        Ok(Response::new(Box::pin(stream! {
            while left > 0 {
                let chunk = users.page(after, CHUNK.min(left));
                let Some(last) = chunk.last() else { break };
                after = Some(last.id);
                left = left.saturating_sub(chunk.len());
                for user in chunk {
                    yield Ok(seen(&user, &caller, &hub));
                }
            }
        })))
    }

    async fn create_users(
        &self,
        request: Request<Streaming<CreateUserRequest>>,
    ) -> Result<Response<CreateUsersResponse>, Status> {
        // A drain ends a call that is still coming in: it creates nobody.
        let arrived = self.draining.run_until_cancelled(self.arrive(request.into_inner())).await;
        let bulk = arrived.unwrap_or_else(|| Err(Failure::draining().into()))?;
        let created = bulk.finish().await.map_err(Failure::from)?;
        Ok(reply(response(&created, &self.hub)))
    }
}

impl Calls {
    /// Takes every element, checked as it comes.
    async fn arrive(&self, mut requests: Streaming<CreateUserRequest>) -> Result<Bulk, Status> {
        let mut bulk = self.users.bulk().map_err(Failure::from)?;
        let mut reply_bytes = 0;
        while let Some(request) = requests.message().await? {
            reply_bytes += ELEMENT_BYTES + request.username.len() + request.email.len();
            bulk.push(new_user(request)).map_err(Failure::from)?;
            if reply_bytes > self.reply_bytes {
                let limit = self.reply_bytes;
                let reason = format!("make an answer of more than {limit} bytes; create them in smaller calls");
                return Err(Failure::from(InvalidField::new("users", reason)).into());
            }
        }
        Ok(bulk)
    }
}

/// What a new user takes in an answer beside its names, at most: id, times, revision and the prefixes of fields.
const ELEMENT_BYTES: usize = 74;

fn response(created: &[Arc<StoredUser>], hub: &hub::Handle) -> CreateUsersResponse {
    let users: Vec<_> = created.iter().map(|user| wire(user, hub)).collect();
    CreateUsersResponse { count: i32::try_from(users.len()).unwrap_or(i32::MAX), users }
}

fn new_user(request: CreateUserRequest) -> NewUser {
    let CreateUserRequest { username, email, password } = request;
    NewUser { username, email, password }
}

/// An id that is not there at all is a mistake of the caller, not a user that is not found.
fn named(id: String) -> Result<String, Failure> {
    if id.is_empty() { Err(InvalidField::new("id", "must be set").into()) } else { Ok(id) }
}

fn token(page_token: &str) -> Result<Option<Uuid>, Failure> {
    if page_token.is_empty() {
        return Ok(None);
    }
    let missing = || InvalidField::new("page_token", "must be the id of the last user of the page before");
    Ok(Some(parse_id(page_token).ok_or_else(missing)?))
}

/// A watch begins with everybody, so nothing says how many or from where.
fn alone(field: &'static str, is_unset: bool) -> Result<(), Failure> {
    if is_unset { Ok(()) } else { Err(InvalidField::new(field, "must not be set together with watch").into()) }
}

fn size(page_size: i32) -> Result<usize, Failure> {
    match usize::try_from(page_size) {
        Ok(0) => Ok(usize::MAX),
        Ok(size) => Ok(size.min(PAGE)),
        Err(_) => Err(InvalidField::new("page_size", "must not be negative").into()),
    }
}

/// A user as this caller sees it: the email address is only for the user itself and for admins.
fn seen(user: &StoredUser, caller: &Caller, hub: &hub::Handle) -> User {
    let mut user_seen = wire(user, hub);
    if !caller.answers_for(user.id) {
        user_seen.email.clear();
    }
    user_seen
}

/// A user as it sees itself.
pub(super) fn wire(user: &StoredUser, hub: &hub::Handle) -> User {
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
    fn an_element_of_an_answer_is_never_larger_than_it_was_counted() {
        let (username, email) = ("\u{10000}".repeat(64), "e".repeat(254));
        let created_at = i64::MAX;
        let id = Uuid::max().to_string();
        let counted = ELEMENT_BYTES + username.len() + email.len();
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
        let answer = CreateUsersResponse { users: vec![user], count: 10_000 };
        assert!(answer.encoded_len() <= counted, "{} > {counted}", answer.encoded_len());
    }
}
