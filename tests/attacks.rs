//! Attacks on HTTP/2, on sockets, by sizes, and on tokens and passwords by their number. Each is answered as it should be, changes nothing, costs bounded memory, and somebody else is
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

/// What eight connections may take that have nothing under way: buffers for reading and writing, headers, streams that are just going.
const LITTLE: u64 = ATTACKERS as u64 * MIB;

/// Lets many flood at once, again and again until others were served meanwhile. How each ended; `None`: the server took all of it.
async fn flooded<I: Iterator<Item = Vec<u8>>>(siege: &mut Siege, octets: impl Fn() -> I) -> Vec<Option<End>> {
    let address = siege.address();
    let waves = siege.repeat(async || {
        let floods = (0..ATTACKERS).map(|_| async { Bare::greet(address).await.flood(octets()).await });
        join_all(floods).await
    });
    waves.await.concat()
}
