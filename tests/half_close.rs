//! D8: after half-close the stream still owes an answer to everything sent before it, and in each room everything up to its own last
//! accepted message there; then it ends with OK. And D4: a message published again is answered by `duplicate`, and delivered once.

use std::collections::HashSet;

use rialto::proto::user::{ChatMessage, Duplicate, chat_message::Event};
use tokio::task::JoinSet;
use tonic::Code;

use crate::support::{Chat, Hub, keyed, rejected, said, seqs, soon, texts};

/// Half-closes the stream; returns everything that it still receives. It must end with OK.
async fn finish(chat: &mut Chat) -> Vec<ChatMessage> {
    chat.half_close();
    // One timeout for all of it: while others keep publishing, there is always a next message.
    let (messages, end) = soon(chat.rest()).await;
    end.unwrap();
    messages
}

/// A client that publishes to the room continuously until this is dropped.
async fn talker(hub: &Hub, room: &'static str) -> JoinSet<()> {
    let mut chat = hub.chat(room).await;
    let mut task = JoinSet::new();
    task.spawn(async move {
        loop {
            chat.say(room, "bob", "and another thing").await;
            chat.next().await;
        }
    });
    task
}

/// Publishes `n` messages, waiting for each to come back.
async fn say_and_hear(chat: &mut Chat, room: &str, user: &str, n: usize) {
    for i in 0..n {
        chat.say(room, user, &format!("{user}:{i}")).await;
        chat.next().await;
    }
}

fn numbered(n: usize) -> Vec<String> {
    (0..n).map(|i| i.to_string()).collect()
}

/// Asserts equality; on failure prints only the first difference, since the lists are long.
fn assert_numbered(texts: &[&str], n: usize) {
    let difference = texts.iter().zip(numbered(n)).find(|(text, expected)| *text != expected);
    assert_eq!((difference, texts.len()), (None, n));
}

/// The answer to publishing this message again.
fn duplicate_of(first: &ChatMessage) -> ChatMessage {
    ChatMessage { text: String::new(), event: Some(Event::Duplicate(Duplicate {})), ..first.clone() }
}

#[tokio::test]
async fn d8_a_stream_half_closed_without_a_message_ends_at_once() {
    let hub = Hub::start().await;
    for rooms in ["den", "den,attic", ""] {
        let mut chat = hub.chat(rooms).await;
        assert_eq!(finish(&mut chat).await, [], "rooms {rooms:?}");
    }
    let mut lobby = Chat::open(&mut hub.client().await, None).await.unwrap();
    assert_eq!(finish(&mut lobby).await, []);
}

#[tokio::test]
async fn a_stream_at_a_limit_of_its_messages_in_flight_goes_on_when_they_are_settled() {
    for (messages, bytes) in [(2, 1 << 20), (512, 1), (512, 1000)] {
        let hub = Hub::start_with(|config| {
            config.limits.max_inflight_per_stream = messages;
            config.limits.max_inflight_bytes_per_stream = bytes;
        })
        .await;
        let mut chat = hub.chat("den").await;
        for text in numbered(100) {
            chat.say("den", "ada", &text).await;
        }
        assert_numbered(&texts(&finish(&mut chat).await), 100);
    }
}

#[tokio::test]
async fn d8_a_stream_gets_all_its_messages_before_it_ends() {
    let hub = Hub::start().await;
    for n in [1, 2, 7, 511, 512, 513] {
        let mut chat = hub.chat("den").await;
        for text in numbered(n) {
            chat.say("den", "ada", &text).await;
        }
        let heard = finish(&mut chat).await;
        assert_numbered(&texts(&heard), n);
        assert!(seqs(&heard).is_sorted_by(|a, b| a < b));
    }
}

#[tokio::test]
async fn d8_five_hundred_messages_sent_before_any_is_read_come_back_before_the_end() {
    let hub = Hub::start().await;
    let mut chat = hub.chat("den").await;
    for text in numbered(500) {
        chat.say("den", "ada", &text).await;
    }
    assert_numbered(&texts(&finish(&mut chat).await), 500);
}

