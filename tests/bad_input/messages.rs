//! Chat: bad messages and bad metadata.

use bytes::Bytes;
use rialto::proto::user::{
    ChatMessage, Draining, Duplicate, Gap, Join, Joined, Leave, Left, Presence, RefreshToken, Rejected, Typing,
    chat_message::Event,
};
use tonic::{Code, Status, metadata::AsciiMetadataValue};

use super::{KIB, Scene, oversize};
use crate::support::{
    Chat, Client, Hub, keyed, rejected, said, soon, texts,
    wire::{self, RawChat, Refusal, frame, framed, not_utf8},
};

/// A bad message and its answer.
struct Row {
    name: String,
    sent: Bytes,
    code: Code,
    reason: &'static str,
    /// Echoed in the answer.
    room: String,
    id: String,
}

fn row(message: ChatMessage, code: Code, reason: &'static str) -> Row {
    let (name, sent) = (format!("{message:?}"), frame(&message));
    // An empty room name means the lobby.
    let room = if message.room.is_empty() { "lobby".into() } else { message.room };
    // A value longer than a name may be is not echoed.
    let repeated = |name: String, most: usize| if name.len() <= most { name } else { String::new() };
    Row { name, sent, code, reason, room: repeated(room, 64), id: repeated(message.id, 128) }
}

fn bytes(name: &str, sent: Bytes) -> Row {
    let (room, id) = Default::default();
    Row { name: name.into(), sent, code: Code::InvalidArgument, reason: "MALFORMED_MESSAGE", room, id }
}

fn event(event: Event) -> ChatMessage {
    ChatMessage { room: "den".into(), id: "mine".into(), event: Some(event), ..ChatMessage::default() }
}

