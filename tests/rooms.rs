//! Joining and leaving rooms on a running stream: the answers, their order, and what follows.

mod leaving;
mod limits;
mod resume;

use rialto::{
    proto::user::{ChatMessage, Join, chat_message::Event},
    server::Counts,
};
use tonic::Code;

use crate::support::{
    Chat, Hub, keyed,
    raw::Raw,
    rejected,
    rooms::{after, is_left, join, joined, last, leave, live, typing, with_presence},
    said, seqs, soon, texts,
};

/// The answer to a refused message of the stream.
fn assert_rejected(answer: &ChatMessage, room: &str, nth: u64, code: Code, reason: &str) {
    let said = rejected(answer);
    assert_eq!(
        (answer.room.as_str(), said.nth, Code::from(said.code), said.reason.as_str()),
        (room, nth, code, reason)
    );
}

#[tokio::test]
async fn a_joined_room_works_like_one_from_the_metadata() {
    let hub = Hub::start().await;
    let mut bob = hub.chat("den").await;
    let mut chat = hub.chat("").await;
    let joined = chat.join("den", live()).await;
    assert_eq!((joined.head_seq, joined.recovered, joined.online), (0, true, 2), "two who say not who they are");
    assert!(!joined.epoch.is_empty());
    for (room, text) in [("den", "by ada"), ("den", "again")] {
        chat.say(room, "ada", text).await;
        let heard = chat.next().await;
        assert_eq!((heard.text.as_str(), &bob.next().await), (text, &heard));
    }
    bob.say("den", "bob", "by bob").await;
    assert_eq!(chat.next().await, bob.next().await);
    assert_eq!(chat.finish().await, []);
}

#[tokio::test]
async fn a_room_without_a_name_is_the_lobby_for_joins_and_leaves_too() {
    let hub = Hub::start().await;
    let mut chat = hub.chat("").await;
    chat.send(join("", live())).await;
    let answer = chat.next().await;
    assert_eq!((answer.room.as_str(), joined(&answer).head_seq), ("lobby", 0));
    chat.say("", "ada", "hello").await;
    assert_eq!(chat.next().await.room, "lobby");
    chat.send(leave("")).await;
    let answer = chat.next().await;
    assert!(answer.room == "lobby" && is_left(&answer), "{answer:?}");
}

#[tokio::test]
async fn joined_comes_first_then_the_history_then_live_messages() {
    let hub = Hub::start().await;
    let mut all = hub.filled("den", 10).await;
    let mut bob = hub.chat("den").await;
    for history in [0, 1, 3, 10, 11, 999, 1_000] {
        let mut chat = hub.chat("").await;
        let answer = chat.join("den", last(history)).await;
        assert_eq!((answer.head_seq, answer.recovered), (all.last().unwrap().seq, true));
        bob.say("den", "bob", &format!("live, behind {history}")).await;
        let from = all.len().saturating_sub(history as usize);
        all.push(bob.next().await);
        assert_eq!(chat.take(all.len() - from).await, all[from..], "the last {history}, then the live one");
        assert_eq!(chat.finish().await, []);
    }
    let mut chat = hub.chat("").await;
    assert_eq!(chat.join("attic", last(5)).await.head_seq, 0, "nothing was ever said there");
    assert_eq!(chat.finish().await, []);
}

#[tokio::test]
async fn d8_after_a_join_and_a_half_close_the_history_still_comes_and_the_end_is_ok() {
    let hub = Hub::start().await;
    let all = hub.filled("den", 1_234).await;
    let head = all.last().unwrap().seq;
    for (how, from) in [
        (last(1_000), 234),
        (last(1), 1_233),
        (after(0, ""), 0),
        (after(all[99].seq, ""), 100),
        (after(head, ""), 1_234),
        (live(), 1_234),
    ] {
        let mut chat = hub.chat("").await;
        chat.send(join("den", how.clone())).await;
        let heard = chat.finish().await;
        assert_eq!(joined(&heard[0]).head_seq, head);
        assert_eq!(seqs(&heard[1..]), seqs(&all[from..]), "{how:?}");
        assert!(heard[1..] == all[from..], "the same in every word");
    }
}

#[tokio::test]
async fn joins_messages_and_leaves_sent_together_are_handled_in_order() {
    let hub = Hub::start().await;
    let all = hub.filled("den", 5).await;
    let mut chat = hub.chat("").await;
    for message in [
        said("den", "ada", "too early"),
        join("den", last(2)),
        join("den", live()),
        said("den", "ada", "mine"),
        leave("den"),
        said("den", "ada", "too late"),
        leave("den"),
        join("den", after(all[2].seq, "")),
        join("attic", live()),
        said("attic", "ada", "upstairs"),
    ] {
        chat.send(message).await;
    }
    let heard = chat.finish().await;
    let (attic, den): (Vec<_>, Vec<_>) = heard.into_iter().partition(|message| message.room == "attic");
    assert_eq!(joined(&attic[0]).head_seq, 0);
    assert_eq!(texts(&attic[1..]), ["upstairs"]);

    let (answers, rest): (Vec<_>, Vec<_>) =
        den.into_iter().partition(|message| matches!(message.event, Some(Event::Rejected(_))));
    let rows = [
        (1, Code::FailedPrecondition, "NOT_IN_ROOM"),
        (3, Code::AlreadyExists, "ALREADY_IN_ROOM"),
        (6, Code::FailedPrecondition, "NOT_IN_ROOM"),
        (7, Code::FailedPrecondition, "NOT_IN_ROOM"),
    ];
    assert_eq!(answers.len(), rows.len(), "{answers:?}");
    for (answer, (nth, code, reason)) in answers.iter().zip(rows) {
        assert_rejected(answer, "den", nth, code, reason);
    }
    let left = rest.iter().position(is_left).unwrap();
    let (before, after_left) = (&rest[..left], &rest[left + 1..]);
    assert_eq!(joined(&before[0]).head_seq, all[4].seq);
    // A left room owes nothing: what it delivered is a prefix of what it would have delivered.
    assert!(before.len() <= 4 && texts(&before[1..]) == ["den:3", "den:4", "mine"][..before.len() - 1], "{before:?}");
    assert_eq!(joined(&after_left[0]).head_seq, all[4].seq + 1);
    assert_eq!(texts(&after_left[1..]), ["den:3", "den:4", "mine"]);
}

