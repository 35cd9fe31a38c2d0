//! Subscribe: like join, without sending.

use h2::Reason;
use rialto::{
    proto::rialto::v1::{Position, SubscribeRequest},
    proto::user::{ChatMessage, Join},
    server::Counts,
};
use tokio::net::TcpStream;
use tonic::{Code, Status};

use super::{position, subscribe};
use crate::support::{
    Chat, Hub, is_draining,
    raw::Raw,
    rooms::{after, gap, joined, last, live, with_presence},
    said, seqs, soon, texts,
    wire::Refusal,
};

const SUBSCRIBE: &str = "/rialto.v1.ChatService/Subscribe";

async fn refused(hub: &Hub, rooms: Vec<Position>) -> Status {
    match subscribe(&mut hub.service().await, rooms).await {
        Ok(mut chat) => panic!("it began, with {:?}", chat.next().await),
        Err(status) => status,
    }
}

#[tokio::test]
async fn a_subscriber_receives_a_room_as_if_it_had_joined() {
    let hub = Hub::start().await;
    let mut all = hub.filled("den", 10).await;
    let epoch = hub.epoch().await;
    let mut service = hub.service().await;
    let mut bob = hub.chat("den").await;
    let rows = [
        (live(), true, 10),
        (last(3), true, 7),
        (after(all[4].seq, &epoch), true, 5),
        (after(0, ""), true, 0),
        (after(3, "another"), false, 10),
    ];
    for (how, recovered, from) in rows {
        let head = all.last().unwrap().seq;
        // The messages of the earlier rows have later numbers.
        let from = if from == 10 { all.len() } else { from + if how.history > 0 { all.len() - 10 } else { 0 } };
        let mut chat = subscribe(&mut service, vec![position("den", how.clone())]).await.unwrap();
        let first = chat.next().await;
        let answer = joined(&first);
        assert_eq!((&first.room[..], &answer.epoch, answer.head_seq), ("den", &epoch, head));
        assert_eq!(answer.recovered, recovered, "{how:?}");
        if !recovered {
            assert_eq!(chat.next().await, gap("den", 1, head));
        }
        bob.say("den", "bob", "live").await;
        all.push(bob.next().await);
        assert_eq!(chat.take(all.len() - from).await, all[from..], "{how:?}");
    }
}

#[tokio::test]
async fn d5_several_rooms_are_resumed_each_from_its_position() {
    let hub = Hub::start().await;
    let (den, attic) = (hub.filled("den", 700).await, hub.filled("attic", 300).await);
    let rooms = vec![
        position("den", after(den[99].seq, "")),
        Position { room: String::new(), join: None },
        position("attic", last(10)),
    ];
    let mut chat = subscribe(&mut hub.service().await, rooms).await.unwrap();
    let lobby = hub.chat("lobby").await;
    lobby.say("", "ada", "hello").await;
    let heard = chat.take(3 + 600 + 10 + 1).await;
    let of = |room: &str| -> Vec<ChatMessage> {
        let mut messages: Vec<_> = heard.iter().filter(|message| message.room == room).cloned().collect();
        joined(&messages.remove(0));
        messages
    };
    assert!(of("den") == den[100..] && of("attic") == attic[290..], "{:?}", seqs(&heard));
    assert_eq!(texts(&of("lobby")), ["hello"]);
}

#[tokio::test]
async fn a_subscriber_gets_presence_and_counts_as_a_member() {
    let hub = Hub::start().await;
    let mut ada = hub.chat("").await;
    ada.join_as("ada", "den", live()).await;
    let mut chat = subscribe(&mut hub.service().await, vec![position("den", with_presence())]).await.unwrap();
    let heard = chat.take(3).await;
    assert_eq!(joined(&heard[0]).online, 2);
    ada.leave("den").await;
    let gone = chat.next().await;
    assert!(format!("{gone:?}").contains("online: false, count: 1"), "{gone:?}");
}

#[tokio::test]
async fn a_bad_subscription_is_refused_with_the_path_of_the_bad_field() {
    let hub = Hub::start_with(|config| config.rooms.max_rooms_per_stream = 3).await;
    let den = || position("den", live());
    let invalid = |reason: &str, field: &str| Refusal::new(Code::InvalidArgument, reason).field(field);
    let rows = [
        (vec![], invalid("INVALID_ROOMS", "rooms")),
        (vec![den(), den()], invalid("INVALID_ROOMS", "rooms[1].room")),
        (vec![position("", live()), den(), position("lobby", live())], invalid("INVALID_ROOMS", "rooms[2].room")),
        (vec![den(), position("No Den", live())], invalid("INVALID_ROOM", "rooms[1].room")),
        (vec![position("d/n", live())], invalid("INVALID_ROOM", "rooms[0].room")),
        (vec![den(), position("attic", last(1_001))], invalid("INVALID_HISTORY", "rooms[1].join.history")),
        (
            vec![position("attic", Join { history: 1, ..after(0, "") })],
            invalid("INVALID_HISTORY", "rooms[0].join.history"),
        ),
        (["a", "b", "c", "d"].map(|room| position(room, live())).into(), invalid("INVALID_ROOMS", "rooms")),
    ];
    for (rooms, expected) in rows {
        let name = format!("{rooms:?}");
        assert_eq!(Refusal::of(&refused(&hub, rooms).await), expected, "{name}");
    }
    hub.counts_become(|counts| (counts.chats, counts.members) == (0, 0)).await;
}