fn rows() -> Vec<Row> {
    let bad = |message, reason| row(message, Code::InvalidArgument, reason);
    let mut rows = vec![
        bad(ChatMessage::default(), "INVALID_TEXT"),
        bad(keyed("den", "ada", "key", ""), "INVALID_TEXT"),
        bad(keyed("den", "ada", "key", &"x".repeat(4097)), "INVALID_TEXT"),
        bad(said("den", "ada", &"☃".repeat(1366)), "INVALID_TEXT"),
        bad(said("den", "ada", "a\0b"), "INVALID_TEXT"),
        bad(said("den", "ada", &"x".repeat(60 * KIB)), "INVALID_TEXT"),
        bad(said("den", &"u".repeat(129), "hi"), "INVALID_USER_ID"),
        bad(keyed("den", "", "key", "hi"), "INVALID_USER_ID"),
        bad(keyed("den", "ada", &"k".repeat(129), "hi"), "INVALID_ID"),
        bad(keyed("den", "ada", &"k".repeat(60 * KIB), "hi"), "INVALID_ID"),
        row(keyed("attic", "ada", "key", "hi"), Code::FailedPrecondition, "NOT_IN_ROOM"),
        row(said("lobby", "ada", "hi"), Code::FailedPrecondition, "NOT_IN_ROOM"),
        row(said("", "ada", "hi"), Code::FailedPrecondition, "NOT_IN_ROOM"),
    ];
    for control in ["\0", "a\n", "\u{7f}", "a\u{85}b", "\r\nx: y"] {
        rows.push(bad(said("den", control, "hi"), "INVALID_USER_ID"));
        rows.push(bad(keyed("den", "ada", control, "hi"), "INVALID_ID"));
    }
    for name in [" ", "Den", "den ", "den,attic", ".den", "-", "../den", "d\0n", "dén", "\u{202e}den", "d/n", "*", ">"]
    {
        rows.push(bad(keyed(name, "ada", "key", "hi"), "INVALID_ROOM"));
    }
    rows.push(bad(said(&"d".repeat(65), "ada", "hi"), "INVALID_ROOM"));
    rows.push(bad(said(&"d".repeat(60 * KIB), "ada", "hi"), "INVALID_ROOM"));

    let join = |join| Event::Join(join);
    let elsewhere = |it| ChatMessage { room: "attic".into(), ..event(it) };
    let with_text = |it| ChatMessage { text: "and a text".into(), ..event(it) };
    let typing = |user_id: &str| ChatMessage { user_id: user_id.into(), ..event(Event::Typing(Typing {})) };
    let refresh = Event::RefreshToken(RefreshToken { token: "t".into() });
    rows.extend([
        row(event(join(Join::default())), Code::AlreadyExists, "ALREADY_IN_ROOM"),
        bad(elsewhere(join(Join { history: 1_001, ..Join::default() })), "INVALID_HISTORY"),
        bad(elsewhere(join(Join { history: 1, after_seq: Some(0), ..Join::default() })), "INVALID_HISTORY"),
        bad(ChatMessage { user_id: "u".repeat(129), ..elsewhere(join(Join::default())) }, "INVALID_USER_ID"),
        bad(ChatMessage { room: "No".into(), ..event(join(Join::default())) }, "INVALID_ROOM"),
        row(elsewhere(Event::Leave(Leave {})), Code::FailedPrecondition, "NOT_IN_ROOM"),
        row(ChatMessage { room: "attic".into(), ..typing("ada") }, Code::FailedPrecondition, "NOT_IN_ROOM"),
        bad(typing(""), "INVALID_USER_ID"),
        bad(typing("a\n"), "INVALID_USER_ID"),
        row(event(refresh), Code::FailedPrecondition, "AUTH_DISABLED"),
        bad(with_text(Event::Leave(Leave {})), "INVALID_TEXT"),
        bad(with_text(join(Join::default())), "INVALID_TEXT"),
    ]);
    let of_servers = [
        Event::Joined(Joined::default()),
        Event::Left(Left::default()),
        Event::Presence(Presence::default()),
        Event::Gap(Gap::default()),
        Event::Rejected(Rejected::default()),
        Event::Draining(Draining::default()),
        Event::Duplicate(Duplicate {}),
    ];
    rows.extend(of_servers.map(|it| bad(event(it), "INVALID_EVENT")));

    let refresh = Event::RefreshToken(RefreshToken { token: "?".into() });
    rows.extend([
        bytes("no UTF-8 in text", not_utf8(&said("den", "ada", "?"))),
        bytes("no UTF-8 in user_id", not_utf8(&said("den", "?", "hi"))),
        bytes("no UTF-8 in room", not_utf8(&said("?", "ada", "hi"))),
        bytes("no UTF-8 in id", not_utf8(&keyed("den", "ada", "?", "hi"))),
        bytes("no UTF-8 in an event", not_utf8(&event(refresh))),
        bytes("a cut field", framed(0, b"\x12\x7fhi")),
        bytes("a wrong wire type", framed(0, b"\x10\x01")),
        bytes("field 0", framed(0, b"\0\0")),
        bytes("an endless varint", framed(0, &[0xff; 64])),
        bytes("nested groups", framed(0, &[0x0b; 4096])),
        bytes("the largest frame", framed(0, &[0xff; 64 * KIB])),
    ]);
    rows
}

/// The expected answer, except for its human-readable text.
fn answer(row: &Row, nth: u64, actual: &ChatMessage) -> ChatMessage {
    let (code, reason, detail) = (row.code.into(), row.reason.into(), rejected(actual).detail.clone());
    let rejected = Rejected { id: row.id.clone(), code, reason, detail, retry_after: None, nth };
    ChatMessage { room: row.room.clone(), event: Some(Event::Rejected(rejected)), ..ChatMessage::default() }
}

