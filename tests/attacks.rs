//! Attacks on HTTP/2 and on sockets, by message size, and by the number of tokens and passwords. Each gets the right answer, changes nothing and costs bounded memory, and other clients are
//! served meanwhile.

mod descriptors;
mod floods;
mod headers;
mod resets;
mod rooms;
mod sizes;
mod slow;
mod streams;
mod tokens;

use futures_util::future::join_all;

use crate::support::{
    bare::{Bare, End},
    siege::Siege,
};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// Connections that attack at once.
const ATTACKERS: usize = 8;

/// The memory that eight idle connections may take: read and write buffers, headers, and streams that are ending.
const LITTLE: u64 = ATTACKERS as u64 * MIB;

/// Floods from many connections at once, repeatedly, until others were served meanwhile. Returns how each ended; `None` means that the server took all of it.
async fn flooded<I: Iterator<Item = Vec<u8>>>(siege: &mut Siege, octets: impl Fn() -> I) -> Vec<Option<End>> {
    let address = siege.address();
    let waves = siege.repeat(async || {
        let floods = (0..ATTACKERS).map(|_| async { Bare::greet(address).await.flood(octets()).await });
        join_all(floods).await
    });
    waves.await.concat()
}
