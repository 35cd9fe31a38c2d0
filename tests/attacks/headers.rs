//! Headers that never end, headers that are too large, and headers that decompress to be too large.

use futures_util::future::join_all;
use h2::client::handshake;
use http::{Request, StatusCode};
use tokio::net::TcpStream;

use super::{ATTACKERS, KIB, LITTLE, flooded};
use crate::support::{
    bare::{
        Bare, CONTINUATION, END_HEADERS, END_STREAM, End, HEADERS, NEWEST, NONE, block, frame, indexed_literal,
        literal, streams,
    },
    raw::{CHAT, GET_USER},
    siege::Siege,
    soon,
};

/// Streams that one connection may have.
const STREAMS: usize = 128;

/// The largest payload of one frame.
const FRAME: usize = 16 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endless_headers_end_the_connection() {
    let mut siege = Siege::begin().await;
    let mut field = Vec::new();
    literal("x", &[b'x'; FRAME - 16], &mut field);
    for (what, payload) in
        [("nothing", Vec::new()), ("a field", field), ("half a field", b"\0\x01x\x7f\xff\xff\x03".into())]
    {
        let flood = || {
            let payload = payload.clone();
            let first = frame(HEADERS, NONE, 1, &block(CHAT));
            std::iter::once(first).chain((0..20_000).map(move |_| frame(CONTINUATION, NONE, 1, &payload)))
        };
        for end in flooded(&mut siege, flood).await {
            assert_eq!(end, Some(End::calm("too_many_continuations")), "{what}");
        }
    }
    siege.withstood("CONTINUATION flood", LITTLE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_that_decompress_far_beyond_the_limit_end_the_connection() {
    let mut siege = Siege::begin().await;
    // The largest entry that the table takes, referenced a thousand times.
    let mut bomb = block(CHAT);
    indexed_literal("x", &[b'x'; 4000], &mut bomb);
    bomb.extend([NEWEST; 1_000]);
    let bombs = || {
        let bomb = bomb.clone();
        streams().take(10_000).map(move |stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &bomb))
    };
    for end in flooded(&mut siege, bombs).await {
        assert_eq!(end, Some(End::calm("header_list_way_too_large")));
    }
    siege.withstood("HPACK bomb", LITTLE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_above_the_limit_fail_the_call() {
    let mut siege = Siege::begin().await;
    let address = siege.address();
    let (requests, connection) = handshake(TcpStream::connect(address).await.unwrap()).await.unwrap();
    tokio::spawn(connection);
    let statuses = siege.repeat(async || {
        let request = Request::post(format!("http://{address}{CHAT}"));
        let request = request.header("x-large", "x".repeat(20 * 1024)).body(()).unwrap();
        let mut requests = soon(requests.clone().ready()).await.unwrap();
        let (answer, _) = requests.send_request(request, true).unwrap();
        soon(answer).await.unwrap().status()
    });
    for status in statuses.await {
        assert_eq!(status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    }
    siege.withstood("headers above the limit", LITTLE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_small_header_fields_are_refused_and_freed() {
    let mut siege = Siege::begin().await;
    let address = siege.address();
    let mut block = block(GET_USER);
    // As many fields as the byte limit allows: each counts its octets and 32 more.
    for n in 0..450 {
        literal(&format!("{n:03}"), b"", &mut block);
    }
    let held = join_all((0..ATTACKERS).map(|_| async {
        let mut bare = Bare::greet(address).await;
        let calls: Vec<_> = streams().take(STREAMS).flat_map(|id| frame(HEADERS, END_HEADERS, id, &block)).collect();
        assert!(bare.write(&calls).await);
        bare.flushed().await;
        bare
    }));
    let mut held = held.await;
    siege.serves_others().await;
    for bare in &mut held {
        let next = streams().nth(STREAMS).unwrap();
        assert!(bare.write(&frame(HEADERS, END_HEADERS, next, &block)).await);
        assert_eq!(bare.next_on(next).await.kind, HEADERS, "the refusal waits for no body");
    }
    // The cost of a call alone; its headers would add 82 KiB.
    let calls = (ATTACKERS * STREAMS) as u64 * 16 * KIB;
    siege.withstood("hundreds of header fields", LITTLE + calls).await;
}