#[tokio::test]
async fn d8_more_than_the_windows_hold_comes_back_to_a_reader_before_the_end() {
    const N: usize = 5_000;
    let hub = Hub::start().await;
    let (sender, mut receiver) = hub.chat("den").await.split();
    let send = async move {
        for text in numbered(N) {
            sender.send(said("den", "ada", &text)).await.unwrap();
        }
        // Dropped here: the half-close.
    };
    let receive = async {
        let mut heard = Vec::new();
        while let Some(message) = soon(receiver.message()).await.unwrap() {
            heard.push(message);
        }
        heard
    };
    assert_numbered(&texts(&tokio::join!(send, receive).1), N);
}

#[tokio::test]
async fn d8_rejected_messages_are_answered_before_the_end() {
    let hub = Hub::start().await;
    let mut chat = hub.chat("den").await;
    chat.say("den", "ada", "good").await;
    chat.say("den", "ada", "").await;
    chat.say("attic", "ada", "not there").await;
    chat.say("den", "ada", "good again").await;
    chat.say("den", "ada", "bad\0").await;
    let (good, bad): (Vec<_>, Vec<_>) =
        finish(&mut chat).await.into_iter().partition(|message| message.event.is_none());
    assert_eq!(texts(&good), ["good", "good again"]);
    let bad: Vec<_> = bad.iter().map(|message| (rejected(message).nth, rejected(message).code)).collect();
    let invalid = Code::InvalidArgument.into();
    assert_eq!(bad, [(2, invalid), (3, Code::FailedPrecondition.into()), (5, invalid)]);
}

#[tokio::test]
async fn d8_a_stream_with_only_rejected_messages_gets_the_rejections_and_ends() {
    let hub = Hub::start().await;
    let mut chat = hub.chat("den").await;
    for _ in 0..100 {
        chat.say("den", "ada", "").await;
    }
    let answers = finish(&mut chat).await;
    assert!(answers.iter().map(|answer| rejected(answer).nth).eq(1..=100));
}

#[tokio::test]
async fn d8_a_duplicate_is_answered_before_the_end_and_delivered_to_no_other_stream() {
    let hub = Hub::start().await;
    let mut listener = hub.chat("den").await;
    let mut chat = hub.chat("den").await;
    chat.send(keyed("den", "ada", "key", "first")).await;
    let first = chat.next().await;
    assert_eq!((first.id.as_str(), first.text.as_str()), ("key", "first"));

    let mut again = hub.chat("den").await;
    again.send(keyed("den", "ada", "key", "other words")).await;
    assert_eq!(finish(&mut again).await, [duplicate_of(&first)], "room, user, id, seq and time of the first; no text");

    chat.say("den", "ada", "next").await;
    assert_eq!(texts(&finish(&mut chat).await), ["next"], "not even the stream of the first hears of it");
    assert_eq!(texts(&listener.take(2).await), ["first", "next"]);
}

#[tokio::test]
async fn d8_messages_of_others_before_its_own_last_one_come_first() {
    let hub = Hub::start().await;
    let mut chat = hub.chat("den").await;
    let mut bob = hub.chat("den").await;
    say_and_hear(&mut bob, "den", "bob", 100).await;
    chat.say("den", "ada", "last").await;
    let heard = finish(&mut chat).await;
    assert_eq!(heard.len(), 101);
    assert_eq!(heard[..100], bob_heard(&heard), "all of bob's, in order");
    assert_eq!(heard[100].text, "last");
}

fn bob_heard(heard: &[ChatMessage]) -> Vec<ChatMessage> {
    heard.iter().filter(|message| message.user_id == "bob").cloned().collect()
}

