//! Health, reflection, and the command line.

use std::{path::Path, process::Output};

use tokio::process::Command;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_reflection::pb::{v1, v1alpha};

use crate::support::{Hub, soon};

async fn channel(hub: &Hub) -> Channel {
    soon(Endpoint::from_shared(format!("http://{}", hub.address())).unwrap().connect()).await.unwrap()
}

#[tokio::test]
async fn health_is_serving_and_a_watch_reports_the_end() {
    let hub = Hub::start().await;
    let mut health = HealthClient::new(channel(&hub).await);
    for service in ["", "user.UserService", "rialto.v1.ChatService"] {
        let request = HealthCheckRequest { service: service.into() };
        let answer = health.check(request).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service:?}");
    }
    let unknown = health.check(HealthCheckRequest { service: "nobody".into() }).await.unwrap_err();
    assert_eq!(unknown.code(), tonic::Code::NotFound);

    let mut watch = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(soon(watch.message()).await.unwrap().unwrap().status(), ServingStatus::Serving);
    let shutdown = tokio::spawn(hub.shutdown());
    assert_eq!(soon(watch.message()).await.unwrap().unwrap().status(), ServingStatus::NotServing);
    soon(shutdown).await.unwrap();
}

#[tokio::test]
async fn reflection_lists_every_service_and_its_methods() {
    use v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let hub = Hub::start().await;
    let mut reflection = ServerReflectionClient::new(channel(&hub).await);
    let mut ask = async |request| {
        let request = ServerReflectionRequest { host: String::new(), message_request: Some(request) };
        let mut answers = reflection.server_reflection_info(tokio_stream::once(request)).await.unwrap().into_inner();
        soon(answers.message()).await.unwrap().unwrap().message_response.unwrap()
    };
    let MessageResponse::ListServicesResponse(list) = ask(MessageRequest::ListServices(String::new())).await else {
        panic!("no list");
    };
    let services: Vec<_> = list.service.iter().map(|service| service.name.as_str()).collect();
    for service in ["user.UserService", "rialto.v1.ChatService", "grpc.health.v1.Health"] {
        assert!(services.contains(&service), "{services:?}");
    }
    let rooms =
        ["Subscribe", "Publish", "GetHistory", "ListRooms"].map(|method| format!("rialto.v1.ChatService.{method}"));
    for symbol in rooms.into_iter().chain(["user.UserService.Chat".into()]) {
        let answer = ask(MessageRequest::FileContainingSymbol(symbol.clone())).await;
        assert!(matches!(answer, MessageResponse::FileDescriptorResponse(_)), "{symbol}: {answer:?}");
    }
}

#[tokio::test]
async fn reflection_supports_v1alpha_too() {
    use v1alpha::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest,
    };
    let hub = Hub::start().await;
    let mut reflection = ServerReflectionClient::new(channel(&hub).await);
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::FileByFilename("user.proto".into())),
    };
    let mut answers = reflection.server_reflection_info(tokio_stream::once(request)).await.unwrap().into_inner();
    assert!(soon(answers.message()).await.unwrap().is_some());
}

/// The program in a folder, without the settings of the environment.
fn program(args: &[&str], folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rialto"));
    command.args(args).current_dir(folder);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("RIALTO_")) {
        command.env_remove(name);
    }
    command
}

