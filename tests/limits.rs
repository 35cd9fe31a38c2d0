//! Rate and count limits by caller and by address in token mode: more connections do not raise them.

use rialto::{
    config::Limit,
    proto::{
        rialto::v1::{GetHistoryRequest, ListRoomsRequest, PublishRequest, SubscribeRequest},
        user::{
            ChatMessage, CreateUserRequest, DeleteUserRequest, GetUserRequest, ListUsersRequest, RefreshToken,
            UpdateUserRequest, chat_message::Event,
        },
    },
};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::support::{
    Chat, Hub,
    raw::{CHAT, Raw},
    rejected,
    rooms::event,
    said, soon,
    tokens::{By, now},
    wire::{Refusal, connection, framed},
};

fn limited() -> Refusal {
    Refusal::new(Code::ResourceExhausted, "RATE_LIMITED").retry()
}

/// A Chat stream in the lobby, on a connection of its own.
async fn open(hub: &Hub, token: &str) -> Result<Chat, Status> {
    Chat::open_by(&mut hub.by(token).await, "lobby").await
}

async fn get(by: &mut By) -> Result<(), Status> {
    let request = GetUserRequest { username: "ada".into(), ..GetUserRequest::default() };
    by.users.get_user(request).await.map(drop)
}

async fn publish(by: &mut By, room: &str) -> Result<(), Status> {
    let message = Some(said(room, "", "canary of a limit"));
    by.rooms.publish(PublishRequest { message }).await.map(drop)
}

