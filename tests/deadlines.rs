//! The deadline that a client gives with a call (`grpc-timeout`) ends it, whatever kind of call it is.

use std::time::{Duration, Instant};

use bytes::Bytes;
use rialto::proto::{
    rialto::v1::{ListRoomsRequest, Position, SubscribeRequest},
    user::{CreateUserRequest, Join, ListUsersRequest},
};
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;

use crate::support::{
    Hub,
    raw::{CHAT, Call, Raw, SUBSCRIBE, framed},
    rooms::live,
    wire::Refusal,
};

const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";

/// Begins a call that must end after `timeout`, and sends a request whose stream stays open.
async fn begin(raw: &mut Raw, hub: &Hub, path: &str, timeout: &str, request: Bytes) -> Call {
    let authority = hub.address().to_string();
    let mut call = raw.call_at(&authority, path, Some(("grpc-timeout", timeout))).await;
    call.request.write(request).await;
    call
}

#[tokio::test]
async fn every_running_stream_ends_at_its_deadline() {
    const TIMEOUT: Duration = Duration::from_secs(1);
    let hub = Hub::start().await;
    let den = SubscribeRequest { rooms: vec![Position { room: "den".into(), join: Some(live()) }] };
    let mallory = CreateUserRequest { username: "mallory".into(), ..CreateUserRequest::default() };
    let mut raw = Raw::connect(hub.address()).await;
    let mut calls = Vec::new();
    let began = Instant::now();
    for (path, request, is_open) in [
        (CHAT, Bytes::new(), true),
        (SUBSCRIBE, framed(&den), false),
        ("/user.UserService/ListUsers", framed(&ListUsersRequest { watch: true, ..Default::default() }), false),
        ("/rialto.v1.ChatService/ListRooms", framed(&ListRoomsRequest { watch: true }), false),
        ("/grpc.health.v1.Health/Watch", framed(&HealthCheckRequest::default()), false),
        ("/user.UserService/CreateUsers", framed(&mallory), true),
        (REFLECTION, Bytes::new(), true),
    ] {
        let mut call = begin(&mut raw, &hub, path, "1S", request).await;
        if !is_open {
            call.request.half_close();
        }
        calls.push((path, call));
    }
    for (path, call) in &mut calls {
        let end = call.response.end().await.unwrap();
        assert_eq!(Refusal::of(&end), Refusal::new(Code::DeadlineExceeded, "DEADLINE_EXCEEDED"), "{path}");
    }
    assert!(began.elapsed() >= TIMEOUT, "after {:?}", began.elapsed());
    hub.counts_become(|counts| (counts.chats, counts.streams, counts.members) == (0, 0, 0)).await;
}

#[tokio::test]
async fn a_stream_ends_between_two_messages() {
    let hub = Hub::start().await;
    let talker = hub.chat("lobby").await;
    let mut raw = Raw::connect(hub.address()).await;
    let mut call = begin(&mut raw, &hub, CHAT, "1S", Bytes::new()).await;
    call.response.opened().await;
    for n in 0..10 {
        talker.say("lobby", "ada", &n.to_string()).await;
    }
    let (messages, end) = call.response.rest().await;
    for (n, message) in messages.iter().enumerate() {
        assert_eq!(message.text, n.to_string());
    }
    assert_eq!(end.unwrap().code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn a_stream_that_is_not_read_is_reset_after_its_deadline() {
    let hub = Hub::start().await;
    let mut talker = hub.chat("lobby").await;
    for _ in 0..64 {
        talker.say("lobby", "ada", &"x".repeat(4096)).await;
        talker.next().await;
    }
    // More than the window lets through.
    let everything = Join { after_seq: Some(0), ..Join::default() };
    let lobby = SubscribeRequest { rooms: vec![Position { room: "lobby".into(), join: Some(everything) }] };
    let mut raw = Raw::connect(hub.address()).await;
    let mut unread = begin(&mut raw, &hub, SUBSCRIBE, "1S", framed(&lobby)).await;
    unread.request.half_close();
    unread.response.opened().await;
    hub.counts_become(|counts| counts.chats == 1).await;
    assert_eq!(hub.metrics().slow_readers.get(), 0, "it is not its slowness that ended it");
    let (_, end) = unread.response.rest().await;
    assert!(end.is_err(), "reset, and no status: {end:?}");
}

#[tokio::test]
async fn a_call_that_is_answered_in_time_is_not_ended() {
    let hub = Hub::start().await;
    let mut raw = Raw::connect(hub.address()).await;
    for timeout in ["10S", "99999999H", "no timeout"] {
        let request = framed(&HealthCheckRequest::default());
        let mut call = begin(&mut raw, &hub, "/grpc.health.v1.Health/Check", timeout, request).await;
        call.request.half_close();
        assert_eq!(call.response.end().await.unwrap().code(), Code::Ok, "{timeout}");
    }
}
