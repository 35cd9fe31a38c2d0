//! Streams that are reset as soon as they begin: by the client (CVE-2023-44487), or by the server in answer to the client's errors (CVE-2025-8671).

use super::{LITTLE, flooded};
use crate::support::{
    bare::{
        Bare, DATA, END_HEADERS, END_STREAM, End, HEADERS, NONE, PRIORITY, PROTOCOL_ERROR, RST_STREAM, WINDOW_UPDATE,
        block, frame, streams,
    },
    raw::CHAT,
    siege::Siege,
};

/// Writes of a hundred streams each.
const WRITES: usize = 500;

/// What follows a stream's headers.
type Second = dyn Fn(u32) -> Vec<u8> + Sync;

/// Begins streams, each followed by a frame that ends it.
fn pairs(flags: u8, second: impl Fn(u32) -> Vec<u8>) -> impl Iterator<Item = Vec<u8>> {
    let block = block(CHAT);
    let pair = move |stream| [frame(HEADERS, END_HEADERS | flags, stream, &block), second(stream)].concat();
    let write = move |n| streams().skip(100 * n).take(100).flat_map(&pair).collect();
    (0..WRITES).map(write)
}

fn cancel(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, NONE, stream, &8_u32.to_be_bytes())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_resets_streams_as_fast_as_it_begins_them_is_disconnected() {
    let mut siege = Siege::begin().await;
    for end in flooded(&mut siege, || pairs(NONE, cancel)).await {
        assert_eq!(end, Some(End::calm("too_many_resets")));
    }
    siege.withstood("rapid reset", LITTLE).await;
}

/// An ordinary client that cancels its calls.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resetting_a_started_stream_costs_no_more_than_a_call() {
    let mut siege = Siege::begin().await;
    let mut bare = Bare::greet(siege.address()).await;
    let mut ids = streams();
    siege
        .repeat(async || {
            for stream in ids.by_ref().take(1_000) {
                bare.call(stream, CHAT).await;
                bare.flushed().await;
                assert!(bare.write(&cancel(stream)).await);
            }
        })
        .await;
    siege.withstood("slow reset", LITTLE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_makes_the_server_reset_streams_is_disconnected() {
    let too_wide = |stream| frame(WINDOW_UPDATE, NONE, stream, &[0x7f, 0xff, 0xff, 0xff]);
    let on_itself = |stream: u32| frame(PRIORITY, NONE, stream, &[&stream.to_be_bytes()[..], b"w"].concat());
    // These errors end the connection, not only the stream.
    let by_nothing = |stream| frame(WINDOW_UPDATE, NONE, stream, &[0; 4]);
    let behind_its_end = |stream| frame(DATA, NONE, stream, b"more");
    let too_many = End::calm("too_many_internal_resets");
    let at_once = End::GoAway(PROTOCOL_ERROR, String::new());
    let rows: [(&str, u8, &Second, &End); 4] = [
        ("a window that grows too wide", NONE, &too_wide, &too_many),
        ("a stream that depends on itself", NONE, &on_itself, &too_many),
        ("a window that grows by nothing", NONE, &by_nothing, &at_once),
        ("data behind the end", END_STREAM, &behind_its_end, &at_once),
    ];
    let mut siege = Siege::begin().await;
    for (what, flags, second, expected) in rows {
        for end in flooded(&mut siege, || pairs(flags, second)).await {
            assert_eq!(end.as_ref(), Some(expected), "{what}");
        }
    }
    siege.withstood("resets that the server is made to send", LITTLE).await;
}
