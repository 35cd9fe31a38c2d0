//! `user.UserService` without Chat: decode, call, wrap.

mod convert;
mod watch;

use std::pin::Pin;

use async_stream::stream;
use tokio_stream::Stream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::{
    caller, chat::Parts, compression::reply, generated::user_service_server::UserService, status::Failure,
    stream_limit::StreamLimit,
};
use crate::{
    auth::{may_change, may_set_roles},
    caller::Caller,
    hub,
    limit::RateLimits,
    proto::user::{
        CreateUserRequest, CreateUsersResponse, DeleteUserRequest, DeleteUserResponse, GetUserRequest,
        ListUsersRequest, UpdateUserRequest, User,
    },
    users::{BatchCreate, InvalidField, UserUpdate, Users, login_key},
};
pub(super) use convert::to_wire;
use convert::{CREATED_USER_BYTES, created, must_be_unset, new_user, page_size, page_token, required_id, visible_to};

/// Users that are looked up at once while a list is streamed.
const CHUNK: usize = 256;

/// Implements the methods.
#[derive(Debug, Clone)]
pub(super) struct Calls {
    users: Users,
    /// Knows who is online.
    hub: hub::Handle,
    streams: StreamLimit,
    limits: RateLimits,
    /// Largest reply, in bytes.
    reply_bytes: usize,
    draining: CancellationToken,
}

impl Calls {
    pub(super) fn new(users: Users, parts: Parts, reply_bytes: usize) -> Self {
        let Parts { hub, streams, limits, draining, .. } = parts;
        Self { users, hub, streams, limits, reply_bytes, draining }
    }

    /// Counts a registration, except by an admin.
    fn may_register(&self, caller: &Caller) -> Result<(), Failure> {
        if caller.is_admin() { Ok(()) } else { Ok(self.limits.registration(&caller.peer)?) }
    }

    /// Counts a new password as a login attempt for `name`, except by an admin: hashing is expensive.
    fn may_set_password(&self, caller: &Caller, name: &str) -> Result<(), Failure> {
        if caller.is_admin() { Ok(()) } else { Ok(self.limits.login(name, &caller.peer)?) }
    }

    /// Reads all elements of a batch; each is validated when it arrives.
    async fn receive_batch(&self, mut requests: Streaming<CreateUserRequest>) -> Result<BatchCreate, Status> {
        let mut batch = self.users.start_batch().map_err(Failure::from)?;
        let mut reply_bytes = 0;
        while let Some(request) = requests.message().await? {
            reply_bytes += CREATED_USER_BYTES + request.username.len() + request.email.len();
            batch.push(new_user(request)).map_err(Failure::from)?;
            if reply_bytes > self.reply_bytes {
                let reason = format!("need a reply of more than {} bytes; use smaller batches", self.reply_bytes);
                return Err(Failure::from(InvalidField::new("users", reason)).into());
            }
        }
        Ok(batch)
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
        Ok(reply(visible_to(&caller, &*found.map_err(Failure::from)?, &self.hub)))
    }

    async fn create_user(&self, request: Request<CreateUserRequest>) -> Result<Response<User>, Status> {
        let caller = caller(request.extensions());
        self.may_register(&caller)?;
        let new = new_user(request.into_inner());
        if !new.password.is_empty() {
            self.may_set_password(&caller, &login_key(&new.username).unwrap_or_default())?;
        }
        let created = self.users.create(new).await.map_err(Failure::from)?;
        Ok(reply(to_wire(&created, &self.hub)))
    }

    async fn update_user(&self, request: Request<UpdateUserRequest>) -> Result<Response<User>, Status> {
        let caller = caller(request.extensions());
        let UpdateUserRequest { id, username, email, password, expected_revision, roles } = request.into_inner();
        let id = required_id(id)?;
        may_change(&caller, &id).map_err(Failure::from)?;
        if roles.is_some() {
            may_set_roles(&caller).map_err(Failure::from)?;
        }
        if password.is_some() {
            self.may_set_password(&caller, &id)?;
        }
        let roles = roles.map(|roles| roles.values);
        let update = UserUpdate { username, email, password, roles, expected_revision };
        let updated = self.users.update(&id, update).await.map_err(Failure::from)?;
        Ok(reply(to_wire(&updated, &self.hub)))
    }

    async fn delete_user(&self, request: Request<DeleteUserRequest>) -> Result<Response<DeleteUserResponse>, Status> {
        let caller = caller(request.extensions());
        let id = required_id(request.into_inner().id)?;
        may_change(&caller, &id).map_err(Failure::from)?;
        self.users.delete(&id).await.map_err(Failure::from)?;
        Ok(reply(DeleteUserResponse { success: true }))
    }

    type ListUsersStream = Pin<Box<dyn Stream<Item = Result<User, Status>> + Send>>;

    async fn list_users(&self, request: Request<ListUsersRequest>) -> Result<Response<Self::ListUsersStream>, Status> {
        let caller = caller(request.extensions());
        let list = request.into_inner();
        let mut after = page_token(&list.page_token)?;
        let mut left = page_size(list.page_size)?;
        if list.watch {
            must_be_unset("page_size", list.page_size == 0)?;
            must_be_unset("page_token", list.page_token.is_empty())?;
            let watch = self.users.watch().map_err(Failure::from)?;
            let online = self.hub.online_changes().map_err(Failure::from)?;
            let permit = self.streams.acquire_of_caller(&caller).map_err(Failure::from)?;
            let (hub, draining) = (self.hub.clone(), self.draining.clone());
            return Ok(Response::new(Box::pin(watch::follow(watch, (caller, permit), hub, online, draining))));
        }
        let (users, hub) = (self.users.clone(), self.hub.clone());
        // The last id is the cursor, so that users created or deleted meanwhile shift no other, and a slow reader holds one chunk only.
        Ok(Response::new(Box::pin(stream! {
            while left > 0 {
                let chunk = users.page(after, CHUNK.min(left));
                let Some(last) = chunk.last() else { break };
                after = Some(last.id);
                left = left.saturating_sub(chunk.len());
                for user in chunk {
                    yield Ok(visible_to(&caller, &user, &hub));
                }
            }
        })))
    }

    async fn create_users(
        &self,
        request: Request<Streaming<CreateUserRequest>>,
    ) -> Result<Response<CreateUsersResponse>, Status> {
        // A drain ends a batch that is still arriving; it creates no users then.
        let received = self.draining.run_until_cancelled(self.receive_batch(request.into_inner())).await;
        let batch = received.unwrap_or_else(|| Err(Failure::draining().into()))?;
        let users = batch.finish().await.map_err(Failure::from)?;
        Ok(reply(created(&users, &self.hub)))
    }
}
