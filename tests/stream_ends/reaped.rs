//! Streams whose clients stop reading or disappear: they are ended and counted, and presence reports it.

use std::time::Duration;

use bytes::Bytes;
use rialto::proto::{
    rialto::v1::{
        GetHistoryRequest, ListRoomsRequest, Position, PublishRequest, SubscribeRequest,
        chat_service_client::ChatServiceClient,
    },
    user::{CreateUserRequest, Join, ListUsersRequest, Presence, chat_message::Event},
};
use tokio::task::JoinSet;

use super::{RESETS, nothing_left_but, unread::fill};
use crate::support::{
    Chat, Hub,
    raw::{CHAT, Call, Raw, SUBSCRIBE, framed},
    rooms::{join_as, live, with_presence},
    said, soon,
    wire::connection,
};

/// A server that ends a stream whose client reads nothing for a second.
async fn impatient() -> Hub {
    Hub::start_with(|config| config.limits.slow_reader_seconds = 1).await
}

/// A stream with presence in the den.
struct Watcher(Chat);

impl Watcher {
    async fn of(hub: &Hub) -> Self {
        let mut chat = hub.chat("").await;
        chat.join("den", with_presence()).await;
        Self(chat)
    }

    /// Waits for the presence event that the user has joined or left.
    async fn told(&mut self, user: &str, come: bool) -> Presence {
        loop {
            if let Some(Event::Presence(presence)) = self.0.next().await.event
                && (presence.user_id.as_str(), presence.online) == (user, come)
            {
                return presence;
            }
        }
    }
}

/// A stream that has joined the den as this user.
async fn joined(raw: &mut Raw, user: &str) -> Call {
    let mut call = raw.chat("").await;
    call.request.say(&join_as(user, "den", live())).await;
    assert!(matches!(call.response.next().await.event, Some(Event::Joined(_))));
    call
}

#[tokio::test]
async fn streams_that_stop_reading_are_reset_counted_once_and_reported_by_presence() {
    const SLOW: usize = 3;
    let hub = impatient().await;
    let mut watcher = Watcher::of(&hub).await;
    let mut raw = Raw::connect(hub.address()).await;
    let mut slow = Vec::new();
    for n in 0..SLOW {
        slow.push(joined(&mut raw, &format!("slow{n}")).await);
        watcher.told(&format!("slow{n}"), true).await;
    }
    let mut neighbour = raw.chat("attic").await;
    let mut talker = hub.chat("den").await;
    fill(&mut talker).await;
    // They read half of what their windows let through, then stop.
    for call in &mut slow {
        for _ in 0..8 {
            call.response.next().await;
        }
    }
    for n in 0..SLOW {
        let presence = watcher.told(&format!("slow{n}"), false).await;
        assert!(presence.count >= 1, "the watcher is there: {presence:?}");
    }
    let members = |counts: &rialto::server::Counts| (counts.chats, counts.streams, counts.members) == (3, 3, 3);
    hub.counts_become(members).await;
    assert_eq!(hub.metrics().slow_readers.get(), SLOW as u64);
    for mut call in slow {
        let (_, end) = call.response.rest().await;
        assert!(end.is_err(), "reset, and no status: {end:?}");
    }
    // The connection and its other streams continue.
    neighbour.request.say(&said("attic", "ada", "still here")).await;
    assert_eq!(neighbour.response.next().await.text, "still here");
    let mut again = joined(&mut raw, "slow0").await;
    talker.say("den", "bob", "and again").await;
    assert_eq!(again.response.next().await.text, "and again");
    drop((again, neighbour, talker, watcher));
    nothing_left_but(&hub, 1).await;
    assert_eq!(hub.metrics().slow_readers.get(), SLOW as u64);
}