#[tokio::test]
async fn a_bad_message_is_rejected_by_its_number_and_the_stream_continues() {
    let mut scene = Scene::start().await;
    let mut raw = RawChat::open(&scene.channel).await;
    let mut nth = 0;
    for row in rows() {
        raw.send(frame(&said("den", "ada", &format!("after {nth}")))).await;
        raw.send(row.sent.clone()).await;
        nth += 2;
        // A valid message reaches all members; a rejection only its sender.
        let name: String = row.name.chars().take(200).collect();
        let mut heard = raw.chat.take(2).await;
        heard.sort_by_key(|message| message.event.is_some());
        assert_eq!(texts(&heard), [format!("after {}", nth - 2).as_str(), ""], "{name}");
        assert_eq!(heard[1], answer(&row, nth, &heard[1]), "{name}");
        assert!(!rejected(&heard[1]).detail.is_empty(), "{name}");
        assert_eq!(scene.chat.next().await, heard[0], "{name}");
    }
    scene.is_unharmed().await;
    assert_eq!(texts(&raw.chat.take(1).await), ["still here?"]);
}

#[tokio::test]
async fn good_messages_between_bad_ones_are_delivered_in_order() {
    let mut scene = Scene::start().await;
    let raw = RawChat::open(&scene.channel).await;
    let rows = rows();
    for (n, row) in rows.iter().enumerate() {
        raw.send(row.sent.clone()).await;
        raw.send(frame(&said("den", "ada", &n.to_string()))).await;
    }
    let mut chat = raw.chat;
    let (refused, delivered): (Vec<_>, Vec<_>) =
        chat.take(2 * rows.len()).await.into_iter().partition(|message| message.event.is_some());
    let expected: Vec<_> = (0..rows.len()).map(|n| n.to_string()).collect();
    assert_eq!(texts(&delivered), expected);
    let numbers: Vec<_> = refused.iter().map(|message| rejected(message).nth).collect();
    let expected: Vec<_> = (1..).step_by(2).take(rows.len()).collect();
    assert_eq!(numbers, expected, "the odd ones were bad");
    assert_eq!(scene.chat.take(rows.len()).await, delivered);
    scene.is_unharmed().await;
}

#[tokio::test]
async fn values_at_their_limits_are_accepted_unchanged() {
    let hub = Hub::start().await;
    let mut chat = hub.chat(&format!("den,{},0._-", "r".repeat(64))).await;
    let unchanged = [
        said("den", "", "anonymous, as the original Node client"),
        said("den", "ada", "x"),
        said("den", "ada", &"x".repeat(4096)),
        said("den", "ada", &"😀".repeat(1024)),
        said("den", &"u".repeat(128), "hi"),
        keyed("den", "ada", &"k".repeat(128), "hi"),
        keyed("den", "\u{202e}ada 😀", "☃ \u{200d}", "\u{202e}\u{200b}\u{feff}\u{10ffff}\u{fffe}\u{1}\r\n\t\u{301}"),
        said(&"r".repeat(64), "ada", "hi"),
        said("0._-", "ada", "hi"),
    ];
    for message in unchanged {
        chat.send(message.clone()).await;
        let heard = chat.next().await;
        assert_eq!((&heard.text, &heard.user_id, &heard.room), (&message.text, &message.user_id, &message.room));
        assert_eq!(heard.event, None);
        assert!(if message.id.is_empty() { !heard.id.is_empty() } else { heard.id == message.id }, "{heard:?}");
    }
}

#[tokio::test]
async fn fields_that_only_the_server_sets_are_ignored_from_clients() {
    let hub = Hub::start().await;
    let mut chat = hub.chat("den").await;
    let (seq, timestamp, timestamp_nanos) = (u64::MAX, i64::MIN, i32::MIN);
    chat.send(ChatMessage { seq, timestamp, timestamp_nanos, ..said("den", "ada", "from the future") }).await;
    let heard = chat.next().await;
    assert_eq!(heard.seq, 1);
    assert!(heard.timestamp > 0 && (0..1_000_000_000).contains(&heard.timestamp_nanos), "{heard:?}");
}

