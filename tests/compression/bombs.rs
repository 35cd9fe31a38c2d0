//! Small messages that become large when decompressed.

use std::io::Write;

use bytes::Bytes;
use futures_util::future::join_all;
use tonic::{
    Code,
    codec::CompressionEncoding::{self, Gzip, Zstd},
};

use super::{BOTH, GET_HISTORY, GET_USER, HEALTH, LIST_USERS, compressed};
use crate::support::{
    Hub,
    raw::{CHAT, CREATE_USERS, Raw, SUBSCRIBE},
    rejected,
    siege::Siege,
    wire::{Refusal, framed},
};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

fn oversize() -> Refusal {
    Refusal::new(Code::ResourceExhausted, "MESSAGE_TOO_LARGE")
}

/// Sends one frame; returns the status of the call.
async fn thrown(raw: &mut Raw, authority: &str, path: &str, encoding: CompressionEncoding, frame: &Bytes) -> Refusal {
    let encoding = encoding.to_string();
    let mut call = raw.call_at(authority, path, Some(("grpc-encoding", &encoding))).await;
    call.request.write(frame.clone()).await;
    Refusal::of(&call.response.end().await.unwrap())
}

/// Below every limit, but many megabytes when decompressed. One zstd frame asks for the largest window.
fn bombs() -> Vec<(CompressionEncoding, Bytes)> {
    let zeros = vec![0; 48 * MIB];
    let mut wide = zstd::Encoder::new(Vec::new(), 3).unwrap();
    wide.window_log(27).unwrap();
    wide.write_all(&zeros).unwrap();
    let bombs = [(Gzip, compressed(Gzip, &zeros)), (Zstd, compressed(Zstd, &zeros)), (Zstd, wide.finish().unwrap())];
    for (encoding, bomb) in &bombs {
        assert!(bomb.len() < 64 * KIB, "{encoding}: {}", bomb.len());
    }
    bombs.map(|(encoding, bomb)| (encoding, framed(1, &bomb))).into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_decompression_bomb_is_refused_and_takes_no_memory() {
    let mut siege = Siege::begin().await;
    let address = siege.address();
    for (encoding, bomb) in bombs() {
        for path in [GET_USER, LIST_USERS, CREATE_USERS, CHAT, GET_HISTORY, SUBSCRIBE, HEALTH] {
            // Many at the same time.
            let throws = async || {
                let throws = (0..8).map(|_| async {
                    let mut raw = Raw::connect(address).await;
                    thrown(&mut raw, &address.to_string(), path, encoding, &bomb).await
                });
                join_all(throws).await
            };
            for refusal in siege.repeat(throws).await.concat() {
                assert_eq!(refusal, oversize(), "{encoding} at {path}");
            }
        }
    }
    siege.withstood("gzip and zstd bombs", 18 * MIB as u64).await;
}

/// The limits count the decompressed size.
#[tokio::test]
async fn the_limit_applies_to_the_decompressed_message() {
    let hub = Hub::start().await;
    let authority = hub.address().to_string();
    for encoding in BOTH {
        let of = |size: usize| framed(1, &compressed(encoding, &vec![0xff; size]));
        let mut raw = Raw::connect(hub.address()).await;
        let undecodable = Refusal::new(Code::InvalidArgument, "MALFORMED_MESSAGE");
        assert_eq!(thrown(&mut raw, &authority, GET_USER, encoding, &of(256 * KIB)).await, undecodable);
        assert_eq!(thrown(&mut raw, &authority, GET_USER, encoding, &of(256 * KIB + 1)).await, oversize());

        let header = encoding.to_string();
        let mut chat = raw.call_at(&authority, CHAT, Some(("grpc-encoding", &header))).await;
        chat.request.write(of(64 * KIB)).await;
        assert_eq!(rejected(&chat.response.next().await).reason, "MALFORMED_MESSAGE", "and the stream goes on");
        chat.request.write(of(64 * KIB + 1)).await;
        assert_eq!(Refusal::of(&chat.response.end().await.unwrap()), oversize());
    }
}