async fn rialto(args: &[&str], folder: &Path) -> Output {
    soon(program(args, folder).output()).await.unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn the_command_line_creates_shows_changes_lists_and_deletes_users() {
    let hub = Hub::start().await;
    let server = format!("http://{}", hub.address());
    let run = async |args: &[&str]| {
        let args: Vec<_> = ["users", "--server", &server].iter().chain(args).copied().collect();
        rialto(&args, hub.folder()).await
    };
    let json = async |args: &[&str]| -> Vec<serde_json::Value> {
        let args: Vec<_> = args.iter().chain(&["--json"]).copied().collect();
        let output = run(&args).await;
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let ada = json(&["create", "Ada", "--email", "ada@example.com"]).await;
    assert_eq!((&ada[0]["username"], &ada[0]["revision"]), (&"Ada".into(), &1.into()));
    let id = ada[0]["id"].as_str().unwrap();
    assert_eq!(json(&["get", "ada"]).await, ada);
    assert_eq!(json(&["get", id]).await, ada);
    json(&["create", "bob"]).await;
    let changed = json(&["update", "ada", "--email", "", "--roles", "admin,poet", "--if-revision", "1"]).await;
    assert_eq!((&changed[0]["email"], changed[0]["roles"][1].as_str()), (&"".into(), Some("poet")));
    let names: Vec<_> = json(&["list"]).await.iter().map(|user| user["username"].clone()).collect();
    assert_eq!(names, ["Ada", "bob"]);
    let table = run(&["list"]).await;
    assert!(text(&table.stdout).contains("username") && text(&table.stdout).contains("admin poet"));
    assert!(run(&["delete", "ada"]).await.status.success());
    assert_eq!(json(&["list", "--after", id]).await.len(), 1);

    let gone = run(&["get", "ada"]).await;
    assert!(!gone.status.success());
    assert_eq!(text(&gone.stderr), "rialto: there is no user ada\n");
}

#[tokio::test]
async fn errors_name_the_next_action() {
    let folder = tempfile::tempdir().unwrap();
    let cases: [(&[&str], &str); 9] = [
        (&["users", "--server", "http://127.0.0.1:1", "list"], "no hub answers"),
        (&["serve", "--listen", "0.0.0.0:0"], "--insecure"),
        (&["serve", "--config", "nowhere.toml"], "nowhere.toml does not exist"),
        (
            &["serve", "--set", "storage.max_rooms=many"],
            "storage.max_rooms = \"many\" (from --set) must be a whole number",
        ),
        (
            &["serve", "--set", "storage.max_queued_messages=0"],
            "storage.max_queued_messages = 0 (from --set) must be a whole number from 1 to 16777216",
        ),
        (&["serve", "--set", "retention.interval_seconds=0"], "retention.interval_seconds = 0 (from --set) must be"),
        (
            &["serve", "--set", "retention.rooms={Lobby={seconds=1}}"],
            "retention.rooms (from --set) names the room \"Lobby\", but a room name is",
        ),
        (&["config", "--set", "retention.rooms={Lobby={seconds=1}}"], "names the room"),
        (&["config", "--set", "retention.rooms={lobby={hours=1}}"], "unknown field `hours`"),
    ];
    for (args, expected) in cases {
        let output = rialto(args, folder.path()).await;
        assert!(!output.status.success(), "{args:?}");
        assert!(text(&output.stderr).contains(expected), "{args:?}: {}", text(&output.stderr));
        assert!(output.stdout.is_empty(), "{args:?}");
    }
}

#[tokio::test]
async fn settings_come_from_flags_over_environment_over_file_over_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let file = "[storage]\nmax_rooms = 1\nmax_rooms_per_user = 1\nmax_readers = 1\n\n\
                [retention]\nrooms = { \"a.b\" = { messages = 5 } }\n";
    std::fs::write(folder.path().join("rialto.toml"), file).unwrap();
    let mut command = program(&["config", "--set", "storage.max_rooms=3"], folder.path());
    command.env("RIALTO_STORAGE__MAX_ROOMS", "2").env("RIALTO_STORAGE__MAX_ROOMS_PER_USER", "2");
    let output = soon(command.output()).await.unwrap();
    let printed = text(&output.stdout);
    for line in [
        "max_rooms = 3  # flag",
        "max_rooms_per_user = 2  # environment",
        "max_readers = 1  # file",
        "max_text_bytes = 4096  # default",
        "rooms = { \"a.b\" = { messages = 5, seconds = 0 } }  # file",
    ] {
        assert!(printed.lines().any(|printed| printed == line), "{line} in {printed}");
    }
    // The output is a configuration file.
    std::fs::write(folder.path().join("printed.toml"), printed).unwrap();
    let again = rialto(&["config", "--config", "printed.toml"], folder.path()).await;
    assert!(again.status.success(), "{}", text(&again.stderr));
    assert!(text(&again.stdout).contains("max_rooms = 3  # file"));
}

#[tokio::test]
async fn completions_exist_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = rialto(&["completions", shell], Path::new("/")).await;
        assert!(output.status.success() && text(&output.stdout).contains("rialto"), "{shell}");
    }
}

#[tokio::test]
async fn http_1_is_served_on_the_same_port() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let hub = Hub::start().await;
    let mut socket = tokio::net::TcpStream::connect(hub.address()).await.unwrap();
    socket.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    soon(socket.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 415 "), "{answer}");
    assert!(answer.ends_with("this server speaks gRPC\n"), "{answer}");
}