#[tokio::test]
async fn nth_counts_every_message_of_the_stream() {
    let hub = Hub::start().await;
    let mut chat = hub.chat("den").await;
    for message in [join("attic", live()), typing("den", "ada"), said("den", "ada", "hi"), leave("attic")] {
        chat.send(message).await;
    }
    chat.send(typing("cellar", "ada")).await;
    loop {
        let answer = chat.next().await;
        if matches!(answer.event, Some(Event::Rejected(_))) {
            assert_rejected(&answer, "cellar", 5, Code::FailedPrecondition, "NOT_IN_ROOM");
            return;
        }
    }
}

#[tokio::test]
async fn leaving_a_metadata_room_sends_no_left_and_rejoining_it_sends_joined() {
    let hub = Hub::start().await;
    let mut chat = hub.chat("den,attic").await;
    chat.send(join("den", live())).await;
    assert_rejected(&chat.next().await, "den", 1, Code::AlreadyExists, "ALREADY_IN_ROOM");
    chat.send(keyed("den", "ada", "key", "once")).await;
    assert_eq!(chat.next().await.text, "once");
    chat.send(keyed("den", "ada", "key", "twice")).await;
    assert!(matches!(chat.next().await.event, Some(Event::Duplicate(_))), "answers come to everyone");

    chat.send(leave("den")).await;
    chat.send(said("den", "ada", "is anybody there?")).await;
    assert_rejected(&chat.next().await, "den", 5, Code::FailedPrecondition, "NOT_IN_ROOM");
    assert_eq!(chat.join("den", live()).await.head_seq, 1);
    assert_eq!(chat.leave("den").await, [], "and now the answer");
    assert_eq!(hub.counts_become(|counts| counts.members == 1).await.rooms, 1);
    chat.send(leave("attic")).await;
    assert_eq!(chat.finish().await, []);
}

#[tokio::test]
async fn joined_counts_exactly_the_current_members() {
    let hub = Hub::start().await;
    let mut others = Vec::new();
    for (user_id, online) in [("ada", 1), ("ada", 1), ("bob", 2), ("", 3), ("", 4), ("ada", 4)] {
        let mut chat = hub.chat("").await;
        assert_eq!(chat.join_as(user_id, "den", live()).await.online, online, "{user_id:?}");
        others.push(chat);
    }
    // A user that left and joined again counts once, also when both requests are sent together.
    let mut chat = hub.chat("").await;
    for _ in 0..100 {
        chat.send(join("den", live())).await;
        chat.send(leave("den")).await;
    }
    let heard = chat.finish().await;
    let online: Vec<_> =
        heard.iter().filter(|message| !is_left(message)).map(|message| joined(message).online).collect();
    assert_eq!(online, [5; 100]);
}

#[tokio::test]
async fn a_client_that_disappears_while_it_joins_leaves_nothing_behind() {
    let hub = Hub::start().await;
    hub.filled("den", 500).await;
    for round in 0..60 {
        let mut raw = Raw::connect(hub.address()).await;
        let mut call = raw.chat("").await;
        for (room, how) in [("den", after(0, "")), ("attic", live()), ("cellar", with_presence())] {
            call.request.say(&join(room, how)).await;
        }
        match round % 3 {
            0 => raw.hang_up().await,
            1 => call.request.reset(h2::Reason::CANCEL),
            _ => _ = call.response.next().await,
        }
        drop(call);
    }
    hub.counts_become(|counts| *counts == Counts::default()).await;
}

#[tokio::test]
async fn ten_thousand_joins_and_leaves_of_one_stream_leave_nothing_behind() {
    const ROUNDS: usize = 10_000;
    let hub = Hub::start().await;
    let (sender, mut receiver) = hub.chat("").await.split();
    let ask = async {
        for n in 0..ROUNDS {
            let room = format!("room{}", n % 7);
            sender.send(join(&room, Join { presence: n % 2 == 0, ..live() })).await.unwrap();
            sender.send(leave(&room)).await.unwrap();
        }
    };
    let hear = async {
        let mut left = 0;
        while left < ROUNDS {
            let answer = soon(receiver.message()).await.unwrap().unwrap();
            assert!(!matches!(answer.event, Some(Event::Rejected(_))), "{answer:?}");
            left += usize::from(is_left(&answer));
        }
    };
    tokio::join!(ask, hear);
    let held = Counts { connections: 1, streams: 1, chats: 1, ..Counts::default() };
    hub.counts_become(|counts| *counts == held).await;
    drop((sender, receiver));
    hub.counts_become(|counts| *counts == Counts::default()).await;
}

/// Publishes `n` messages in a room, waits for them, and returns what all members should receive.
async fn talk(mut chat: Chat, room: &str, n: usize) -> Vec<ChatMessage> {
    let mut heard = Vec::with_capacity(n);
    for n in 0..n {
        chat.say(room, "bob", &n.to_string()).await;
        heard.push(chat.next().await);
    }
    heard
}
