//! Two thousand sockets that send nothing, send one octet at a time, or never finish.

use std::iter;

use futures_util::future::join_all;

use super::KIB;
use crate::support::{
    bare::{Bare, CONTINUATION, HEADERS, NONE, PREFACE, SETTINGS, block, frame},
    raw::CHAT,
    siege::Siege,
    soon,
};

const SOCKETS: usize = 2_000;

/// What is sent at once, and what follows one octet at a time.
fn ways() -> Vec<(Vec<u8>, Vec<u8>)> {
    let greeting = [PREFACE, &frame(SETTINGS, NONE, 0, &[])].concat();
    let endless = [greeting.clone(), frame(HEADERS, NONE, 1, &block(CHAT))].concat();
    let request = b"POST / HTTP/1.1\r\nhost: localhost\r\n".to_vec();
    let header = |n| format!("x-{n}: so it goes on\r\n").into_bytes();
    vec![
        (vec![], vec![]),
        (PREFACE[..12].into(), vec![]),
        (vec![], PREFACE.into()),
        (greeting.clone(), vec![]),
        (greeting, frame(SETTINGS, NONE, 0, &[0; 6 * 1_000])),
        (endless.clone(), vec![]),
        (endless, frame(CONTINUATION, NONE, 1, &[b'x'; 10_000])),
        (request.clone(), vec![]),
        (request.clone(), (0..1_000).flat_map(header).collect()),
        // Answered, then silent.
        ([request, b"\r\n".into()].concat(), vec![]),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sockets_that_are_silent_or_slow_are_closed() {
    // Both processes need descriptors.
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    let settings =
        ["http.first_bytes_seconds=1", "http.keepalive_interval_seconds=1", "http.keepalive_timeout_seconds=3"];
    let mut siege = Siege::begin_with(&settings).await;
    let address = siege.address();
    let ways = ways();
    let each = SOCKETS / ways.len();
    let mut sockets = join_all(iter::repeat_n(&ways, each).flatten().map(|(begin, rest)| async move {
        let mut bare = Bare::connect(address).await;
        bare.write(begin).await;
        (bare, rest)
    }))
    .await;
    let closed = join_all(sockets.iter_mut().map(|(bare, rest)| bare.drip(rest.iter().copied())));
    soon(async { tokio::join!(closed, siege.serves_others()) }).await;
    // A connection with a stream may take 26 KiB in a release build; few of these get that far.
    siege.withstood("2,000 slow sockets", SOCKETS as u64 * 24 * KIB).await;
}