#[tokio::test]
async fn a_stream_that_has_nothing_to_deliver_is_never_reset() {
    let hub = impatient().await;
    let mut raw = Raw::connect(hub.address()).await;
    let mut silent = raw.chat("attic").await;
    let mut level = joined(&mut raw, "ada").await;
    let talker = hub.chat("den").await;
    talker.say("den", "bob", "hello").await;
    assert_eq!(level.response.next().await.text, "hello");
    // Twice the time after which an unread stream is ended.
    for n in 1..=2 {
        let slow = raw.chat("cellar").await;
        let mut filler = hub.chat("cellar").await;
        for _ in 0..64 {
            filler.say("cellar", "bob", &"x".repeat(4096)).await;
            filler.next().await;
        }
        drop(filler);
        hub.counts_become(|counts| counts.chats == 3).await;
        assert_eq!(hub.metrics().slow_readers.get(), n);
        drop(slow);
    }
    talker.say("den", "bob", "still here").await;
    assert_eq!(level.response.next().await.text, "still here");
    silent.request.say(&said("attic", "ada", "and here")).await;
    assert_eq!(silent.response.next().await.text, "and here");
}

#[tokio::test]
async fn a_reader_that_is_slow_but_steady_is_never_reset() {
    const N: usize = 300;
    let hub = Hub::start_with(|config| {
        config.limits.slow_reader_seconds = 2;
        config.rooms.max_ring_batches = 4;
    })
    .await;
    let mut raw = Raw::connect(hub.address()).await;
    let mut slow = raw.chat("den").await;
    let mut talker = hub.chat("den").await;
    for n in 0..N {
        talker.say("den", "bob", &format!("{n:04096}")).await;
        talker.next().await;
    }
    // Reads slowly for twice the server's limit, with messages to deliver all the time.
    let mut pace = tokio::time::interval(Duration::from_millis(14));
    for n in 0..N {
        pace.tick().await;
        assert_eq!(slow.response.next().await.text, format!("{n:04096}"));
    }
    assert_eq!(hub.metrics().slow_readers.get(), 0);
    talker.say("den", "bob", "level again").await;
    assert_eq!(slow.response.next().await.text, "level again");
}

#[tokio::test]
async fn peers_that_stop_answering_are_dropped_and_reported_by_presence() {
    let hub = Hub::start_with(|config| {
        config.http.keepalive_interval_seconds = 1;
        config.http.keepalive_timeout_seconds = 1;
    })
    .await;
    let mut watcher = Watcher::of(&hub).await;
    let mut dead = Raw::connect(hub.address()).await;
    let mut idle = Raw::connect(hub.address()).await;
    let _gone = [joined(&mut dead, "dead").await, joined(&mut dead, "buried").await];
    let mut alive = joined(&mut idle, "idle").await;
    hub.counts_become(|counts| (counts.connections, counts.members) == (3, 4)).await;
    dead.freeze();
    for user in ["dead", "buried"] {
        watcher.told(user, false).await;
    }
    hub.counts_become(|counts| (counts.connections, counts.chats, counts.members) == (2, 2, 2)).await;
    // A client that answers keepalive stays, however long it is silent.
    watcher.0.say("den", "eve", "who is there?").await;
    assert_eq!(alive.response.next().await.text, "who is there?");
}

