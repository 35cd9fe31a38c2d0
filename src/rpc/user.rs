//! The users' methods: decode, call, wrap.

use std::{pin::Pin, sync::Arc};

use async_stream::stream;
use prost::Message;
use tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming};
use uuid::Uuid;

use super::{generated::user_service_server::UserService, status::Failure};
use crate::{
    engine::User as StoredUser,
    proto::user::{
        CreateUserRequest, CreateUsersResponse, DeleteUserRequest, DeleteUserResponse, GetUserRequest,
        ListUsersRequest, State, UpdateUserRequest, User,
    },
    users::{Change, Invalid, NewUser, Users, parse_id},
};

/// More in one page counts as this.
const PAGE: usize = 10_000;

/// Users looked up at once while a list is streamed.
const CHUNK: usize = 256;

/// Serves the methods.
#[derive(Debug, Clone)]
pub(super) struct Calls {
    users: Users,
    reply_bytes: usize,
}

impl Calls {
    pub(super) fn new(users: Users, reply_bytes: usize) -> Self {
        Self { users, reply_bytes }
    }
}

#[tonic::async_trait]
impl UserService for Calls {
    async fn get_user(&self, request: Request<GetUserRequest>) -> Result<Response<User>, Status> {
        let GetUserRequest { id, username } = request.into_inner();
        let found = match (id.is_empty(), username.is_empty()) {
            (false, true) => self.users.get(&id),
            (true, false) => self.users.get_by_username(&username),
            _ => Err(Invalid::new("id", "exactly one of id and username must be set").into()),
        };
        Ok(Response::new(wire(&*found.map_err(Failure::from)?)))
    }

    async fn create_user(&self, request: Request<CreateUserRequest>) -> Result<Response<User>, Status> {
        let created = self.users.create(new_user(request.into_inner())).await.map_err(Failure::from)?;
        Ok(Response::new(wire(&created)))
    }

    async fn update_user(&self, request: Request<UpdateUserRequest>) -> Result<Response<User>, Status> {
        let UpdateUserRequest { id, username, email, password, expected_revision, roles } = request.into_inner();
        let roles = roles.map(|roles| roles.values);
        let change = Change { username, email, password, roles, expected_revision };
        let updated = self.users.update(&named(id)?, change).await.map_err(Failure::from)?;
        Ok(Response::new(wire(&updated)))
    }

    async fn delete_user(&self, request: Request<DeleteUserRequest>) -> Result<Response<DeleteUserResponse>, Status> {
        self.users.delete(&named(request.into_inner().id)?).await.map_err(Failure::from)?;
        Ok(Response::new(DeleteUserResponse { success: true }))
    }

    type ListUsersStream = Pin<Box<dyn Stream<Item = Result<User, Status>> + Send>>;

    async fn list_users(&self, request: Request<ListUsersRequest>) -> Result<Response<Self::ListUsersStream>, Status> {
        let ListUsersRequest { page_size, page_token, watch } = request.into_inner();
        let mut after = token(&page_token)?;
        let mut left = size(page_size)?;
        if watch {
            return Err(Failure::not_yet("watch").into());
        }
        let users = self.users.clone();
        // The id is the cursor: users that come and go meanwhile disturb no other, and a slow reader holds no more than a chunk.
        Ok(Response::new(Box::pin(stream! {
            while left > 0 {
                let chunk = users.page(after, CHUNK.min(left));
                let Some(last) = chunk.last() else { break };
                after = Some(last.id);
                left = left.saturating_sub(chunk.len());
                for user in chunk {
                    yield Ok(wire(&user));
                }
            }
        })))
    }

    async fn create_users(
        &self,
        request: Request<Streaming<CreateUserRequest>>,
    ) -> Result<Response<CreateUsersResponse>, Status> {
        let mut requests = request.into_inner();
        let mut bulk = self.users.bulk();
        while let Some(request) = requests.message().await? {
            bulk.push(new_user(request)).map_err(Failure::from)?;
        }
        let fits = |created: &[_]| self.fits(created);
        let created = bulk.finish(fits).await.map_err(Failure::from)?;
        Ok(Response::new(response(&created)))
    }
}

impl Calls {
    /// Before anything is written, that the answer is not too large to be given.
    fn fits(&self, created: &[Arc<StoredUser>]) -> Result<(), Invalid> {
        if response(created).encoded_len() > self.reply_bytes {
            let reason =
                format!("make an answer of more than {} bytes; create them in smaller calls", self.reply_bytes);
            return Err(Invalid::new("users", reason));
        }
        Ok(())
    }
}

fn response(created: &[Arc<StoredUser>]) -> CreateUsersResponse {
    let users: Vec<_> = created.iter().map(|user| wire(user)).collect();
    CreateUsersResponse { count: i32::try_from(users.len()).unwrap_or(i32::MAX), users }
}

fn new_user(request: CreateUserRequest) -> NewUser {
    let CreateUserRequest { username, email, password } = request;
    NewUser { username, email, password }
}

/// An id that is not there at all is a mistake of the caller, not a user that is not found.
fn named(id: String) -> Result<String, Failure> {
    if id.is_empty() { Err(Invalid::new("id", "must be set").into()) } else { Ok(id) }
}

fn token(page_token: &str) -> Result<Option<Uuid>, Failure> {
    if page_token.is_empty() {
        return Ok(None);
    }
    let missing = || Invalid::new("page_token", "must be the id of the last user of the page before");
    Ok(Some(parse_id(page_token).ok_or_else(missing)?))
}

fn size(page_size: i32) -> Result<usize, Failure> {
    match usize::try_from(page_size) {
        Ok(0) => Ok(usize::MAX),
        Ok(size) => Ok(size.min(PAGE)),
        Err(_) => Err(Invalid::new("page_size", "must not be negative").into()),
    }
}

/// A user as callers see it.
fn wire(user: &StoredUser) -> User {
    User {
        id: user.id.to_string(),
        username: user.username.clone(),
        email: user.email.clone(),
        created_at: user.created_at.seconds(),
        roles: user.roles.clone(),
        online: false,
        revision: user.revision,
        updated_at: user.updated_at.seconds(),
        state: State::Active.into(),
    }
}
