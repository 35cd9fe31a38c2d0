//! The tables of docs/protocol.md state how streams end. These tests produce every row, and only rows of the tables.

use std::collections::BTreeMap;

use futures_util::future::{BoxFuture, FutureExt};
use rialto::{
    config::Limit,
    proto::{
        rialto::v1::{
            ListRoomsRequest, Position, PublishRequest, SubscribeRequest, chat_service_client::ChatServiceClient,
        },
        user::{ChatMessage, DeleteUserRequest, Join, Roles, UpdateUserRequest, User, chat_message::Event},
    },
};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::support::{
    Chat, Hub,
    certs::{Authority, Files, channel_of},
    is_draining,
    raw::{CHAT, Raw, framed},
    said, soon,
    tokens::By,
    wire::connection,
};

/// The cells after the first.
#[derive(Debug, PartialEq, Eq)]
struct End {
    status: String,
    reason: String,
    again: bool,
}

/// The rows of the tables under this heading, by their first cell.
fn rows(heading: &str) -> BTreeMap<String, End> {
    let page = include_str!("../docs/protocol.md");
    let section = page.split("\n## ").find(|section| section.starts_with(heading)).unwrap();
    let rows = section.lines().filter(|line| line.starts_with('|')).skip(2);
    let ends = rows.map(|row| {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [what, status, reason, again] = cells[..] else { panic!("four cells: {row}") };
        assert!(["yes", "no"].contains(&again), "{row}");
        let (status, reason) = (status.split(':').next().unwrap().to_owned(), reason.trim_matches('`').to_owned());
        (what.to_owned(), End { status, reason, again: again == "yes" })
    });
    ends.collect()
}

/// The end of a call as a client sees it.
fn end(status: &Status) -> End {
    let name = format!("{:?}", status.code());
    let mut screaming = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !screaming.is_empty() {
            screaming.push('_');
        }
        screaming.push(letter.to_ascii_uppercase());
    }
    let details = status.get_error_details();
    let reason = details.error_info().map(|info| info.reason.clone()).unwrap_or_default();
    End { status: screaming, reason, again: details.retry_info().is_some() }
}

async fn last(mut chat: Chat) -> End {
    end(&chat.rest().await.1.err().unwrap_or_else(|| Status::ok("")))
}

async fn refused(hub: &Hub, rooms: &str) -> End {
    end(&Chat::open(&mut hub.client().await, Some(rooms)).await.err().unwrap())
}

fn join(room: &str) -> ChatMessage {
    let join = Join { after_seq: Some(0), ..Join::default() };
    ChatMessage { room: room.into(), event: Some(Event::Join(join)), ..ChatMessage::default() }
}

async fn half_close() -> End {
    let hub = Hub::start().await;
    let mut chat = hub.chat("den").await;
    chat.say("den", "ada", "hi").await;
    chat.half_close();
    last(chat).await
}

async fn drain() -> End {
    let hub = Hub::start().await;
    let mut chat = hub.chat("den").await;
    hub.shutdown().await;
    assert!(is_draining(&chat.next().await));
    last(chat).await
}

/// Changes the database file while the server is down.
async fn tampered(tamper: impl FnOnce(&std::path::Path)) -> Hub {
    let hub = Hub::start().await;
    let mut chat = hub.chat("den").await;
    for n in 0..200 {
        chat.say("den", "ada", &format!("{n:0400}")).await;
        chat.next().await;
    }
    drop(chat);
    let folder = hub.shutdown().await;
    tamper(&folder.path().join("rialto.db"));
    Hub::start_in(folder, |_| {}).await
}

async fn stopped_log() -> End {
    let poison = "CREATE TRIGGER fail BEFORE INSERT ON messages BEGIN SELECT RAISE(ABORT, 'broken'); END";
    let hub = tampered(|file| rusqlite::Connection::open(file).unwrap().execute_batch(poison).unwrap()).await;
    let chat = hub.chat("den").await;
    chat.say("den", "ada", "nobody knows whether this is kept").await;
    last(chat).await
}

async fn unreadable_log() -> End {
    let hub = Hub::start().await;
    let mut talker = hub.chat("den").await;
    talker.say("den", "ada", "hi").await;
    talker.next().await;
    let file = rusqlite::Connection::open(hub.folder().join("rialto.db")).unwrap();
    file.execute_batch("ALTER TABLE messages RENAME TO elsewhere").unwrap();
    let chat = hub.chat("").await;
    chat.send(join("den")).await;
    last(chat).await
}