#[tokio::test]
async fn d8_in_every_room_everything_up_to_its_own_last_message_there_comes_first() {
    const ROOMS: [&str; 3] = ["attic", "cellar", "den"];
    let hub = Hub::start().await;
    let mut listener = hub.chat("attic,cellar,den").await;
    let mut chat = hub.chat("attic,cellar,den").await;
    for (n, room) in ROOMS.into_iter().enumerate() {
        say_and_hear(&mut hub.chat(room).await, room, "bob", 10 * (n + 1)).await;
    }
    for room in ["den", "attic", "den", "cellar", "attic"] {
        chat.say(room, "ada", "mine").await;
    }
    let heard = finish(&mut chat).await;
    let all = listener.take(60 + 5).await;
    for (room, own) in ROOMS.into_iter().zip([2, 1, 2]) {
        let of = |messages: &[ChatMessage]| -> Vec<_> {
            messages.iter().filter(|message| message.room == room).cloned().collect()
        };
        let here = of(&heard);
        assert_eq!(here, of(&all), "{room}: nothing came after its own last one there");
        assert_eq!(here.iter().filter(|message| message.user_id == "ada").count(), own);
    }
}

#[tokio::test]
async fn d8_others_that_keep_publishing_do_not_delay_the_end() {
    let hub = Hub::start().await;
    let mut chat = hub.chat("den,attic").await;
    let mut talkers = [talker(&hub, "den").await, talker(&hub, "attic").await];
    chat.take(20).await;
    for text in numbered(10) {
        chat.say("den", "ada", &text).await;
    }
    let heard = finish(&mut chat).await;
    let own: Vec<_> = heard.iter().filter(|message| message.user_id == "ada").cloned().collect();
    assert_eq!(texts(&own), numbered(10));
    for talker in &mut talkers {
        assert!(talker.try_join_next().is_none(), "they still talk");
    }
}

#[tokio::test]
async fn d8_a_stream_with_nothing_pending_ends_while_others_publish() {
    let hub = Hub::start().await;
    let mut chat = hub.chat("den").await;
    let mut talker = talker(&hub, "den").await;
    chat.take(20).await;
    finish(&mut chat).await;

    // The same with a message acknowledged long ago.
    let mut chat = hub.chat("den").await;
    chat.say("den", "ada", "hello").await;
    while chat.next().await.user_id != "ada" {}
    chat.take(20).await;
    finish(&mut chat).await;
    assert!(talker.try_join_next().is_none(), "bob still talks");
}

#[tokio::test]
async fn d4_a_message_published_again_on_another_stream_is_delivered_once() {
    let hub = Hub::start().await;
    let mut listener = hub.chat("den").await;
    let mut first = hub.chat("den").await;
    for id in ["a", "b", "c"] {
        first.send(keyed("den", "ada", id, id)).await;
    }
    let heard = first.take(3).await;
    let mut second = hub.chat("den").await;
    for (id, original) in [("b", &heard[1]), ("a", &heard[0]), ("c", &heard[2]), ("b", &heard[1])] {
        second.send(keyed("den", "ada", id, "again")).await;
        assert_eq!(second.next().await, duplicate_of(original));
    }
    second.send(keyed("den", "ada", "d", "new")).await;
    for chat in [&mut first, &mut second] {
        assert_eq!(texts(&chat.take(1).await), ["new"]);
    }
    assert_eq!(texts(&listener.take(4).await), ["a", "b", "c", "new"]);
}

#[tokio::test]
async fn d4_a_message_published_again_after_a_restart_keeps_its_seq() {
    let hub = Hub::start().await;
    let mut chat = hub.chat("den").await;
    chat.say("den", "ada", "something before").await;
    chat.send(keyed("den", "ada", "key", "first")).await;
    let first = chat.take(2).await.remove(1);
    drop(chat);

    let hub = Hub::start_in(hub.shutdown().await, |_| {}).await;
    let mut listener = hub.chat("den").await;
    let mut again = hub.chat("den").await;
    again.send(keyed("den", "ada", "key", "first")).await;
    assert_eq!(again.next().await, duplicate_of(&first));
    again.send(keyed("den", "ada", "other key", "next")).await;
    let next = again.next().await;
    assert_eq!(next.text, "next");
    assert!(next.seq > first.seq);
    assert_eq!(listener.next().await, next, "only the stream that published again is told");
}

