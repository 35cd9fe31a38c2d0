//! Streams that outlive their tokens, and users who are deleted while they chat.

use std::time::{Duration, Instant};

use prost::Message;
use rialto::{
    config::Limit,
    proto::{
        rialto::v1::{ListRoomsRequest, Position, PublishRequest, SubscribeRequest},
        user::{
            ChatMessage, CreateUserRequest, DeleteUserRequest, GetUserRequest, ListUsersRequest, RefreshToken, Roles,
            UpdateUserRequest, chat_message::Event,
        },
    },
};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::support::{
    Chat, Hub,
    bare::{Bare, DATA, END_HEADERS, END_STREAM, HEADERS, NONE, SETTINGS, WINDOW_UPDATE, block, frame, literal},
    raw::{CHAT, Raw, framed},
    rejected,
    rooms::{event, join_as, live, typing},
    said, soon,
    tokens::{By, now, show},
    wire::{Refusal, connection},
};

/// Seconds to the expiry of a token that is accepted and carries a call for a second or two, within the leeway.
const NEARLY_OVER: i64 = -6;

/// Seconds after the expiry before which no stream ends.
const NOT_BEFORE: i64 = 8;

/// Seconds after the expiry within which a stream ends.
const LEEWAY: i64 = 10;

async fn chat(by: &mut By, rooms: &str) -> Chat {
    Chat::open_by(by, rooms).await.unwrap()
}

/// The status with which a stream ends.
async fn end<M: Message + Default + 'static>(stream: &mut Streaming<M>) -> Status {
    loop {
        match soon(stream.message()).await {
            Ok(Some(_)) => {}
            Ok(None) => return Status::ok("it ended well"),
            Err(status) => return status,
        }
    }
}

/// Opens a stream of every kind with one token, and a call that is still sending, each on its own connection. The returned future
/// resolves with how they ended.
async fn every_stream(hub: &Hub, token: &str) -> impl Future<Output = Vec<(&'static str, Status)>> + use<> {
    let mut chat = chat(&mut hub.by(token).await, "den").await;
    let den = SubscribeRequest { rooms: vec![Position { room: "den".into(), join: Some(live()) }] };
    let mut subscribed = hub.by(token).await.rooms.subscribe(den).await.unwrap().into_inner();
    let watch = ListUsersRequest { watch: true, ..ListUsersRequest::default() };
    let mut users = hub.by(token).await.users.list_users(watch).await.unwrap().into_inner();
    let mut rooms = hub.by(token).await.rooms.list_rooms(ListRoomsRequest { watch: true }).await.unwrap().into_inner();
    let mut health = HealthClient::with_interceptor(connection(hub.address()).await, show(token));
    let mut health = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    let mut upload = hub.by(token).await.users;
    let (element, elements) = mpsc::channel(1);
    let uploading = tokio::spawn(async move { upload.create_users(ReceiverStream::new(elements)).await });
    let mallory = CreateUserRequest { username: "mallory".into(), ..CreateUserRequest::default() };
    element.send(mallory).await.unwrap();
    async move {
        let upload = soon(uploading).await.unwrap();
        drop(element);
        vec![
            ("Chat", chat.rest().await.1.unwrap_err()),
            ("Subscribe", end(&mut subscribed).await),
            ("ListUsers", end(&mut users).await),
            ("ListRooms", end(&mut rooms).await),
            ("Health", end(&mut health).await),
            ("CreateUsers", upload.unwrap_err()),
        ]
    }
}