async fn damaged_log() -> End {
    let hub = tampered(|file| {
        let pages: Vec<usize> = {
            let connection = rusqlite::Connection::open(file).unwrap();
            let leaves = "SELECT pageno FROM dbstat WHERE name = 'messages' AND pagetype = 'leaf'";
            let mut select = connection.prepare(leaves).unwrap();
            select.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
        };
        let mut bytes = std::fs::read(file).unwrap();
        for page in pages {
            bytes[(page - 1) * 4096..][..4096].fill(0xff);
        }
        std::fs::write(file, bytes).unwrap();
    })
    .await;
    let chat = hub.chat("").await;
    chat.send(join("den")).await;
    last(chat).await
}

async fn slow_reader() -> End {
    let hub = Hub::start_with(|config| config.limits.slow_reader_seconds = 1).await;
    let mut raw = Raw::connect(hub.address()).await;
    let mut unread = raw.chat("den").await;
    let mut talker = hub.chat("den").await;
    let text = "x".repeat(4096);
    for _ in 0..64 {
        talker.say("den", "ada", &text).await;
        talker.next().await;
    }
    hub.counts_become(|counts| counts.chats == 1).await;
    let reset = unread.response.rest().await.1.unwrap_err();
    assert!(reset.is_reset(), "{reset}");
    End { status: "a reset".into(), reason: String::new(), again: true }
}

async fn lost_connection() -> End {
    let hub = Hub::start().await;
    let mut raw = Raw::connect(hub.address()).await;
    let mut call = raw.chat("den").await;
    raw.hang_up().await;
    assert!(call.response.rest().await.1.is_err());
    End { status: "none".into(), reason: String::new(), again: true }
}

/// Sends these bytes, optionally followed by a half-close.
async fn sent(bytes: bytes::Bytes, half_close: bool) -> End {
    let hub = Hub::start().await;
    let mut raw = Raw::connect(hub.address()).await;
    let mut call = raw.chat("den").await;
    call.request.write(bytes).await;
    if half_close {
        call.request.half_close();
    }
    end(&call.response.end().await.unwrap())
}

async fn too_large() -> End {
    // The length suffices: the server does not wait for the rest.
    sent(framed(&said("den", "ada", &"x".repeat(65 * 1024))).slice(..5), false).await
}

async fn malformed() -> End {
    sent(bytes::Bytes::from_static(b"\x01\0\0\0\x01x"), false).await
}

async fn truncated() -> End {
    sent(framed(&said("den", "ada", "hi")).slice(..8), true).await
}

async fn impossible_rooms() -> End {
    refused(&Hub::start().await, "No such room").await
}

async fn foreign_name() -> End {
    let hub = Hub::start().await;
    let mut raw = Raw::connect(hub.address()).await;
    let mut call = raw.call_at("rialto.example", CHAT, None).await;
    end(&call.response.end().await.unwrap())
}

async fn unknown_compression() -> End {
    let hub = Hub::start().await;
    let mut raw = Raw::connect(hub.address()).await;
    let mut call = raw.call_at(&hub.address().to_string(), CHAT, Some(("grpc-encoding", "br"))).await;
    end(&call.response.end().await.unwrap())
}

async fn refused_token(token: impl FnOnce(&Hub) -> String) -> End {
    let hub = Hub::with_tokens(|_| {}).await;
    let token = token(&hub);
    end(&hub.by(&token).await.users.chat(tokio_stream::empty()).await.unwrap_err())
}

async fn no_token() -> End {
    refused(&Hub::with_tokens(|_| {}).await, "den").await
}

async fn ended_by_token(how: impl AsyncFnOnce(&Hub, User)) -> End {
    let hub = Hub::with_tokens(|_| {}).await;
    let ada = hub.user("ada").await;
    // Valid for another second or two, within the leeway.
    let token = hub.token_of(&ada, -6);
    let mut stream = hub.by(&token).await.rooms.subscribe(lobby()).await.unwrap().into_inner();
    how(&hub, ada).await;
    loop {
        if let Err(status) = stream.message().await {
            return end(&status);
        }
    }
}

fn lobby() -> SubscribeRequest {
    SubscribeRequest { rooms: vec![Position::default()] }
}

async fn deleted_user() -> End {
    ended_by_token(async |hub, ada| {
        let mut admin = hub.by(&hub.admin()).await;
        admin.users.delete_user(DeleteUserRequest { id: ada.id }).await.unwrap();
    })
    .await
}

