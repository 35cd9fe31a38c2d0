//! D1: all subscribers of a room see the same messages in the same order, by strictly increasing `seq`.

use rialto::proto::user::ChatMessage;

use crate::support::{Chat, Hub, said, seqs, soon, texts};

const SENDERS: usize = 4;
const EACH: usize = 100;

/// Sends and receives at the same time, as clients do; returns what it received.
async fn talk(chat: Chat, name: usize) -> Vec<ChatMessage> {
    let (sender, mut receiver) = chat.split();
    let send = async {
        for n in 0..EACH {
            sender.send(said("den", &format!("user{name}"), &format!("{name}:{n}"))).await.unwrap();
        }
    };
    let receive = async {
        let mut messages = Vec::new();
        while messages.len() < SENDERS * EACH {
            messages.push(soon(receiver.message()).await.unwrap().unwrap());
        }
        messages
    };
    tokio::join!(send, receive).1
}

#[tokio::test]
async fn d1_everyone_in_a_room_sees_the_same_messages_in_the_same_order() {
    let hub = Hub::start().await;
    let mut listener = hub.chat("den").await;
    // All are in the room before the first message.
    let mut chats = Vec::new();
    for _ in 0..SENDERS {
        chats.push(hub.chat("den").await);
    }
    let mut talks = tokio::task::JoinSet::new();
    for (name, chat) in chats.into_iter().enumerate() {
        talks.spawn(talk(chat, name));
    }
    let heard = listener.take(SENDERS * EACH).await;
    while let Some(seen) = talks.join_next().await {
        assert_eq!(seen.unwrap(), heard, "the same messages, with the same seq and time, in the same order");
    }
    assert!(seqs(&heard).is_sorted_by(|a, b| a < b), "strictly increasing");
}

#[tokio::test]
async fn d1_messages_of_one_stream_get_their_seq_in_the_order_in_which_they_were_sent() {
    let hub = Hub::start().await;
    let seen = talk_alone(hub.chat("den").await).await;
    let expected: Vec<_> = (0..EACH).map(|n| n.to_string()).collect();
    assert_eq!(texts(&seen), expected);
    assert!(seqs(&seen).is_sorted_by(|a, b| a < b));
}

async fn talk_alone(chat: Chat) -> Vec<ChatMessage> {
    let (sender, mut receiver) = chat.split();
    let send = async move {
        for n in 0..EACH {
            sender.send(said("den", "ada", &n.to_string())).await.unwrap();
        }
    };
    let receive = async {
        let mut messages = Vec::new();
        while let Some(message) = soon(receiver.message()).await.unwrap() {
            messages.push(message);
        }
        messages
    };
    tokio::join!(send, receive).1
}

#[tokio::test]
async fn d1_rooms_are_numbered_and_delivered_separately() {
    let hub = Hub::start().await;
    let mut both = hub.chat("den,attic").await;
    let mut den = hub.chat("den").await;
    both.say("attic", "ada", "up here").await;
    both.say("den", "ada", "down here").await;
    assert_eq!(texts(&den.take(1).await), ["down here"], "the attic is not heard in the den");
    let heard = both.take(2).await;
    let mut rooms: Vec<_> = heard.iter().map(|message| (message.room.as_str(), message.seq)).collect();
    rooms.sort_unstable();
    assert_eq!(rooms, [("attic", 1), ("den", 1)]);
}
