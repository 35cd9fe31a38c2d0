//! Valid frames, far too many of them.

use std::{
    iter,
    sync::atomic::{AtomicUsize, Ordering},
};

use futures_util::future::join_all;

use super::{ATTACKERS, LITTLE, flooded};
use crate::support::{
    bare::{Bare, DATA, END_HEADERS, End, HEADERS, NONE, PING, PRIORITY, SETTINGS, WINDOW_UPDATE, block, frame},
    raw::CHAT,
    siege::Siege,
};

/// Octets of one flood.
const FLOOD: usize = 1 << 20;

/// Octets in one write.
const WRITE: usize = 16 * 1024;

/// Repeats one frame on a connection whose call stays open.
fn flood(octets: &[u8]) -> impl Iterator<Item = Vec<u8>> + use<> {
    let call = frame(HEADERS, END_HEADERS, 1, &block(CHAT));
    iter::once(call).chain(iter::repeat_n(octets.repeat(WRITE / octets.len()), FLOOD / WRITE))
}

/// More octets than the system buffers for a connection in both directions.
const BUFFERED: usize = 64 << 20;

fn settings() -> Vec<u8> {
    // The window of new streams.
    frame(SETTINGS, NONE, 0, &[0, 4, 0, 0, 0xff, 0xff])
}

fn ping() -> Vec<u8> {
    frame(PING, NONE, 0, b"and pong")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frame_floods_are_read_at_once_or_end_the_connection() {
    let rows = [
        ("SETTINGS", settings(), None),
        ("PING", ping(), None),
        ("PRIORITY", frame(PRIORITY, NONE, 1, b"\0\0\0\x03w"), None),
        ("frames of no known type", frame(0x42, NONE, 1, b""), None),
        ("WINDOW_UPDATE", frame(WINDOW_UPDATE, NONE, 0, &[0, 0, 0, 1]), None),
        ("empty DATA", frame(DATA, NONE, 1, b""), Some(End::calm("too_many_data_frames"))),
    ];
    for (what, octets, expected) in rows {
        let mut siege = Siege::begin().await;
        for end in flooded(&mut siege, || flood(&octets)).await {
            assert_eq!(end, expected, "{what}");
        }
        siege.withstood(&format!("flood of {what}"), LITTLE).await;
    }
}

/// The server stops reading a connection that does not read its answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_the_answers_is_held_back() {
    for (what, octets) in [("SETTINGS", settings()), ("PING", ping())] {
        let mut siege = Siege::begin().await;
        let (octets, taken) = (octets.repeat(WRITE / octets.len()), AtomicUsize::new(0));
        let mut attackers = join_all((0..ATTACKERS).map(|_| Bare::greet(siege.address()))).await;
        let push = join_all(attackers.iter_mut().map(|bare| bare.push(&octets, &taken)));
        let stall = async {
            loop {
                let before = taken.load(Ordering::Relaxed);
                siege.serves_others().await;
                if taken.load(Ordering::Relaxed) == before && before > 0 {
                    return before;
                }
                assert!(before < ATTACKERS * BUFFERED, "{what}: it goes on reading");
            }
        };
        tokio::select! {
            _ = push => panic!("{what}: all connections were closed"),
            taken = stall => eprintln!("{what} without reading: held back after {} KiB each", taken / 1024 / ATTACKERS),
        }
        siege.withstood(&format!("flood of {what} without reading"), LITTLE).await;
    }
}