async fn no_keys() -> End {
    let issuer = rialto::config::Issuer {
        issuer: "away".into(),
        jwks_url: "http://127.0.0.1:1/jwks.json".into(),
        ..Default::default()
    };
    let hub = Hub::with_tokens(|config| config.auth.issuers.push(issuer)).await;
    let token = hub.forge(|_, claims| claims["iss"] = "away".into());
    end(&hub.by(&token).await.users.chat(tokio_stream::empty()).await.unwrap_err())
}

async fn foreign_certificate() -> End {
    let authority = Authority::new("ours");
    let files = Files::of(&authority.server());
    files.replace_authority(&authority);
    let hub = Hub::with_tokens(|config| files.configure(config)).await;
    let shows = authority.client("eve");
    let channel = channel_of(&hub.address().to_string(), &authority.pem(), Some(&shows)).await.unwrap();
    let mut by = By::over(channel, Some(&hub.admin()));
    end(&by.users.chat(tokio_stream::empty()).await.unwrap_err())
}

async fn too_many_streams_of_caller() -> End {
    let hub = Hub::with_tokens(|config| config.limits.max_streams_per_caller = 1).await;
    let mut rooms = hub.by(&hub.admin()).await.rooms;
    let _first = rooms.subscribe(lobby()).await.unwrap();
    end(&rooms.subscribe(lobby()).await.unwrap_err())
}

async fn lost_rights() -> End {
    let hub = Hub::with_tokens(|_| {}).await;
    let ada = hub.user_with("ada", &["admin"]).await;
    let mut stream = hub.by(&hub.token_of(&ada, 600)).await.rooms.subscribe(lobby()).await.unwrap().into_inner();
    let none = UpdateUserRequest { id: ada.id, roles: Some(Roles::default()), ..UpdateUserRequest::default() };
    hub.by(&hub.admin()).await.users.update_user(none).await.unwrap();
    loop {
        if let Err(status) = stream.message().await {
            return end(&status);
        }
    }
}

async fn too_many_headers() -> End {
    let hub = Hub::start().await;
    let mut request = tonic::Request::new(tokio_stream::empty());
    for n in 0..64 {
        request.metadata_mut().append("x-much", n.to_string().parse().unwrap());
    }
    end(&hub.client().await.chat(request).await.unwrap_err())
}

async fn too_much_unfinished() -> End {
    let hub = Hub::start_with(|config| config.limits.max_incomplete_bytes = 10_000).await;
    let mut raw = Raw::connect(hub.address()).await;
    let mut call = raw.chat("den").await;
    call.request.write(framed(&said("den", "ada", &"x".repeat(20_000))).slice(..15_000)).await;
    end(&call.response.end().await.unwrap())
}

async fn too_many_memberships_of_caller() -> End {
    let hub = Hub::with_tokens(|config| config.rooms.max_memberships_per_caller = 1).await;
    let mut rooms = hub.by(&hub.admin()).await.rooms;
    let _first = rooms.subscribe(lobby()).await.unwrap();
    end(&rooms.subscribe(lobby()).await.unwrap_err())
}

async fn too_many_calls() -> End {
    let hub = Hub::with_tokens(|config| {
        config.rates.calls_per_second_per_caller = Limit(1);
        config.rates.burst_seconds = 1;
    })
    .await;
    let mut rooms = hub.by(&hub.admin()).await.rooms;
    loop {
        if let Err(status) = rooms.subscribe(lobby()).await {
            return end(&status);
        }
    }
}

async fn too_many_streams() -> End {
    let hub = Hub::start_with(|config| config.limits.max_streams = 1).await;
    let _first = hub.chat("den").await;
    refused(&hub, "den").await
}

async fn too_many_open_rooms() -> End {
    let hub = Hub::start_with(|config| config.rooms.max_open_rooms = 1).await;
    let _first = hub.chat("den").await;
    refused(&hub, "attic").await
}

async fn room_full() -> End {
    let hub = Hub::start_with(|config| config.rooms.max_members_per_room = 1).await;
    let _first = hub.chat("den").await;
    refused(&hub, "den").await
}

async fn too_many_memberships() -> End {
    let hub = Hub::start_with(|config| config.rooms.max_memberships = 1).await;
    let _first = hub.chat("den").await;
    refused(&hub, "den").await
}