#[tokio::test]
async fn a_subscriber_that_cancels_or_disappears_leaves_nothing_behind() {
    let hub = Hub::start().await;
    hub.filled("den", 500).await;
    for round in 0..30 {
        let mut raw = Raw::connect(hub.address()).await;
        let mut call = raw.call(SUBSCRIBE, None).await;
        let rooms = vec![position("den", after(0, "")), position("attic", with_presence())];
        call.request.say(&SubscribeRequest { rooms }).await;
        call.request.half_close();
        if round % 2 == 0 {
            call.response.next().await;
        }
        match round % 3 {
            0 => raw.hang_up().await,
            1 => call.request.reset(Reason::CANCEL),
            _ => {}
        }
        drop(call);
    }
    hub.counts_become(|counts| *counts == Counts::default()).await;
}

#[tokio::test]
async fn a_subscription_counts_as_a_stream() {
    let hub = Hub::start_with(|config| config.limits.max_streams = 2).await;
    let mut service = hub.service().await;
    let first = subscribe(&mut service, vec![position("den", live())]).await.unwrap();
    let _second = hub.chat("den").await;
    let full = Refusal::new(Code::ResourceExhausted, "TOO_MANY_STREAMS").retry();
    assert_eq!(Refusal::of(&refused(&hub, vec![position("den", live())]).await), full);
    let denied = Chat::open(&mut hub.client().await, Some("den")).await.err().unwrap();
    assert_eq!(Refusal::of(&denied), full);
    drop(first);
    hub.counts_become(|counts| counts.chats == 1).await;
    subscribe(&mut service, vec![position("den", live())]).await.unwrap();
}

#[tokio::test]
async fn a_subscription_without_its_message_counts_as_a_stream() {
    let hub = Hub::start_with(|config| config.limits.max_streams = 1).await;
    let mut raw = Raw::connect(hub.address()).await;
    let call = raw.call(SUBSCRIBE, None).await;
    hub.counts_become(|counts| counts.chats == 1).await;
    drop(call);
    hub.counts_become(|counts| *counts == Counts { connections: 1, ..Counts::default() }).await;
}

#[tokio::test]
async fn an_unusual_request_is_refused_or_served_but_never_hangs() {
    let hub = Hub::start().await;
    let wanted = SubscribeRequest { rooms: vec![position("den", live())] };
    // No message at all.
    let mut raw = Raw::connect(hub.address()).await;
    let mut call = raw.call(SUBSCRIBE, None).await;
    call.request.half_close();
    let end = call.response.end().await.unwrap();
    assert_eq!(Refusal::of(&end), Refusal::new(Code::InvalidArgument, "INVALID_ROOMS").field("rooms"));
    // A whole message counts, even without the end of the request.
    let mut call = raw.call(SUBSCRIBE, None).await;
    call.request.say(&wanted).await;
    joined(&call.response.next().await);
    // Not a message.
    let mut call = raw.call(SUBSCRIBE, None).await;
    call.request.write(vec![0, 0, 0, 0, 2, 0xff, 0xff].into()).await;
    call.request.half_close();
    let end = call.response.end().await.unwrap();
    assert_eq!(Refusal::of(&end), Refusal::new(Code::InvalidArgument, "MALFORMED_MESSAGE"));
    // Above the limit.
    let mut call = raw.call(SUBSCRIBE, None).await;
    call.request.write(vec![0, 0, 16, 0, 0].into()).await;
    let end = call.response.end().await.unwrap();
    assert_eq!(Refusal::of(&end), Refusal::new(Code::ResourceExhausted, "MESSAGE_TOO_LARGE"));
    // Cut short.
    let mut call = raw.call(SUBSCRIBE, None).await;
    call.request.write(vec![0, 0, 0, 0, 9, 1].into()).await;
    call.request.half_close();
    let end = call.response.end().await.unwrap();
    assert_eq!(Refusal::of(&end), Refusal::new(Code::InvalidArgument, "TRUNCATED"));
}

#[tokio::test]
async fn d9_a_subscriber_gets_what_was_accepted_then_draining_then_the_end() {
    let hub = Hub::start().await;
    let mut chat = subscribe(&mut hub.service().await, vec![position("den", after(0, ""))]).await.unwrap();
    let all = hub.filled("den", 500).await;
    let stopping = tokio::spawn(hub.shutdown());
    let (heard, end) = chat.rest().await;
    let end = end.unwrap_err();
    assert_eq!(Refusal::of(&end), Refusal::new(Code::Unavailable, "DRAINING").retry());
    let (messages, events): (Vec<_>, Vec<_>) = heard.into_iter().partition(|message| message.event.is_none());
    assert!(messages == all, "{:?}", seqs(&messages));
    joined(&events[0]);
    assert!(events.len() == 2 && is_draining(&events[1]), "{events:?}");
    drop(chat);
    soon(stopping).await.unwrap();
}

#[tokio::test]
async fn d9_a_subscription_without_its_message_ends_at_the_drain() {
    let hub = Hub::start().await;
    let address = hub.address();
    let mut raw = Raw::connect(address).await;
    let mut call = raw.call(SUBSCRIBE, None).await;
    hub.counts_become(|counts| counts.streams == 1).await;
    let stopping = tokio::spawn(hub.shutdown());
    let closed = async { while TcpStream::connect(address).await.is_ok() {} };
    soon(closed).await;
    let end = call.response.end().await.unwrap();
    assert_eq!(Refusal::of(&end), Refusal::new(Code::Unavailable, "DRAINING").retry());
    drop(call);
    soon(stopping).await.unwrap();
}

#[tokio::test]
async fn a_subscription_outlasts_a_refused_one_on_the_same_connection() {
    let hub = Hub::start().await;
    let mut service = hub.service().await;
    let mut chat = subscribe(&mut service, vec![position("den", live())]).await.unwrap();
    joined(&chat.next().await);
    subscribe(&mut service, vec![]).await.err().unwrap();
    let bob = hub.chat("den").await;
    bob.send(said("den", "bob", "hello")).await;
    assert_eq!(chat.next().await.text, "hello");
}