/// Calls until it is refused; returns the number of calls before.
async fn until_refused(mut call: impl AsyncFnMut() -> Result<(), Status>) -> (u32, Status) {
    for n in 0..1000 {
        if let Err(status) = call().await {
            return (n, status);
        }
    }
    panic!("nothing was refused")
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_counted_by_caller_however_many_connections_it_has() {
    let hub = Hub::with_tokens(|config| {
        config.rates.calls_per_second_per_caller = Limit(2);
        config.rates.burst_seconds = 10;
    })
    .await;
    let (ada, bob) = (hub.user("ada").await, hub.user("bob").await);
    let began = now();
    let token = hub.token_of(&ada, 600);
    let (passed, refused) = until_refused(async || get(&mut hub.by(&token).await).await).await;
    let most = 20 + 2 * u32::try_from(now() - began + 1).unwrap();
    assert!((20..=most).contains(&passed), "{passed} calls");
    assert_eq!(Refusal::of(&refused), limited());
    let after = refused.get_error_details().retry_info().unwrap().retry_delay.unwrap();
    assert!(after.as_secs_f32() <= 0.5, "{after:?}");
    // Another token of the same user and other methods count as the same caller.
    let other = hub.token_of(&ada, 601);
    let calls = async || {
        let mut by = hub.by(&other).await;
        by.rooms.list_rooms(ListRoomsRequest::default()).await.map(drop)?;
        by.rooms.subscribe(SubscribeRequest::default()).await.map(drop)?;
        by.rooms.get_history(GetHistoryRequest::default()).await.map(drop)
    };
    let (_, refused) = until_refused(calls).await;
    assert_eq!(Refusal::of(&refused), limited());
    get(&mut hub.by(&hub.token_of(&bob, 600)).await).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_counted_by_address_whatever_their_token() {
    let hub = Hub::with_tokens(|config| {
        config.rates.calls_per_second_per_address = Limit(2);
        config.rates.burst_seconds = 10;
    })
    .await;
    let (passed, refused) = until_refused(async || {
        let nobody = hub.by("garbage").await.users.get_user(GetUserRequest::default()).await;
        let status = nobody.unwrap_err();
        if status.code() == Code::Unauthenticated { Ok(()) } else { Err(status) }
    })
    .await;
    assert!(passed >= 20, "{passed}");
    assert_eq!(Refusal::of(&refused), limited());
    assert_eq!(Refusal::of(&get(&mut hub.by(&hub.admin()).await).await.unwrap_err()), limited());
}

/// Sends messages until one is rejected.
async fn until_rejected(chat: &mut Chat) -> ChatMessage {
    for n in 0..1000 {
        chat.send(ChatMessage { id: format!("mine {n}"), ..said("lobby", "", "canary of a limit") }).await;
        let answer = chat.next().await;
        if matches!(answer.event, Some(Event::Rejected(_))) {
            return answer;
        }
    }
    panic!("nothing was rejected")
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_counted_by_caller_over_all_streams_and_publish_calls() {
    let hub = Hub::with_tokens(|config| {
        config.rates.messages_per_second_per_caller = Limit(1);
        config.rates.burst_seconds = 10;
    })
    .await;
    let ada = hub.user("ada").await;
    let token = hub.token_of(&ada, 600);
    let mut by = hub.by(&token).await;
    let mut chats = Vec::new();
    for _ in 0..2 {
        chats.push(open(&hub, &token).await.unwrap());
    }
    let began = now();
    for n in 0..10 {
        chats[n % 2].say("lobby", "", "canary of a limit").await;
        chats[n % 2].next().await;
    }
    let (passed, refused) = until_refused(async || publish(&mut by, "lobby").await).await;
    let due = u32::try_from(now() - began + 1).unwrap();
    assert!(passed <= due, "{passed}: more than became due meanwhile");
    assert_eq!(Refusal::of(&refused), limited());
    // The other stream has received what was published; this one receives its own messages.
    drop(chats);
    let mut chat = open(&hub, &token).await.unwrap();
    let answer = until_rejected(&mut chat).await;
    let rejected = rejected(&answer);
    assert_eq!((rejected.code, rejected.reason.as_str()), (Code::ResourceExhausted.into(), "RATE_LIMITED"));
    assert!(rejected.id.starts_with("mine") && rejected.nth > 0, "{rejected:?}");
    let after = rejected.retry_after.unwrap();
    assert!(after.seconds <= 1 && (after.seconds, after.nanos) > (0, 0), "{after:?}");
    publish(&mut hub.by(&hub.admin()).await, "lobby").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_a_message_at_all_is_counted_as_one() {
    let hub = Hub::with_tokens(|config| {
        config.rates.messages_per_second_per_caller = Limit(1);
        config.rates.burst_seconds = 10;
    })
    .await;
    let ada = hub.user("ada").await;
    let token = format!("Bearer {}", hub.token_of(&ada, 600));
    let mut raw = Raw::connect(hub.address()).await;
    let mut call = raw.call_at(&hub.address().to_string(), CHAT, Some(("authorization", &token))).await;
    let mut reasons = Vec::new();
    for _ in 0..100 {
        call.request.write(framed(0, &[0xff])).await;
        reasons.push(rejected(&call.response.next().await).reason.clone());
    }
    assert!(reasons[..10].iter().all(|reason| reason == "MALFORMED_MESSAGE"), "{reasons:?}");
    assert!(reasons.iter().any(|reason| reason == "RATE_LIMITED"), "{reasons:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_token_is_counted_as_a_call() {
    let hub = Hub::with_tokens(|config| {
        config.rates.messages_per_second_per_caller = Limit(1);
        config.rates.calls_per_second_per_caller = Limit(2);
        config.rates.burst_seconds = 10;
    })
    .await;
    let ada = hub.user("ada").await;
    let token = hub.token_of(&ada, 600);
    let mut chat = open(&hub, &token).await.unwrap();
    let spent = until_rejected(&mut chat).await;
    assert_eq!(rejected(&spent).reason, "RATE_LIMITED");
    let mut go_on = async |token: &str| {
        chat.send(event("", Event::RefreshToken(RefreshToken { token: token.into() }))).await;
        rejected(&chat.next().await).reason.clone()
    };
    assert_eq!(go_on("garbage").await, "TOKEN_INVALID", "who has said too much can still go on");
    let mut tries = 0;
    while go_on("garbage").await != "RATE_LIMITED" {
        tries += 1;
        assert!(tries < 1000, "nobody tries tokens without end");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chat_streams_of_a_caller_are_limited_over_all_connections() {
    let hub = Hub::with_tokens(|config| config.limits.max_streams_per_caller = 2).await;
    let (ada, bob) = (hub.user("ada").await, hub.user("bob").await);
    let token = hub.token_of(&ada, 600);
    let (first, _second) = (open(&hub, &token).await.unwrap(), open(&hub, &token).await.unwrap());
    let refused = open(&hub, &token).await.err().unwrap();
    assert_eq!(Refusal::of(&refused), Refusal::new(Code::ResourceExhausted, "TOO_MANY_STREAMS_PER_CALLER").retry());
    let _of_bob = open(&hub, &hub.token_of(&bob, 600)).await.unwrap();
    drop(first);
    hub.counts_become(|counts| counts.chats == 2).await;
    open(&hub, &token).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_are_counted_with_the_other_streams_of_a_caller() {
    let hub = Hub::with_tokens(|config| config.limits.max_streams_per_caller = 2).await;
    let token = hub.token_of(&hub.user("ada").await, 600);
    let mut by = hub.by(&token).await;
    let watch_users = ListUsersRequest { watch: true, ..ListUsersRequest::default() };
    let watch_rooms = ListRoomsRequest { watch: true };
    let _users = by.users.list_users(watch_users.clone()).await.unwrap();
    let rooms = by.rooms.list_rooms(watch_rooms).await.unwrap();
    let too_many = Refusal::new(Code::ResourceExhausted, "TOO_MANY_STREAMS_PER_CALLER").retry();
    for refused in [
        open(&hub, &token).await.err().unwrap(),
        by.users.list_users(watch_users).await.unwrap_err(),
        by.rooms.list_rooms(watch_rooms).await.unwrap_err(),
    ] {
        assert_eq!(Refusal::of(&refused), too_many);
    }
    by.users.list_users(ListUsersRequest::default()).await.unwrap();
    drop(rooms);
    let wait = async {
        while open(&hub, &token).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    soon(wait).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_on_all_streams_counts_every_method() {
    let hub = Hub::start_with(|config| config.limits.max_streams = 2).await;
    let mut by = By::over(connection(hub.address()).await, None);
    let watch = || ListUsersRequest { watch: true, ..ListUsersRequest::default() };
    let _open = (by.users.list_users(watch()).await.unwrap(), by.users.list_users(watch()).await.unwrap());
    let refused = get(&mut by).await.unwrap_err();
    assert_eq!(Refusal::of(&refused), Refusal::new(Code::ResourceExhausted, "TOO_MANY_STREAMS").retry());
}

#[tokio::test(flavor = "multi_thread")]
async fn setting_a_password_counts_as_a_login_except_for_admins() {
    let hub = Hub::with_tokens(|config| {
        config.rates.logins_per_minute_per_user = Limit(2);
        config.auth.open_registration = true;
    })
    .await;
    let ada = hub.user("ada").await;
    let mut by_ada = hub.by(&hub.token_of(&ada, 600)).await;
    let change = |password: &str| UpdateUserRequest {
        id: ada.id.clone(),
        password: Some(password.into()),
        ..UpdateUserRequest::default()
    };
    let (passed, refused) =
        until_refused(async || by_ada.users.update_user(change("canary-again")).await.map(drop)).await;
    assert!((2..=4).contains(&passed), "{passed}");
    assert_eq!(Refusal::of(&refused), limited());
    let mut nobody = hub.by_nobody().await;
    let mut n = 0;
    let (_, refused) = until_refused(async || {
        n += 1;
        nobody.create(&format!("user{n}")).await.map(drop)
    })
    .await;
    assert_eq!(Refusal::of(&refused), limited());
    let mut admin = hub.by(&hub.admin()).await;
    for _ in 0..5 {
        admin.users.update_user(change("canary-of-admins")).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn open_registration_is_limited_by_address_except_for_admins() {
    let hub = Hub::with_tokens(|config| {
        config.auth.open_registration = true;
        config.rates.registrations_per_hour_per_address = Limit(6);
    })
    .await;
    let request = |name: &str| CreateUserRequest { username: name.into(), ..CreateUserRequest::default() };
    let mut anonymous = hub.by_nobody().await;
    let mut n = 0;
    let (passed, refused) = until_refused(async || {
        n += 1;
        anonymous.users.create_user(request(&format!("user{n}"))).await.map(drop)
    })
    .await;
    assert_eq!(passed, 3, "half of the hour's may come at once");
    assert_eq!(Refusal::of(&refused), limited());
    assert!(refused.message().contains("6 per hour"), "{refused:?}");
    let after = refused.get_error_details().retry_info().unwrap().retry_delay.unwrap();
    assert!(after.as_secs() <= 600, "one in ten minutes: {after:?}");
    let ada = hub.user("ada").await;
    let mut by_ada = hub.by(&hub.token_of(&ada, 600)).await;
    let refused = by_ada.users.create_user(request("another")).await.unwrap_err();
    assert_eq!(Refusal::of(&refused), limited(), "a token without the role changes nothing");
    let mut admin = hub.by(&hub.admin()).await;
    for n in 0..10 {
        admin.users.create_user(request(&format!("by-admin{n}"))).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rooms_created_by_a_user_are_limited() {
    let hub = Hub::with_tokens(|config| config.storage.max_rooms_per_user = 2).await;
    let (ada, bob) = (hub.user("ada").await, hub.user("bob").await);
    let mut by_ada = hub.by(&hub.token_of(&ada, 600)).await;
    let mut by_bob = hub.by(&hub.token_of(&bob, 600)).await;
    for room in ["one", "two", "one"] {
        publish(&mut by_ada, room).await.unwrap();
    }
    let refused = publish(&mut by_ada, "three").await.unwrap_err();
    assert_eq!(Refusal::of(&refused), Refusal::new(Code::ResourceExhausted, "TOO_MANY_ROOMS_PER_USER").retry());
    publish(&mut by_bob, "three").await.unwrap();
    publish(&mut by_ada, "three").await.unwrap();
}

#[tokio::test]
async fn in_open_mode_nothing_is_counted_by_caller() {
    let hub = Hub::start_with(|config| {
        config.rates.calls_per_second_per_address = Limit(1);
        config.rates.messages_per_second_per_address = Limit(1);
        config.rates.burst_seconds = 1;
        config.storage.max_rooms_per_user = 1;
    })
    .await;
    let mut by = By::over(connection(hub.address()).await, None);
    for n in 0..20 {
        let message = Some(said(&format!("room{n}"), "ada", "canary of a limit"));
        by.rooms.publish(PublishRequest { message }).await.unwrap();
    }
}

#[tokio::test]
async fn users_beyond_the_limit_are_refused_until_one_is_deleted() {
    let hub = Hub::start_with(|config| config.storage.max_users = 2).await;
    let mut client = hub.client().await;
    let new = |username: &str| CreateUserRequest { username: username.into(), ..CreateUserRequest::default() };
    let full = Refusal::new(Code::ResourceExhausted, "TOO_MANY_USERS");
    let ada = client.create_user(new("ada")).await.unwrap().into_inner();
    let refused = client.create_users(tokio_stream::iter([new("bob"), new("eve")])).await.unwrap_err();
    assert_eq!(Refusal::of(&refused), full, "all or none");
    client.create_user(new("bob")).await.unwrap();
    let refused = client.create_user(new("eve")).await.unwrap_err();
    assert_eq!(Refusal::of(&refused), full);
    assert!(refused.message().contains("(2)"), "{}", refused.message());
    client.delete_user(DeleteUserRequest { id: ada.id }).await.unwrap();
    client.create_user(new("eve")).await.unwrap();
}