/// Produces every row and compares the end with the documented one.
async fn holds(heading: &str, ends: Vec<(&str, BoxFuture<'static, End>)>) {
    let written = rows(heading);
    let mut seen = BTreeMap::new();
    for (what, end) in ends {
        seen.insert(what.to_owned(), soon(end).await);
    }
    assert_eq!(written, seen);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_end_as_the_protocol_says() {
    let ends = vec![
        ("you half-closed the stream, and everything was delivered", half_close().boxed()),
        ("the server shuts down; `draining` gave the delay before reconnecting", drain().boxed()),
        ("the server cannot write to its log until it is restarted", stopped_log().boxed()),
        ("reading the log failed", unreadable_log().boxed()),
        ("the log is damaged", damaged_log().boxed()),
        ("you read nothing for `limits.slow_reader_seconds`, although data was waiting", slow_reader().boxed()),
        ("the connection was lost", lost_connection().boxed()),
        ("you sent a frame above the limit", too_large().boxed()),
        ("you half-closed the stream in the middle of a message", truncated().boxed()),
        ("`rialto-rooms` has invalid names, or too many", impossible_rooms().boxed()),
        ("you called a server without authentication by a host name that is not loopback", foreign_name().boxed()),
        ("the call has no token, and the server requires one", no_token().boxed()),
        ("the token is invalid", refused_token(|_| "garbage".into()).boxed()),
        ("the token expired without a `refresh_token` before", ended_by_token(async |_, _| {}).boxed()),
        ("the token's user was deleted", deleted_user().boxed()),
        ("the keys of the token's issuer cannot be fetched", no_keys().boxed()),
        ("your client certificate has another name than your token", foreign_certificate().boxed()),
        ("the request's compression is not supported", unknown_compression().boxed()),
        ("a frame has an invalid flag or invalid compressed data, or the request has no message", malformed().boxed()),
        ("the server's limit of streams is reached", too_many_streams().boxed()),
        ("you have as many streams as one caller may", too_many_streams_of_caller().boxed()),
        ("you lost the admin role that you had when the stream began", lost_rights().boxed()),
        ("the request has more than 64 header fields", too_many_headers().boxed()),
        ("too many incomplete messages are buffered", too_much_unfinished().boxed()),
        ("your streams have joined as many rooms as one caller may", too_many_memberships_of_caller().boxed()),
        ("your rate of calls, or that of your address, is exceeded", too_many_calls().boxed()),
        ("the server's limit of open rooms is reached", too_many_open_rooms().boxed()),
        ("the room's limit of members is reached", room_full().boxed()),
        ("the server's limit of memberships is reached", too_many_memberships().boxed()),
    ];
    holds("How streams end", ends).await;
}

async fn watch(hub: &Hub) -> Result<tonic::Streaming<rialto::proto::rialto::v1::Room>, Status> {
    let mut client = ChatServiceClient::new(connection(hub.address()).await);
    Ok(client.list_rooms(ListRoomsRequest { watch: true }).await?.into_inner())
}

async fn drained_watch() -> End {
    let hub = Hub::start().await;
    let mut rooms = watch(&hub).await.unwrap();
    hub.shutdown().await;
    end(&rooms.message().await.unwrap_err())
}

async fn slow_watch() -> End {
    let hub = Hub::start_with(|config| config.rooms.max_waiting_changes = 1).await;
    let mut rooms = watch(&hub).await.unwrap();
    let mut client = ChatServiceClient::new(connection(hub.address()).await);
    let ended = async {
        loop {
            if let Err(status) = rooms.message().await {
                return end(&status);
            }
        }
    };
    // Faster than the watcher is notified.
    let publish = async {
        for n in 0.. {
            let message = said(&format!("room{}", n % 3), "ada", "hi");
            client.publish(PublishRequest { message: Some(message) }).await.unwrap();
        }
    };
    tokio::select! {
        end = ended => end,
        () = publish => unreachable!(),
    }
}

async fn too_many_watchers() -> End {
    let hub = Hub::start_with(|config| config.rooms.max_watchers = 1).await;
    let _first = watch(&hub).await.unwrap();
    let status = watch(&hub).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    end(&status)
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_end_as_the_protocol_says() {
    let ends = vec![
        ("the server shuts down", drained_watch().boxed()),
        ("more changes are pending than may wait for you", slow_watch().boxed()),
        ("the server's limit of watchers is reached", too_many_watchers().boxed()),
    ];
    holds("Watching lists", ends).await;
}
