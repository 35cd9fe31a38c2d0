//! Streams whose client does not read: they affect no other stream, hold their own sender back, and can be ended like any other.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::Reason;
use rialto::proto::user::ChatMessage;
use tonic::Code;

use super::{RESETS, nothing_left_but};
use crate::support::{
    Chat, Hub,
    raw::{Call, Raw, Sending, framed},
    rejected, said, seqs, soon,
};

/// The longest allowed text.
fn long(n: usize) -> String {
    format!("{n:08}").repeat(512)
}

/// More than the windows and buffers of a stream hold.
const FULL: usize = 64;

/// Publishes enough to close the window of a stream that does not read, and waits until it was delivered.
pub async fn fill(talker: &mut Chat) {
    for n in 0..FULL {
        talker.say("den", "bob", &long(n)).await;
        talker.next().await;
    }
}

/// A stream whose window is full and unread.
async fn unread(hub: &Hub, raw: &mut Raw) -> Call {
    let call = raw.chat("den").await;
    fill(&mut hub.chat("den").await).await;
    hub.counts_become(|counts| counts.chats == 1).await;
    call
}

#[tokio::test]
async fn a_stream_that_does_not_read_affects_no_other_and_is_served_from_the_log() {
    const N: usize = 200;
    let hub = Hub::start_with(|config| config.rooms.max_ring_batches = 4).await;
    let mut raw = Raw::connect(hub.address()).await;
    let mut slow = raw.chat("den").await;
    let mut neighbour = raw.chat("den").await;
    let mut listener = hub.chat("den").await;
    let mut talker = hub.chat("den").await;
    for n in 0..N {
        talker.say("den", "bob", &long(n)).await;
        let message = talker.next().await;
        assert_eq!(listener.next().await, message, "another connection hears everything");
        assert_eq!(neighbour.response.next().await, message, "and so does another stream of the same");
    }
    hub.counts_become(|counts| counts.chats == 4).await;

    assert_eq!(hub.metrics().refills.get(), 0, "nobody was refilled who kept up, and the slow one has not come to it");
    let mut messages = Vec::new();
    while messages.len() < N {
        messages.push(slow.response.next().await);
    }
    assert_eq!(seqs(&messages), (1..=N as u64).collect::<Vec<_>>());
    assert!(messages.iter().enumerate().all(|(n, message)| message.text == long(n)), "all of it");
    assert!(hub.metrics().refills.get() > 0, "it had fallen out of the ring");
    talker.say("den", "bob", "and live again").await;
    assert_eq!(slow.response.next().await.text, "and live again");
}

#[tokio::test]
async fn ring_memory_is_bounded_and_only_lagging_readers_are_served_from_the_log() {
    const N: usize = 200;
    const LIMIT: usize = 256 * 1024;
    let hub = Hub::start_with(|config| {
        config.rooms.max_ring_batches = 4096;
        config.rooms.max_ring_bytes = LIMIT;
    })
    .await;
    let mut raw = Raw::connect(hub.address()).await;
    let mut slow = raw.chat("den,attic").await;
    let mut talker = hub.chat("den,attic").await;
    for n in 0..N {
        talker.say(["den", "attic"][n % 2], "bob", &long(n)).await;
        assert_eq!(talker.next().await.text, long(n), "whoever keeps up hears everything");
        let held = hub.counts().await.ring_bytes;
        assert!(held <= LIMIT, "{held} bytes after {n} messages of {}", long(n).len());
    }
    let mut rooms: [Vec<ChatMessage>; 2] = Default::default();
    for _ in 0..N {
        let message = slow.response.next().await;
        rooms[usize::from(message.room == "attic")].push(message);
    }
    for (n, messages) in rooms.iter().enumerate() {
        assert!(messages.iter().map(|message| &message.text).eq(&(n..N).step_by(2).map(long).collect::<Vec<_>>()));
    }
    assert!(hub.metrics().refills.get() > 0, "it read what the rings had given up");
    drop((slow, talker));
    hub.counts_become(|counts| counts.ring_bytes == 0).await;
}

#[tokio::test]
async fn an_unread_stream_that_is_reset_leaves_nothing_behind() {
    let hub = Hub::start().await;
    let mut raw = Raw::connect(hub.address()).await;
    for reason in RESETS {
        let mut call = unread(&hub, &mut raw).await;
        call.request.reset(reason);
        nothing_left_but(&hub, 1).await;
    }
    drop(unread(&hub, &mut raw).await);
    nothing_left_but(&hub, 1).await;
}

#[tokio::test]
async fn an_unread_stream_that_is_reset_after_its_half_close_leaves_nothing_behind() {
    let hub = Hub::start().await;
    let mut raw = Raw::connect(hub.address()).await;
    for reason in [Reason::NO_ERROR, Reason::CANCEL, Reason::INTERNAL_ERROR] {
        let mut call = unread(&hub, &mut raw).await;
        call.request.say(&said("den", "ada", "last")).await;
        call.request.half_close();
        raw.flushed().await;
        call.request.reset(reason);
        nothing_left_but(&hub, 1).await;
    }
}

#[tokio::test]
async fn an_unread_stream_whose_connection_ends_leaves_nothing_behind() {
    let hub = Hub::start().await;
    for mut raw in [Raw::connect(hub.address()).await, Raw::connect_abrupt(hub.address()).await] {
        let _call = unread(&hub, &mut raw).await;
        raw.hang_up().await;
    }
    nothing_left_but(&hub, 0).await;
}