#[tokio::test]
async fn a_chat_frame_above_the_limit_ends_its_stream_alone() {
    let mut scene = Scene::start().await;
    for sent in [framed(0, &vec![0; 64 * KIB + 1]), Bytes::from_static(b"\0\xff\xff\xff\xff")] {
        let mut raw = RawChat::open(&scene.channel).await;
        raw.send(frame(&said("den", "ada", "before"))).await;
        assert_eq!(texts(&raw.chat.take(1).await), ["before"]);
        assert_eq!(texts(&scene.chat.take(1).await), ["before"]);
        raw.send(sent).await;
        let (heard, end) = raw.chat.rest().await;
        assert_eq!((heard, Refusal::of(&end.unwrap_err())), (vec![], oversize()));
    }
    scene.hub.counts_become(|counts| counts.chats == 1).await;
    scene.is_unharmed().await;
}

#[tokio::test]
async fn broken_framing_ends_its_stream_alone() {
    let mut scene = Scene::start().await;
    for flag in [1, 2, 255] {
        let mut raw = RawChat::open(&scene.channel).await;
        raw.send(framed(flag, b"not compressed")).await;
        assert!(raw.chat.rest().await.1.is_err(), "flag {flag}");
    }
    let cut = Bytes::from_static(b"\0\0\0\0\x09abc");
    let mut answer = wire::call::<ChatMessage>(&scene.channel, "Chat", cut).await.unwrap();
    assert!(soon(answer.message()).await.is_err(), "a half-close within a frame");
    scene.hub.counts_become(|counts| counts.chats == 1).await;
    scene.is_unharmed().await;
}

async fn open_in(client: &mut Client, rooms: &[u8]) -> Result<Chat, Status> {
    let mut request = tonic::Request::new(tokio_stream::pending());
    request.metadata_mut().insert("rialto-rooms", AsciiMetadataValue::try_from(rooms).unwrap());
    let receiver = soon(client.chat(request)).await?.into_inner();
    Ok(Chat::listening(receiver))
}