async fn names(hub: &Hub) -> Vec<String> {
    let mut by = hub.by(&hub.admin()).await;
    let mut list = by.users.list_users(ListUsersRequest::default()).await.unwrap().into_inner();
    let mut names = Vec::new();
    while let Some(user) = soon(list.message()).await.unwrap() {
        names.push(user.username);
    }
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn every_stream_ends_within_the_leeway_of_its_token() {
    let hub = Hub::with_tokens(|_| {}).await;
    let ada = hub.user_with("ada", &["admin"]).await;
    let token = hub.token_of(&ada, NEARLY_OVER);
    let expires_at = now() + NEARLY_OVER;
    for (what, status) in every_stream(&hub, &token).await.await {
        assert_eq!(Refusal::of(&status), Refusal::new(Code::Unauthenticated, "TOKEN_EXPIRED"), "{what}");
    }
    let after = now() - expires_at;
    assert!((NOT_BEFORE..=LEEWAY).contains(&after), "{after} s after the expiry");
    assert_eq!(names(&hub).await, ["ada"], "the call that was coming in created nobody");
    hub.counts_become(|counts| counts.chats == 0 && counts.members == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_stream_of_a_deleted_user_ends_within_five_seconds() {
    let hub = Hub::with_tokens(|_| {}).await;
    let ada = hub.user_with("ada", &["admin"]).await;
    let ends = every_stream(&hub, &hub.token_of(&ada, 3600)).await;
    let mut bystander = chat(&mut hub.by(&hub.admin()).await, "den").await;
    hub.by(&hub.admin()).await.users.delete_user(DeleteUserRequest { id: ada.id }).await.unwrap();
    let deleted_at = Instant::now();
    for (what, status) in ends.await {
        assert_eq!(Refusal::of(&status), Refusal::new(Code::Unauthenticated, "USER_DELETED"), "{what}");
    }
    assert!(deleted_at.elapsed() < Duration::from_secs(5), "{:?}", deleted_at.elapsed());
    assert!(names(&hub).await.is_empty());
    bystander.say("den", "", "canary: still here").await;
    assert_eq!(bystander.next().await.text, "canary: still here");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_not_read_ends_too() {
    let hub = Hub::with_tokens(|_| {}).await;
    let ada = hub.user("ada").await;
    let mut raw = Raw::connect(hub.address()).await;
    let token = format!("Bearer {}", hub.token_of(&ada, 3600));
    let mut unread = raw.call_at(&hub.address().to_string(), CHAT, Some(("authorization", &token))).await;
    unread.response.opened().await;
    let mut talker = chat(&mut hub.by(&hub.admin()).await, "lobby").await;
    let long = format!("canary {}", "x".repeat(4000));
    for _ in 0..64 {
        talker.say("lobby", "", &long).await;
        talker.next().await;
    }
    hub.by(&hub.admin()).await.users.delete_user(DeleteUserRequest { id: ada.id }).await.unwrap();
    let deleted_at = Instant::now();
    hub.counts_become(|counts| counts.chats == 1).await;
    assert!(deleted_at.elapsed() < Duration::from_secs(5), "{:?}", deleted_at.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_an_admin_end_when_the_role_is_lost() {
    let hub = Hub::with_tokens(|_| {}).await;
    let (ada, bob) = (hub.user_with("ada", &["admin"]).await, hub.user("bob").await);
    let ends = every_stream(&hub, &hub.token_of(&ada, 3600)).await;
    let mut other = chat(&mut hub.by(&hub.token_of(&bob, 3600)).await, "den").await;
    let none = UpdateUserRequest { id: ada.id, roles: Some(Roles::default()), ..UpdateUserRequest::default() };
    hub.by(&hub.admin()).await.users.update_user(none).await.unwrap();
    for (what, status) in ends.await {
        assert_eq!(Refusal::of(&status), Refusal::new(Code::PermissionDenied, "ROLE_REVOKED"), "{what}");
    }
    assert_eq!(names(&hub).await, ["ada", "bob"], "the call that was coming in created nobody");
    other.say("den", "", "canary: of a user").await;
    other.next().await;
}

/// An answer is delivered even if the call deleted its own caller: a client whose window is closed reads it later.
#[tokio::test(flavor = "multi_thread")]
async fn a_user_that_deletes_itself_gets_the_answer() {
    let hub = Hub::with_tokens(|_| {}).await;
    let ada = hub.user("ada").await;
    let token = format!("Bearer {}", hub.token_of(&ada, 3600));
    let mut block = block("/user.UserService/DeleteUser");
    literal("authorization", token.as_bytes(), &mut block);
    let shut = frame(SETTINGS, NONE, 0, &[0, 4, 0, 0, 0, 0]);
    let request = frame(DATA, END_STREAM, 1, &framed(&DeleteUserRequest { id: ada.id }));
    let mut bare = Bare::greet(hub.address()).await;
    assert!(bare.write(&[shut, frame(HEADERS, END_HEADERS, 1, &block), request].concat()).await);
    assert_eq!(bare.next_on(1).await.kind, HEADERS);
    // Streams are scanned once a second: one that is asked to end at the first scan and does not is dropped by the third.
    for name in ["one", "two", "three"] {
        let user = hub.user(name).await;
        let mut stream = chat(&mut hub.by(&hub.token_of(&user, 3600)).await, "").await;
        hub.by(&hub.admin()).await.users.delete_user(DeleteUserRequest { id: user.id }).await.unwrap();
        stream.rest().await.1.unwrap_err();
    }
    assert!(bare.write(&frame(WINDOW_UPDATE, NONE, 1, &[0, 0, 1, 0])).await);
    assert_eq!([bare.next_on(1).await.kind, bare.next_on(1).await.kind], [DATA, HEADERS], "the answer and its status");
}

#[tokio::test]
async fn a_call_without_a_token_is_limited_in_time() {
    let hub = Hub::with_tokens(|config| config.auth.unauthenticated_call_seconds = 1).await;
    let mut raw = Raw::connect(hub.address()).await;
    let mut login = raw.call("/rialto.v1.AuthService/Login", None).await;
    let end = login.response.end().await.unwrap();
    assert_eq!(Refusal::of(&end), Refusal::new(Code::DeadlineExceeded, "ANONYMOUS_CALL_TIMEOUT"));
}

fn go_on(token: String) -> ChatMessage {
    event("", Event::RefreshToken(RefreshToken { token }))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_continues_with_another_token_of_the_same_user() {
    let hub = Hub::with_tokens(|_| {}).await;
    let ada = hub.user("ada").await;
    let token = hub.token_of(&ada, NEARLY_OVER);
    let mut going_on = chat(&mut hub.by(&token).await, "den").await;
    let mut ending = chat(&mut hub.by(&token).await, "").await;
    going_on.send(go_on(hub.token_of(&ada, 3600))).await;
    assert_eq!(end(&mut ending.receiver).await.code(), Code::Unauthenticated);
    going_on.say("den", "", "canary: later").await;
    let said = going_on.next().await;
    assert_eq!((said.text.as_str(), said.user_id.as_str()), ("canary: later", ada.id.as_str()));
    going_on.half_close();
    let (rest, end) = going_on.rest().await;
    assert!(rest.is_empty(), "a token that is taken has no answer: {rest:?}");
    end.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_does_not_continue_with_a_token_of_another_user() {
    let hub = Hub::with_tokens(|_| {}).await;
    let (ada, bob) = (hub.user("ada").await, hub.user("bob").await);
    let mut stream = chat(&mut hub.by(&hub.token_of(&ada, NEARLY_OVER)).await, "den").await;
    let tries: [(String, Code, &str); 4] = [
        (hub.token_of(&bob, 3600), Code::PermissionDenied, "USER_MISMATCH"),
        (hub.admin(), Code::PermissionDenied, "USER_MISMATCH"),
        ("garbage".into(), Code::Unauthenticated, "TOKEN_INVALID"),
        (hub.token_of(&ada, -60), Code::Unauthenticated, "TOKEN_EXPIRED"),
    ];
    for (nth, (token, code, reason)) in (1..).zip(tries) {
        stream.send(go_on(token)).await;
        let answer = stream.next().await;
        let rejected = rejected(&answer);
        assert_eq!((rejected.nth, rejected.code, rejected.reason.as_str()), (nth, code.into(), reason));
    }
    // The stream continues, and still ends with its current token.
    stream.say("den", "", "canary: here").await;
    assert_eq!(stream.next().await.text, "canary: here");
    assert_eq!(Refusal::of(&end(&mut stream.receiver).await).reason, "TOKEN_EXPIRED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_an_external_caller_continues_only_with_its_own_name() {
    let hub = Hub::with_tokens(|_| {}).await;
    let mut stream = chat(&mut hub.by(&hub.admin()).await, "den").await;
    let other = hub.forge(|_, claims| claims["sub"] = json!("operator:other"));
    stream.send(go_on(other)).await;
    assert_eq!(rejected(&stream.next().await).reason, "USER_MISMATCH");
    stream.send(go_on(hub.forge(|_, _| {}))).await;
    stream.say("den", "", "canary: here").await;
    assert_eq!(stream.next().await.text, "canary: here", "a token that is taken has no answer");
}

#[tokio::test]
async fn in_open_mode_a_stream_cannot_renew_a_token() {
    let hub = Hub::start().await;
    let mut stream = hub.chat("den").await;
    stream.send(go_on("any".into())).await;
    assert_eq!(rejected(&stream.next().await).reason, "AUTH_DISABLED");
}

async fn published(by: &mut By, message: ChatMessage) -> Result<ChatMessage, Status> {
    let request = PublishRequest { message: Some(message) };
    Ok(by.rooms.publish(request).await?.into_inner().message.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_cannot_publish_join_or_type_as_another() {
    let hub = Hub::with_tokens(|_| {}).await;
    let (ada, bob) = (hub.user("ada").await, hub.user("bob").await);
    let mut by_ada = hub.by(&hub.token_of(&ada, 3600)).await;
    let mut stream = chat(&mut by_ada, "den").await;
    for spoof in [said("den", &bob.id, "canary of bob"), typing("den", &bob.id), join_as(&bob.id, "attic", live())] {
        stream.send(spoof).await;
        let answer = stream.next().await;
        let rejected = rejected(&answer);
        assert_eq!((rejected.code, rejected.reason.as_str()), (Code::PermissionDenied.into(), "USER_ID_MISMATCH"));
    }
    let spoof = published(&mut by_ada, said("den", &bob.id, "canary of bob")).await.unwrap_err();
    assert_eq!(Refusal::of(&spoof), Refusal::new(Code::PermissionDenied, "USER_ID_MISMATCH"));
    // None of it was published: the first message is this one, in the name of its sender, given or not.
    assert_eq!(published(&mut by_ada, said("den", "", "canary of ada")).await.unwrap().seq, 1);
    for claimed in ["", ada.id.as_str()] {
        stream.say("den", claimed, "canary of ada").await;
    }
    for message in stream.take(3).await {
        assert_eq!(message.user_id, ada.id);
    }
    // An id is unique for its user, who need not be given here.
    let keyed = ChatMessage { id: "one".into(), ..said("den", "", "canary of ada") };
    assert_eq!(published(&mut by_ada, keyed.clone()).await.unwrap().seq, 4);
    assert_eq!(published(&mut by_ada, keyed).await.unwrap().seq, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_present_under_the_name_of_its_caller() {
    let hub = Hub::with_tokens(|config| {
        config.rates.calls_per_second_per_caller = Limit(0);
        config.rates.calls_per_second_per_address = Limit(0);
    })
    .await;
    let (ada, bob) = (hub.user("ada").await, hub.user("bob").await);
    let _chat = chat(&mut hub.by(&hub.token_of(&ada, 3600)).await, "den").await;
    let den = SubscribeRequest { rooms: vec![Position { room: "den".into(), join: Some(live()) }] };
    let _subscribed = hub.by(&hub.token_of(&bob, 3600)).await.rooms.subscribe(den).await.unwrap();
    let mut admin = hub.by(&hub.admin()).await;
    for user in [ada, bob] {
        let online = async {
            let get = || GetUserRequest { id: user.id.clone(), ..GetUserRequest::default() };
            while !admin.users.get_user(get()).await.unwrap().into_inner().online {
                tokio::task::yield_now().await;
            }
        };
        soon(online).await;
    }
}
