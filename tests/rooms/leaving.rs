//! `leave`: first the answers to everything sent before, then `left`, then nothing more from the room.

use std::collections::{HashMap, HashSet};

use rialto::proto::user::{ChatMessage, chat_message::Event};
use tokio::task::JoinSet;

use super::talk;
use crate::support::{
    Hub, keyed, rejected,
    rooms::{after, is_left, join, joined, leave, live},
    said, seqs, texts,
};

#[tokio::test]
async fn nothing_of_a_room_comes_after_left() {
    let hub = Hub::start().await;
    let mut bob = hub.chat("den,attic").await;
    let mut chat = hub.chat("").await;
    chat.join("attic", live()).await;
    for n in 0..20 {
        chat.join("den", live()).await;
        assert_eq!(chat.leave("den").await, []);
        let text = n.to_string();
        bob.say("den", "bob", &text).await;
        bob.say("attic", "bob", &text).await;
        bob.take(2).await;
        let heard = chat.next().await;
        assert_eq!((heard.room.as_str(), heard.text.as_str()), ("attic", text.as_str()));
    }
    assert_eq!(chat.finish().await, []);
}

#[tokio::test]
async fn messages_sent_before_a_leave_are_answered_before_left() {
    let hub = Hub::start().await;
    let mut first = hub.chat("den").await;
    for n in 0..30 {
        first.send(keyed("den", "ada", &n.to_string(), "first")).await;
        first.next().await;
    }
    let mut chat = hub.chat("").await;
    let joined = chat.join("den", live()).await;
    // New, duplicate and bad messages, all in flight when the leave arrives.
    for n in 0..30 {
        chat.send(keyed("den", "ada", &n.to_string(), "again")).await;
        chat.say("den", "ada", &format!("new {n}")).await;
        chat.say("den", "ada", "").await;
    }
    let mut before = chat.leave("den").await;
    let duplicates = before.extract_if(.., |message| matches!(message.event, Some(Event::Duplicate(_)))).count();
    let refused: Vec<_> = before
        .extract_if(.., |message| matches!(message.event, Some(Event::Rejected(_))))
        .map(|message| rejected(&message).nth)
        .collect();
    assert_eq!(duplicates, 30);
    assert_eq!(refused, (0..30).map(|n| 4 + 3 * n).collect::<Vec<_>>());

    // All were in the log: a client that rejoins after its last message gets the rest, then live messages.
    let last = before.last().map_or(joined.head_seq, |message| message.seq);
    let again = chat.join("den", after(last, &joined.epoch)).await;
    assert!(again.recovered);
    chat.say("den", "ada", "last").await;
    let missed = chat.take(31 - before.len()).await;
    let mut all = before;
    all.extend(missed);
    let mut expected: Vec<_> = (0..30).map(|n| format!("new {n}")).collect();
    expected.push("last".into());
    assert_eq!(texts(&all), expected);
    assert!(seqs(&all).is_sorted_by(|a, b| a < b));
}

#[tokio::test]
async fn d8_a_join_that_is_left_at_once_is_still_answered() {
    let hub = Hub::start().await;
    hub.filled("den", 20).await;
    for how in [live(), after(0, ""), after(99, "")] {
        let mut chat = hub.chat("").await;
        for _ in 0..30 {
            chat.send(join("den", how.clone())).await;
            chat.send(leave("den")).await;
        }
        let heard = chat.finish().await;
        let words: Vec<_> = heard
            .iter()
            .filter_map(|message| match &message.event {
                Some(Event::Joined(_)) => Some("joined"),
                Some(Event::Left(_)) => Some("left"),
                _ => None,
            })
            .collect();
        assert_eq!(words, ["joined", "left"].repeat(30), "{how:?}");
    }
}

#[tokio::test]
async fn d8_a_left_room_delivers_nothing_after_a_half_close() {
    let hub = Hub::start().await;
    let all = hub.filled("den", 2_000).await;
    let mut chat = hub.chat("").await;
    for message in [join("den", after(0, "")), said("den", "ada", "mine"), leave("den"), join("attic", live())] {
        chat.send(message).await;
    }
    let heard = chat.finish().await;
    let left = heard.iter().position(is_left).unwrap();
    assert_eq!(joined(&heard[0]).head_seq, all.last().unwrap().seq);
    let before = &heard[1..left.min(1 + all.len())];
    assert!(*before == all[..before.len()], "what came before is how it would have begun");
    assert_eq!(heard[left + 1..].iter().map(|message| message.room.as_str()).collect::<Vec<_>>(), ["attic"]);
    let mut chat = hub.chat("").await;
    assert_eq!(chat.join("den", live()).await.head_seq, all.last().unwrap().seq + 1, "it was said all the same");
}

/// Rejoins each time from its last position.
#[tokio::test]
async fn d5_rooms_rejoined_while_others_publish_miss_and_repeat_nothing() {
    const ROOMS: [&str; 3] = ["den", "attic", "cellar"];
    const EACH: usize = 300;
    let hub = Hub::start().await;
    let epoch = hub.epoch().await;
    let mut talks = JoinSet::new();
    for room in ROOMS {
        let chat = hub.chat(room).await;
        talks.spawn(async move { (room, talk(chat, room, EACH).await) });
    }
    let mut chat = hub.chat("").await;
    let mut heard: HashMap<String, Vec<ChatMessage>> = HashMap::new();
    let mut leaving: HashSet<String> = HashSet::new();
    for room in ROOMS {
        chat.send(join(room, after(0, &epoch))).await;
        heard.insert(room.into(), Vec::new());
    }
    let mut rejoined = 0;
    while heard.values().any(|messages| messages.len() < EACH) {
        let message = chat.next().await;
        let known = heard.get_mut(&message.room).unwrap();
        match &message.event {
            Some(Event::Joined(joined)) => assert!(joined.recovered, "{message:?}"),
            Some(Event::Left(_)) => {
                assert!(leaving.remove(&message.room));
                let last = known.last().map_or(0, |message| message.seq);
                chat.send(join(&message.room, after(last, &epoch))).await;
                rejoined += 1;
            }
            None => {
                let room = message.room.clone();
                known.push(message);
                if known.len().is_multiple_of(7) && !leaving.contains(&room) {
                    chat.send(leave(&room)).await;
                    leaving.insert(room);
                }
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(rejoined > 30, "{rejoined}");
    while let Some(talk) = talks.join_next().await {
        let (room, said) = talk.unwrap();
        assert!(heard[room] == said, "{room}: {:?}", seqs(&heard[room]));
    }
}