#[tokio::test]
async fn bad_room_names_in_the_metadata_fail_the_call() {
    let mut scene = Scene::start().await;
    let long = ["r".repeat(65), "r".repeat(4 * KIB), "r".repeat(12 * KIB), "r,".repeat(4 * KIB), "\"".repeat(6 * KIB)];
    let bad = ["Den", "den,", ",den", "den,,attic", ",", ".", "den;attic", "den attic", "../den", "*", "den,A"];
    let hostile = ["dén".as_bytes(), b"\xff\xfe", "\u{202e}den".as_bytes(), b"\t\tden\tx"];
    let all = bad.iter().map(|name| name.as_bytes()).chain(hostile).chain(long.iter().map(String::as_bytes));
    let expected = Refusal::new(Code::InvalidArgument, "INVALID_ROOMS").field("rialto-rooms");
    let mut wrong = Vec::new();
    for rooms in all {
        let refusal = open_in(&mut scene.client, rooms).await.map(drop).map_err(|status| Refusal::of(&status));
        if refusal.as_ref() != Err(&expected) {
            wrong.push(format!("{} bytes, {:.30}: {refusal:?}", rooms.len(), String::from_utf8_lossy(rooms)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(scene.hub.counts().await.rooms, 1, "no room of a failed call was entered");
    scene.is_unharmed().await;
}

#[tokio::test]
async fn more_rooms_than_a_stream_may_have_fail_the_call() {
    let hub = Hub::start_with(|config| config.rooms.max_rooms_per_stream = 2).await;
    let mut client = hub.client().await;
    let refusal = Refusal::of(&Chat::open(&mut client, Some("a,b,c")).await.err().unwrap());
    assert_eq!(refusal, Refusal::new(Code::InvalidArgument, "INVALID_ROOMS").field("rialto-rooms"));
    let mut chat = Chat::open(&mut client, Some("a,b,a,b")).await.expect("a room named twice is one");
    chat.say("b", "ada", "hi").await;
    assert_eq!(texts(&chat.take(1).await), ["hi"]);
}

#[tokio::test]
async fn spaces_and_repetitions_among_the_rooms_are_accepted() {
    let hub = Hub::start().await;
    let mut chat = hub.chat(" den ,\tden,attic,  den  ").await;
    let counts = hub.counts().await;
    assert_eq!((counts.rooms, counts.members), (2, 2));
    for room in ["den", "attic"] {
        chat.say(room, "ada", room).await;
        assert_eq!(texts(&chat.take(1).await), [room], "once");
    }
}

#[tokio::test]
async fn an_empty_list_of_rooms_joins_no_room() {
    let hub = Hub::start().await;
    for rooms in ["", "  "] {
        let mut chat = hub.chat(rooms).await;
        assert_eq!(hub.counts().await.members, 0);
        for room in ["", "lobby", "den"] {
            chat.say(room, "ada", "anybody?").await;
            let answer = chat.next().await;
            assert_eq!(rejected(&answer).reason, "NOT_IN_ROOM", "{room:?} of {rooms:?}");
        }
    }
}

#[tokio::test]
async fn a_room_above_the_limit_is_rejected() {
    let hub = Hub::start_with(|config| config.storage.max_rooms = 1).await;
    let mut chat = hub.chat("den,attic").await;
    chat.say("den", "ada", "first").await;
    assert_eq!(texts(&chat.take(1).await), ["first"]);
    chat.send(keyed("attic", "ada", "key", "second")).await;
    let answer = chat.next().await;
    let refused = rejected(&answer);
    assert_eq!((refused.reason.as_str(), refused.id.as_str(), refused.nth), ("TOO_MANY_ROOMS", "key", 2));
    assert_eq!((Code::from(refused.code), answer.room.as_str()), (Code::ResourceExhausted, "attic"));
    assert!(refused.retry_after.is_some_and(|after| after.seconds > 0), "{refused:?}");
    chat.say("den", "ada", "third").await;
    assert_eq!(texts(&chat.take(1).await), ["third"]);
}

#[tokio::test]
async fn a_stream_above_the_limit_is_refused_until_one_ends() {
    let hub = Hub::start_with(|config| config.limits.max_streams = 1).await;
    let first = hub.chat("den").await;
    let mut client = hub.client().await;
    let status = Chat::open(&mut client, Some("den")).await.err().unwrap();
    assert_eq!(Refusal::of(&status), Refusal::new(Code::ResourceExhausted, "TOO_MANY_STREAMS").retry());
    drop(first);
    hub.counts_become(|counts| counts.chats == 0).await;
    Chat::open(&mut client, Some("den")).await.unwrap();
}

#[tokio::test]
async fn an_open_room_above_the_limit_is_refused_until_one_is_left() {
    let hub = Hub::start_with(|config| config.rooms.max_open_rooms = 1).await;
    let den = hub.chat("den").await;
    let refused = Chat::open(&mut hub.client().await, Some("attic")).await.map(drop).unwrap_err();
    assert_eq!(Refusal::of(&refused), Refusal::new(Code::ResourceExhausted, "TOO_MANY_OPEN_ROOMS").retry());
    hub.chat("den").await;
    drop(den);
    hub.counts_become(|counts| counts.rooms == 0).await;
    hub.chat("attic").await;
}

#[tokio::test]
async fn a_membership_above_the_limit_is_refused_until_one_ends() {
    let hub = Hub::start_with(|config| config.rooms.max_memberships = 3).await;
    let first = hub.chat("den,attic").await;
    let mut client = hub.client().await;
    let status = Chat::open(&mut client, Some("den,attic")).await.err().unwrap();
    assert_eq!(Refusal::of(&status), Refusal::new(Code::ResourceExhausted, "TOO_MANY_MEMBERSHIPS").retry());
    hub.counts_become(|counts| counts.members == 2).await;
    drop(first);
    hub.counts_become(|counts| counts.members == 0).await;
    let mut chat = Chat::open(&mut client, Some("den,attic,lobby")).await.unwrap();
    chat.say("lobby", "ada", "hi").await;
    assert_eq!(texts(&chat.take(1).await), ["hi"]);
}