#[tokio::test]
async fn clients_that_disappear_while_they_join_leave_nothing_behind() {
    const ROUNDS: usize = 30;
    let hub = Hub::start().await;
    let mut watcher = Watcher::of(&hub).await;
    let rooms = |n: usize| format!("r{},r{},den", n % 7, n % 11 + 7);
    let subscribe = move |n: usize| {
        let presence = n.is_multiple_of(2);
        let join = Some(Join { after_seq: Some(0), presence, ..Join::default() });
        let rooms = rooms(n).split(',').map(|room| Position { room: room.into(), join: join.clone() }).collect();
        framed(&SubscribeRequest { rooms })
    };
    // Several at once, so that they interleave at every step.
    let mut clients = JoinSet::new();
    for c in 0..4 {
        let address = hub.address();
        let (rooms, subscribe) = (rooms, subscribe);
        clients.spawn(async move {
            for n in (0..ROUNDS).map(|n| n * 4 + c) {
                let mut raw = if n % 2 == 0 { Raw::connect(address).await } else { Raw::connect_abrupt(address).await };
                let mut calls = Vec::new();
                for m in 0..8 {
                    let mut call = if m % 2 == 0 {
                        let mut call = raw.call(CHAT, Some(if m % 4 == 0 { "" } else { "attic,cellar" })).await;
                        for room in rooms(n).split(',') {
                            let join = Join { presence: true, history: 3, ..Join::default() };
                            call.request.say(&join_as(&format!("user{m}"), room, join)).await;
                        }
                        call
                    } else {
                        let mut call = raw.call(SUBSCRIBE, None).await;
                        call.request.write(subscribe(n)).await;
                        call.request.half_close();
                        call
                    };
                    match (n + m) % 5 {
                        0 => drop(call),
                        1 => call.request.reset(RESETS[(n + m) % RESETS.len()]),
                        // The stream was admitted; its joins may still be pending.
                        2 => {
                            raw.flushed().await;
                            drop(call);
                        }
                        _ => calls.push(call),
                    }
                }
                raw.hang_up().await;
            }
        });
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    hub.counts_become(|counts| (counts.chats, counts.rooms, counts.members) == (1, 1, 1)).await;
    // A new presence snapshot contains only current members.
    drop(watcher);
    nothing_left_but(&hub, 0).await;
    watcher = Watcher::of(&hub).await;
    let Some(Event::Presence(alone)) = watcher.0.next().await.event else { panic!("no presence") };
    assert_eq!((alone.user_id.as_str(), alone.count), ("", 1));
}

/// A call whose request is complete and whose answer is not read.
async fn unread(raw: &mut Raw, path: &str, request: Bytes) -> Call {
    let mut call = raw.call(path, None).await;
    call.request.write(request).await;
    call.request.half_close();
    call.response.opened().await;
    call
}

#[tokio::test]
async fn a_call_of_any_kind_that_is_not_read_is_reset() {
    const MANY: usize = 3_000;
    let hub = impatient().await;
    let mut users = hub.client().await;
    let user = |n| CreateUserRequest {
        username: format!("user{n}"),
        email: format!("user{n}@a-rather-long-domain-so-that-fewer-users-are-enough.example"),
        ..CreateUserRequest::default()
    };
    users.create_users(tokio_stream::iter((0..MANY).map(user))).await.unwrap();
    let client = ChatServiceClient::new(connection(hub.address()).await);
    let mut calls = JoinSet::new();
    for n in 0..MANY {
        let (mut client, message) = (client.clone(), Some(said(&format!("room-{n:059}"), "ada", &"x".repeat(100))));
        calls.spawn(async move { soon(client.publish(PublishRequest { message })).await.unwrap() });
        if calls.len() >= 64 {
            calls.join_next().await.unwrap().unwrap();
        }
    }
    for n in 0..64 {
        let (mut client, message) = (client.clone(), Some(said("long", "ada", &format!("{n:04096}"))));
        calls.spawn(async move { soon(client.publish(PublishRequest { message })).await.unwrap() });
    }
    while calls.join_next().await.is_some() {}
    drop((users, client));

    let everything = (0..1_000).map(|n| Position {
        room: format!("room-{n:059}"),
        join: Some(Join { after_seq: Some(0), ..Join::default() }),
    });
    let everything = SubscribeRequest { rooms: everything.collect() };
    let mut raw = Raw::connect(hub.address()).await;
    for (nth, (path, request)) in [
        ("/user.UserService/ListUsers", framed(&ListUsersRequest::default())),
        ("/rialto.v1.ChatService/ListRooms", framed(&ListRoomsRequest::default())),
        (SUBSCRIBE, framed(&everything)),
        // One message, larger than the buffers on its way.
        ("/rialto.v1.ChatService/GetHistory", framed(&GetHistoryRequest { room: "long".into(), ..Default::default() })),
    ]
    .into_iter()
    .enumerate()
    {
        let mut call = unread(&mut raw, path, request).await;
        nothing_left_but(&hub, 1).await;
        assert_eq!(hub.metrics().slow_readers.get(), nth as u64 + 1, "{path}");
        let mut read = 0;
        let end = loop {
            match call.response.frame().await {
                Ok(Some(frame)) => read += frame.len(),
                end => break end,
            }
        };
        assert!(end.is_err(), "{path} was reset after {read} bytes: {end:?}");
    }
}
