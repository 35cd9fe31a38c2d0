//! A bare tonic server: GetUser returns a constant; every other method is unimplemented.

use tonic::{Request, Response, Status, Streaming, transport::server::TcpIncoming};

use crate::proto::user::{
    ChatMessage, CreateUserRequest, CreateUsersResponse, DeleteUserRequest, DeleteUserResponse, GetUserRequest,
    ListUsersRequest, UpdateUserRequest, User,
    user_service_server::{UserService, UserServiceServer},
};

/// Serves until it is stopped.
pub async fn serve(listener: tokio::net::TcpListener) -> Result<(), tonic::transport::Error> {
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    tonic::transport::Server::builder().add_service(UserServiceServer::new(Hello)).serve_with_incoming(incoming).await
}

#[derive(Debug)]
struct Hello;

type Nothing<T> = tokio_stream::Empty<Result<T, Status>>;

fn nothing<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("this server implements only GetUser"))
}

#[tonic::async_trait]
impl UserService for Hello {
    async fn get_user(&self, request: Request<GetUserRequest>) -> Result<Response<User>, Status> {
        Ok(Response::new(User {
            id: request.into_inner().id,
            username: "ada".to_owned(),
            email: "ada@example.org".to_owned(),
            created_at: 1_700_000_000,
            revision: 1,
            updated_at: 1_700_000_000,
            ..User::default()
        }))
    }

    async fn create_user(&self, _: Request<CreateUserRequest>) -> Result<Response<User>, Status> {
        nothing()
    }

    async fn update_user(&self, _: Request<UpdateUserRequest>) -> Result<Response<User>, Status> {
        nothing()
    }

    async fn delete_user(&self, _: Request<DeleteUserRequest>) -> Result<Response<DeleteUserResponse>, Status> {
        nothing()
    }

    type ListUsersStream = Nothing<User>;

    async fn list_users(&self, _: Request<ListUsersRequest>) -> Result<Response<Nothing<User>>, Status> {
        nothing()
    }

    async fn create_users(
        &self,
        _: Request<Streaming<CreateUserRequest>>,
    ) -> Result<Response<CreateUsersResponse>, Status> {
        nothing()
    }

    type ChatStream = Nothing<ChatMessage>;

    async fn chat(&self, _: Request<Streaming<ChatMessage>>) -> Result<Response<Nothing<ChatMessage>>, Status> {
        nothing()
    }
}
