//! Limits on rooms: a join beyond one is rejected, and a leave makes room again.

use rialto::proto::user::{ChatMessage, Join, chat_message::Event};
use tokio::net::TcpStream;
use tonic::Code;

use super::assert_rejected;
use crate::support::{
    Hub, is_draining,
    raw::Raw,
    rejected,
    rooms::{join, join_as, leave, live, typing},
    soon,
};

/// A join beyond the limit is rejected with this reason, and possible again after a leave.
async fn assert_limited(hub: &Hub, free: usize, reason: &str) {
    let mut chat = hub.chat("").await;
    for n in 0..free {
        chat.join(&format!("room{n}"), live()).await;
    }
    let nth = free as u64 + 1;
    chat.send(join("one-more", live())).await;
    let answer = chat.next().await;
    assert_rejected(&answer, "one-more", nth, Code::ResourceExhausted, reason);
    assert!(rejected(&answer).retry_after.is_some(), "{answer:?}");
    // Sent together: a leave frees its place immediately, not some time later.
    for _ in 0..50 {
        for message in [leave("room0"), join("one-more", live()), leave("one-more"), join("room0", live())] {
            chat.send(message).await;
        }
    }
    let heard = chat.finish().await;
    assert!(heard.iter().all(|message| !matches!(message.event, Some(Event::Rejected(_)))), "{heard:?}");
    assert_eq!(heard.len(), 200);
}

#[tokio::test]
async fn d7_the_rooms_of_a_stream_are_limited() {
    let hub = Hub::start_with(|config| config.rooms.max_rooms_per_stream = 3).await;
    assert_limited(&hub, 3, "TOO_MANY_ROOMS_PER_STREAM").await;
    let mut chat = hub.chat("a,b,c").await;
    chat.send(join("d", live())).await;
    assert_rejected(&chat.next().await, "d", 1, Code::ResourceExhausted, "TOO_MANY_ROOMS_PER_STREAM");
}

#[tokio::test]
async fn d7_the_open_rooms_are_limited() {
    let hub = Hub::start_with(|config| config.rooms.max_open_rooms = 2).await;
    assert_limited(&hub, 2, "TOO_MANY_OPEN_ROOMS").await;
}

#[tokio::test]
async fn d7_the_memberships_are_limited() {
    let hub = Hub::start_with(|config| config.rooms.max_memberships = 2).await;
    assert_limited(&hub, 2, "TOO_MANY_MEMBERSHIPS").await;
}

#[tokio::test]
async fn d7_the_members_of_a_room_are_limited() {
    let hub = Hub::start_with(|config| config.rooms.max_members_per_room = 2).await;
    let (mut one, mut two) = (hub.chat("den").await, hub.chat("").await);
    two.join("den", live()).await;
    let mut late = hub.chat("attic").await;
    late.send(join("den", live())).await;
    let answer = late.next().await;
    assert_rejected(&answer, "den", 1, Code::ResourceExhausted, "ROOM_FULL");
    assert!(rejected(&answer).retry_after.is_some(), "{answer:?}");
    // Members receive each other's messages and nothing else; a rejected join changes nothing.
    one.say("den", "ada", "between us").await;
    late.say("attic", "eve", "alone").await;
    for chat in [&mut one, &mut two] {
        assert_eq!(chat.next().await.text, "between us");
    }
    assert_eq!(late.next().await.text, "alone");
    // A leave frees its place.
    two.leave("den").await;
    late.join("den", live()).await;
    two.send(join("den", live())).await;
    assert_rejected(&two.next().await, "den", 3, Code::ResourceExhausted, "ROOM_FULL");
}

#[tokio::test]
async fn user_ids_of_joins_and_typing_are_checked_like_those_of_messages() {
    let hub = Hub::start().await;
    let mut chat = hub.chat("den").await;
    let mut nth = 0;
    for bad in ["u".repeat(129), "a\n".into(), "\0".into(), "\u{85}".into()] {
        for message in [join_as(&bad, "attic", live()), typing("den", &bad)] {
            nth += 1;
            let room = message.room.clone();
            chat.send(message).await;
            assert_rejected(&chat.next().await, &room, nth, Code::InvalidArgument, "INVALID_USER_ID");
        }
    }
    chat.send(typing("den", "")).await;
    assert_rejected(&chat.next().await, "den", nth + 1, Code::InvalidArgument, "INVALID_USER_ID");
    for (n, good) in ["u".repeat(128), "☃".repeat(42), "two words".into()].iter().enumerate() {
        chat.join_as(good, &format!("room{n}"), live()).await;
        chat.send(typing("den", good)).await;
    }
    assert_eq!(chat.finish().await, []);
}

#[tokio::test]
async fn the_rejection_of_a_client_event_names_the_event() {
    let hub = Hub::start().await;
    let mut chat = hub.chat("den").await;
    for message in [join("den", live()), leave("attic"), join("attic", Join { history: 1_001, ..live() })] {
        chat.send(ChatMessage { id: "mine".into(), ..message }).await;
        assert_eq!(rejected(&chat.next().await).id, "mine");
    }
}

#[tokio::test]
async fn d9_a_join_during_a_drain_is_rejected_unavailable() {
    let hub = Hub::start().await;
    let address = hub.address();
    // Its window is closed, so the body is polled only when it reads again: then it sees the drain and the joins together.
    let mut raw = Raw::connect(address).await;
    let mut call = raw.chat("den").await;
    let mut bob = hub.chat("den").await;
    for _ in 0..64 {
        bob.say("den", "bob", &"x".repeat(4_096)).await;
        bob.next().await;
    }
    drop(bob);
    let stopping = tokio::spawn(hub.shutdown());
    let refused = async { while TcpStream::connect(address).await.is_ok() {} };
    soon(refused).await;
    call.request.say(&join("attic", live())).await;
    call.request.say(&join("cellar", live())).await;
    raw.flushed().await;
    let (heard, end) = call.response.rest().await;
    assert_eq!(end.unwrap().code(), Code::Unavailable);
    let (messages, answers): (Vec<_>, Vec<_>) = heard.into_iter().partition(|message| message.event.is_none());
    assert_eq!(messages.len(), 64, "what was accepted is delivered");
    assert!(is_draining(&answers[0]));
    assert_eq!(answers.len(), 3);
    for (answer, (nth, room)) in answers[1..].iter().zip([(1, "attic"), (2, "cellar")]) {
        assert_rejected(answer, room, nth, Code::Unavailable, "DRAINING");
        assert!(rejected(answer).retry_after.is_some(), "{answer:?}");
    }
    soon(stopping).await.unwrap();
}
