//! Which requests are admitted, and how long a call may take.

use rialto::proto::user::{CreateUserRequest, ListUsersRequest};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tonic::Code;
use tonic_types::StatusExt;

use crate::support::{Hub, raw::Raw, soon};

const CREATE: &str = "/user.UserService/CreateUser";
const CREATE_MANY: &str = "/user.UserService/CreateUsers";

async fn usernames(hub: &Hub) -> Vec<String> {
    let mut list = hub.client().await.list_users(ListUsersRequest::default()).await.unwrap().into_inner();
    let mut names = Vec::new();
    while let Some(user) = soon(list.message()).await.unwrap() {
        names.push(user.username);
    }
    names
}

fn ada() -> CreateUserRequest {
    CreateUserRequest { username: "ada".into(), ..CreateUserRequest::default() }
}

/// Creates ada, with this server name in the request.
async fn create_at(hub: &Hub, authority: &str) -> Code {
    let mut raw = Raw::connect(hub.address()).await;
    let mut call = raw.call_at(authority, CREATE, None).await;
    call.request.say(&ada()).await;
    call.request.half_close();
    call.response.end().await.unwrap().code()
}

/// Creates ada over HTTP/1 with these additional headers.
async fn post(hub: &Hub, headers: &str) -> String {
    let body = "\0\0\0\0\x05\n\x03ada";
    let mut socket = TcpStream::connect(hub.address()).await.unwrap();
    let head = format!("POST {CREATE} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{headers}", hub.address());
    let request = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
    soon(socket.write_all(request.as_bytes())).await.unwrap();
    let mut answer = Vec::new();
    soon(socket.read_to_end(&mut answer)).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_web_page_cannot_reach_the_hub_by_dns_rebinding() {
    let hub = Hub::start().await;
    for foreign in ["evil.example:50051", "localhost.evil.example", "10.0.0.1"] {
        assert_eq!(create_at(&hub, foreign).await, Code::PermissionDenied, "{foreign}");
    }
    assert!(usernames(&hub).await.is_empty());
    assert_eq!(create_at(&hub, "localhost:50051").await, Code::Ok);
    assert_eq!(usernames(&hub).await, ["ada"]);
}

#[tokio::test]
async fn a_server_for_everyone_is_called_by_any_name() {
    let hub = Hub::start_with(|config| config.insecure = true).await;
    assert_eq!(create_at(&hub, "chat.example").await, Code::Ok);
}

#[tokio::test]
async fn a_web_page_cannot_post_without_the_grpc_content_type() {
    let hub = Hub::start().await;
    // Requests that a browser sends cross-origin without a preflight.
    for content_type in ["Content-Type: text/plain\r\n", "Content-Type: multipart/form-data\r\n", ""] {
        let answer = post(&hub, content_type).await;
        assert!(answer.starts_with("HTTP/1.1 415 "), "{content_type}: {answer}");
    }
    assert!(usernames(&hub).await.is_empty());
}

#[tokio::test]
async fn a_call_over_http_1_is_refused() {
    let hub = Hub::start().await;
    let answer = post(&hub, "Content-Type: application/grpc\r\nTE: trailers\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 505 "), "{answer}");
    assert!(usernames(&hub).await.is_empty());
}

#[tokio::test]
async fn a_call_ends_at_the_deadline_that_its_client_gave() {
    let hub = Hub::start().await;
    let authority = hub.address().to_string();
    let mut raw = Raw::connect(hub.address()).await;
    let mut call = raw.call_at(&authority, CREATE_MANY, Some(("grpc-timeout", "50m"))).await;
    call.request.say(&ada()).await;
    let end = call.response.end().await.unwrap();
    assert_eq!(end.code(), Code::DeadlineExceeded);
    assert_eq!(end.get_error_details().error_info().unwrap().domain, "rialto");
    assert!(usernames(&hub).await.is_empty(), "what had not half-closed creates nobody");
}

#[tokio::test]
async fn a_create_users_call_above_the_limit_is_refused_until_one_ends() {
    let hub = Hub::start_with(|config| config.users.max_bulk_calls = 1).await;
    let mut raw = Raw::connect(hub.address()).await;
    let first = raw.call(CREATE_MANY, None).await;
    // When the second is refused, the first has taken its place; before that, the second may take it.
    let mut refused = loop {
        let mut second = raw.call(CREATE_MANY, None).await;
        second.request.half_close();
        let end = second.response.end().await.unwrap();
        if end.code() != Code::Ok {
            break end;
        }
    };
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let details = refused.get_error_details();
    assert!(details.retry_info().is_some());
    drop(first);
    while refused.code() != Code::Ok {
        let mut third = raw.call(CREATE_MANY, None).await;
        third.request.half_close();
        refused = third.response.end().await.unwrap();
    }
}
