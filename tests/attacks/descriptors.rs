//! More sockets than the process may open.

use std::time::{Duration, Instant};

use futures_util::{FutureExt, future::join_all};

use super::LITTLE;
use crate::support::{bare::Bare, client, siege::Siege};

const DESCRIPTORS: usize = 64;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_descriptors_connected_clients_are_served_and_new_ones_wait() {
    let mut siege = Siege::begin_with_descriptors(DESCRIPTORS).await;
    let address = siege.address();
    let mut sockets = join_all((0..2 * DESCRIPTORS).map(|_| Bare::greet(address))).await;
    for _ in 0..3 {
        siege.serves_others().await;
    }
    let (greeted, waiting): (Vec<_>, Vec<_>) =
        sockets.iter_mut().map(|bare| bare.next().now_or_never().is_some()).partition(|greeted| *greeted);
    eprintln!("{} sockets were accepted, {} wait", greeted.len(), waiting.len());
    assert!(!greeted.is_empty() && waiting.len() > DESCRIPTORS, "{} wait", waiting.len());

    // The server waits for descriptors without polling for them.
    siege.leave_alone();
    let (began, before) = (Instant::now(), siege.server.processor_time());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let busy = siege.server.processor_time().zip(before).map(|(now, before)| now - before);
    eprintln!("it was running for {busy:?} of {:?}", began.elapsed());
    assert!(busy.is_none_or(|busy| busy < began.elapsed() / 5), "{busy:?}");

    drop(sockets);
    let _new = client(siege.server.address()).await;
    siege.withstood("no descriptors", LITTLE).await;
}
