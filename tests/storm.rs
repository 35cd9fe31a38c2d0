//! D5 when all clients resume at once: each page of the log is read once for all of them.

use std::{net::SocketAddr, time::Duration};

use prost::Message;
use rialto::proto::{
    rialto::v1::{Position, SubscribeRequest},
    user::{ChatMessage, chat_message::Event},
};
use tokio::{task::JoinSet, time::timeout};

use crate::support::{
    Hub,
    raw::{CHAT, Call, Raw, SUBSCRIBE},
    resuming::Way,
    rooms::{after, join},
    said, size,
};

/// Clients of one connection.
const STREAMS: usize = 100;

/// Restarts a server that has a room with this many messages; returns it with the epoch of its log.
async fn restarted(messages: usize, text: impl Fn(usize) -> String + Send + 'static) -> Hub {
    let hub = Hub::start().await;
    let (sender, mut receiver) = hub.chat("den").await.split();
    let say = tokio::spawn(async move {
        for n in 1..=messages {
            sender.send(said("den", "ada", &text(n))).await.unwrap();
        }
        sender
    });
    for n in 1..=messages as u64 {
        assert_eq!(receiver.message().await.unwrap().unwrap().seq, n);
    }
    drop((say.await.unwrap(), receiver));
    Hub::start_in(hub.shutdown().await, |_| {}).await
}

/// The epoch of the log, from a join.
async fn epoch(hub: &Hub) -> String {
    let mut raw = Raw::connect(hub.address()).await;
    let mut call = enter(&mut raw, Way::Chat, u64::MAX, "").await;
    let Some(Event::Joined(joined)) = call.response.next().await.event else { panic!("not joined") };
    joined.epoch
}

async fn enter(raw: &mut Raw, way: Way, seq: u64, epoch: &str) -> Call {
    let place = after(seq, epoch);
    match way {
        Way::Chat => {
            let mut call = raw.call(CHAT, Some("")).await;
            call.request.say(&join("den", place)).await;
            call
        }
        Way::Subscribe => {
            let mut call = raw.call(SUBSCRIBE, None).await;
            let rooms = vec![Position { room: "den".into(), join: Some(place) }];
            call.request.say(&SubscribeRequest { rooms }).await;
            call.request.half_close();
            call
        }
    }
}

/// Reads exactly the missed messages.
async fn recover(mut call: Call, cursor: u64, head: u64, epoch: &str) -> u64 {
    let Some(Event::Joined(joined)) = call.response.next().await.event else { panic!("not joined") };
    assert!(joined.recovered && joined.head_seq == head && joined.epoch == epoch, "{joined:?}");
    for seq in cursor + 1..=head {
        let frame = call.response.frame().await.unwrap().expect("the stream ended too early");
        let message = ChatMessage::decode(frame).unwrap();
        assert!(message.event.is_none() && message.seq == seq, "{seq} is next, and not {message:?}");
    }
    head - cursor
}

/// Resumes all clients at once, each at its own position; returns the total number of missed messages.
async fn storm(address: SocketAddr, clients: usize, head: u64, epoch: &str) -> u64 {
    let mut connections = Vec::new();
    for _ in 0..clients.div_ceil(STREAMS) {
        connections.push(Raw::connect(address).await);
    }
    let mut recovering = JoinSet::new();
    for n in 0..clients {
        let cursor = n as u64 * head / clients as u64;
        let call = enter(&mut connections[n / STREAMS], Way::of(n), cursor, epoch).await;
        let epoch = epoch.to_owned();
        recovering.spawn(async move { recover(call, cursor, head, &epoch).await });
    }
    let mut missed = 0;
    while let Some(recovered) = recovering.join_next().await {
        missed += recovered.unwrap();
    }
    missed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d5_two_thousand_clients_that_resume_at_once_read_each_page_of_the_log_once() {
    const MESSAGES: usize = 10_000;
    let clients = size::storm();
    let hub = restarted(MESSAGES, |n| n.to_string()).await;
    let epoch = epoch(&hub).await;
    assert_eq!(hub.metrics().log_reads.get(), 0);
    let storm = storm(hub.address(), clients, MESSAGES as u64, &epoch);
    let missed = timeout(Duration::from_secs(300), storm).await.expect("this should have happened long ago");
    let reads = hub.metrics().log_reads.get();
    eprintln!("{clients} clients had missed {missed} messages, for which the log was read {reads} times");
    assert!(reads <= MESSAGES.div_ceil(256) as u64 + 1, "{reads} reads");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d5_pages_cut_by_size_are_read_once_too() {
    const MESSAGES: usize = 1_000;
    let hub = restarted(MESSAGES, |n| format!("{n:04000}")).await;
    let epoch = epoch(&hub).await;
    let storm = storm(hub.address(), 100, MESSAGES as u64, &epoch);
    timeout(Duration::from_secs(300), storm).await.expect("this should have happened long ago");
    let reads = hub.metrics().log_reads.get();
    // Pages of 256 KiB; a new page begins at every 256th message in any case.
    let pages = MESSAGES.div_ceil(256) * (256_usize * 4_100).div_ceil(256 * 1024 - 4_100);
    assert!((2..=pages as u64 + 1).contains(&reads), "{reads} reads of {pages} pages");
}
