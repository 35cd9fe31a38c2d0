//! More streams than the limits allow.

use futures_util::future::join_all;

use super::{KIB, LITTLE, MIB};
use crate::support::{
    bare::{Bare, DATA, END_HEADERS, End, HEADERS, NONE, REFUSED_STREAM, block, frame, literal, streams},
    raw::{CHAT, framed},
    rooms::{join, joined, live},
    siege::Siege,
};

/// Streams of one connection.
const MOST: usize = 128;
const ABOVE: usize = 500;
const CONNECTIONS: usize = 16;

/// A Chat stream in no room.
fn opening(stream: u32) -> Vec<u8> {
    let mut block = block(CHAT);
    literal("rialto-rooms", b"", &mut block);
    frame(HEADERS, END_HEADERS, stream, &block)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_above_the_limit_are_refused_and_the_others_continue() {
    let mut siege = Siege::begin().await;
    let address = siege.address();
    let held = (0..CONNECTIONS).map(|_| async move {
        let mut bare = Bare::greet(address).await;
        let openings: Vec<_> = streams().take(MOST + ABOVE).flat_map(opening).collect();
        assert!(bare.write(&openings).await);
        let (mut opened, mut refused) = (0, 0);
        while opened + refused < MOST + ABOVE {
            let answer = bare.next().await.expect("the connection lives on");
            match answer.kind {
                HEADERS => opened += 1,
                _ if answer.stream == 0 => {}
                _ => {
                    assert_eq!(answer.code(), REFUSED_STREAM);
                    refused += 1;
                }
            }
        }
        assert_eq!((opened, refused), (MOST, ABOVE));
        bare
    });
    let mut held = join_all(held).await;
    siege.serves_others().await;
    for bare in &mut held {
        assert!(bare.write(&frame(DATA, NONE, 1, &framed(&join("den", live())))).await);
        let answer = bare.next_on(1).await;
        assert_eq!(answer.kind, DATA);
        joined(&prost::Message::decode(&answer.payload[5..]).unwrap());
        // The limit on resets that the server sends for client errors.
        assert!(bare.write(&streams().skip(MOST + ABOVE).take(1_000).flat_map(opening).collect::<Vec<_>>()).await);
        assert_eq!(bare.end().await, End::calm("too_many_internal_resets"));
    }
    // A stream costs 6 KiB in the measured release build, and more in a test build.
    let streams = (CONNECTIONS * MOST) as u64 * 12 * KIB;
    siege.withstood("thousands of pending streams", LITTLE + streams + MIB).await;
}