#[tokio::test]
async fn data_of_a_reset_stream_frees_the_window_of_its_connection() {
    let hub = Hub::start().await;
    let mut raw = Raw::connect(hub.address()).await;
    // Each stream's window holds more messages than may be in flight; together they exceed the connection's window.
    let bytes = frames(2_000, |_| said("den", "ada", "hello"));
    assert!((32 << 10..64 << 10).contains(&bytes.len()));
    for n in 0..400 {
        let mut call = raw.chat("den").await;
        call.request.write(bytes.clone()).await;
        raw.flushed().await;
        call.request.reset(RESETS[n % RESETS.len()]);
    }
    nothing_left_but(&hub, 1).await;
    let mut call = raw.chat("den").await;
    call.request.say(&said("den", "ada", "still here")).await;
    assert_eq!(call.response.next().await.text, "still here");
}

#[tokio::test]
async fn an_unread_stream_that_half_closes_gets_everything_when_it_reads() {
    let hub = Hub::start().await;
    let mut raw = Raw::connect(hub.address()).await;
    let mut call = unread(&hub, &mut raw).await;
    call.request.say(&said("den", "ada", "last")).await;
    call.request.half_close();
    raw.flushed().await;
    let (messages, end) = call.response.rest().await;
    assert_eq!(end.unwrap().code(), Code::Ok);
    assert_eq!(messages.len(), FULL + 1);
    assert_eq!(messages.last().unwrap().text, "last");
    nothing_left_but(&hub, 1).await;
}

/// Sends until nothing has moved for a while; returns how many bytes the server accepted.
async fn push(request: &mut Sending, bytes: &mut Bytes) -> usize {
    /// The server answers within a millisecond. A window that opens later weakens the test, but never fails it.
    const STUCK: Duration = Duration::from_secs(2);
    let before = bytes.len();
    while !bytes.is_empty() {
        let Ok(room) = tokio::time::timeout(STUCK, request.window(bytes.len())).await else { break };
        request.write(bytes.split_to(room.min(bytes.len()))).await;
    }
    before - bytes.len()
}

/// This many framed messages in one buffer.
fn frames(n: usize, message: impl Fn(usize) -> ChatMessage) -> Bytes {
    let mut bytes = BytesMut::new();
    for n in 0..n {
        bytes.extend_from_slice(&framed(&message(n)));
    }
    bytes.freeze()
}

/// Far more than the windows, buffers and in-flight messages of one stream together, and far less than 64 MiB.
const HELD: usize = 2 << 20;

/// A server whose rings are too large to lag behind: what is not delivered, flow control holds back.
async fn hub() -> Hub {
    Hub::start_with(|config| config.rooms.max_ring_batches = 1 << 15).await
}

#[tokio::test]
async fn a_sender_that_does_not_read_is_held_back_and_loses_nothing() {
    let hub = hub().await;
    let mut raw = Raw::connect(hub.address()).await;
    let Call { mut request, mut response } = raw.chat("den").await;
    let one = framed(&said("den", "ada", &long(0))).len();
    let mut bytes = frames((64 << 20) / one, |n| said("den", "ada", &long(n)));
    assert!(bytes.len() > 60 << 20);
    let sent = push(&mut request, &mut bytes).await;
    assert!((one..HELD).contains(&sent), "the server took {sent} bytes");

    // The rest of the partial message, then the end.
    let whole = sent.div_ceil(one);
    let rest = bytes.split_to(whole * one - sent);
    let finish = async {
        request.write(rest).await;
        request.half_close();
    };
    let (messages, end) = tokio::join!(finish, response.rest()).1;
    assert_eq!(end.unwrap().code(), Code::Ok);
    assert_eq!(messages.len(), whole);
    assert!(messages.iter().enumerate().all(|(n, message)| message.text == long(n)), "all of it, in order");
    nothing_left_but(&hub, 1).await;
}

#[tokio::test]
async fn a_sender_that_starts_to_read_late_gets_ten_thousand_messages() {
    const N: usize = 10_000;
    let hub = hub().await;
    let mut raw = Raw::connect(hub.address()).await;
    let Call { mut request, mut response } = raw.chat("den").await;
    let text = |n| format!("{n:0100}");
    let mut bytes = frames(N, |n| said("den", "ada", &text(n)));
    push(&mut request, &mut bytes).await;
    assert!(!bytes.is_empty(), "the server took everything without being read");
    let finish = async {
        request.write(bytes).await;
        request.half_close();
    };
    let (messages, end) = tokio::join!(finish, response.rest()).1;
    assert_eq!(end.unwrap().code(), Code::Ok);
    assert_eq!(messages.len(), N);
    assert!(messages.iter().enumerate().all(|(n, message)| message.text == text(n)), "all of it, in order");
}

#[tokio::test]
async fn a_sender_of_bad_messages_that_does_not_read_is_held_back_too() {
    let hub = hub().await;
    let mut raw = Raw::connect(hub.address()).await;
    let Call { mut request, mut response } = raw.chat("den").await;
    let one = framed(&said("den", "ada", "")).len();
    let mut bytes = frames(HELD / one, |_| said("den", "ada", ""));
    let sent = push(&mut request, &mut bytes).await;
    assert!((one..HELD / 4).contains(&sent), "the server took {sent} bytes");

    let whole = sent.div_ceil(one);
    let rest = bytes.split_to(whole * one - sent);
    let finish = async {
        request.write(rest).await;
        request.half_close();
    };
    let (answers, end) = soon(async { tokio::join!(finish, response.rest()).1 }).await;
    assert_eq!(end.unwrap().code(), Code::Ok);
    assert!(answers.iter().map(|answer| rejected(answer).nth).eq(1..=whole as u64), "each of them answered");
}