#[tokio::test]
async fn d4_the_same_id_in_another_room_or_by_another_user_is_another_message() {
    let hub = Hub::start().await;
    let mut chat = hub.chat("den,attic").await;
    let messages = [("den", "ada"), ("attic", "ada"), ("den", "bob"), ("attic", "bob")];
    for (room, user) in messages {
        chat.send(keyed(room, user, "key", &format!("{user} in {room}"))).await;
    }
    let mut heard: Vec<_> = finish(&mut chat).await.into_iter().map(|message| message.text).collect();
    heard.sort();
    assert_eq!(heard, ["ada in attic", "ada in den", "bob in attic", "bob in den"]);
}

#[tokio::test]
async fn d4_only_client_ids_make_duplicates() {
    let hub = Hub::start().await;
    let mut chat = hub.chat("den").await;
    chat.say("den", "ada", "same").await;
    chat.say("den", "ada", "same").await;
    let heard = chat.take(2).await;
    assert_eq!(texts(&heard), ["same", "same"], "without an id every message is one of its own");
    assert!(!heard[0].id.is_empty() && heard[0].id != heard[1].id);
    chat.send(keyed("den", "ada", &heard[0].id, "by the id that the server filled in")).await;
    let third = chat.next().await;
    assert_eq!((third.id, third.event), (heard[0].id.clone(), None));
    assert!(third.seq > heard[1].seq);
}

#[tokio::test]
async fn d4_of_two_in_one_burst_one_is_delivered_and_one_is_a_duplicate() {
    let hub = Hub::start().await;
    let mut listener = hub.chat("den").await;
    for n in 0..20 {
        let mut chat = hub.chat("den").await;
        let key = n.to_string();
        chat.send(keyed("den", "ada", &key, "first")).await;
        chat.send(keyed("den", "ada", &key, "second")).await;
        let mut heard = finish(&mut chat).await;
        heard.sort_by_key(|message| message.event.is_some());
        assert_eq!(texts(&heard[..1]), ["first"]);
        assert_eq!(heard[1..], [duplicate_of(&heard[0])]);
        assert_eq!(listener.next().await, heard[0]);
    }
}

#[tokio::test]
async fn d4_of_two_streams_that_publish_at_once_one_is_answered_by_a_duplicate() {
    const KEYS: usize = 50;
    let hub = Hub::start().await;
    let mut listener = hub.chat("den").await;
    let mut publishers = JoinSet::new();
    for _ in 0..2 {
        let mut chat = hub.chat("den").await;
        publishers.spawn(async move {
            for key in numbered(KEYS) {
                chat.send(keyed("den", "ada", &key, &key)).await;
            }
            finish(&mut chat).await
        });
    }
    let mut duplicates = Vec::new();
    while let Some(heard) = publishers.join_next().await {
        duplicates.extend(heard.unwrap().into_iter().filter(|message| message.event.is_some()));
    }
    let delivered = listener.take(KEYS).await;
    assert_eq!(texts(&delivered).into_iter().collect::<HashSet<_>>().len(), KEYS, "each of them once");
    assert!(seqs(&delivered).is_sorted_by(|a, b| a < b));
    let mut expected: Vec<_> = delivered.iter().map(duplicate_of).collect();
    expected.sort_by_key(|message| message.seq);
    duplicates.sort_by_key(|message| message.seq);
    assert_eq!(duplicates, expected, "each of them answered once by a duplicate");
    let last = hub.chat("den").await;
    last.say("den", "ada", "last").await;
    assert_eq!(listener.next().await.text, "last", "and nothing was delivered twice");
}
