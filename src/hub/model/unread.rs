//! D6: the body of a client that does not read is not polled. What it waits for must not delay other streams.

use std::{future::poll_fn, num::NonZeroUsize, sync::Arc, time::Duration};

use futures_util::FutureExt;
use tempfile::TempDir;
use tokio::time::timeout;

use super::{draft, unframe};
use crate::{
    engine::{Retention, embedded},
    hub::{Error, Handle, JoinOptions, JoinStart, Settings, Subscription, spawned, start},
    lifecycle::RequestHandle,
    metrics::Metrics,
    types::RoomName,
};

const PATIENCE: Duration = Duration::from_secs(10);

/// A hub on an engine in which nearly everything that a stream may wait for exists once.
fn narrow() -> (Handle, Arc<Metrics>, TempDir) {
    keeping(1 << 20)
}

/// The same with a cache of this many bytes of pages.
fn keeping(history_bytes: usize) -> (Handle, Arc<Metrics>, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let metrics = Arc::<Metrics>::default();
    let settings = embedded::Settings {
        folder: folder.path().to_owned(),
        queue_drafts: 4,
        queue_bytes: 1 << 20,
        feed_groups: 1,
        page_bytes: 4096,
        file_bytes: 0,
        rooms: 1000,
        rooms_per_user: 0,
        users: 100,
        readers: NonZeroUsize::MIN,
        retention: Retention::default(),
    };
    let (engine, feeds) = embedded::open(&settings, Arc::clone(&metrics)).unwrap();
    let settings = Settings {
        ring_batches: 4,
        ring_bytes: 1 << 20,
        inbox: 1,
        open_rooms: 1000,
        memberships: 10_000,
        memberships_per_user: None,
        rooms_per_stream: 1000,
        members_per_room: 10_000,
        presence_max: 2,
        history_bytes,
        waiting_changes: 10,
        watchers: 1,
    };
    let (hub, _) = start(&settings, engine, feeds.rooms, Arc::clone(&metrics));
    (hub, metrics, folder)
}

fn room(n: usize) -> RoomName {
    RoomName::new(&format!("room{n}")).unwrap()
}

async fn publish(hub: &Handle, room: &RoomName, count: usize) {
    for n in 0..count {
        hub.append(draft(room.as_str(), &n.to_string())).await.unwrap().await.unwrap();
    }
}

fn from_the_beginning() -> JoinOptions {
    JoinOptions { start: JoinStart::After { seq: 0, epoch: String::new() }, ..JoinOptions::default() }
}

async fn resume(hub: &Handle, rooms: &[RoomName]) -> Subscription {
    let mut subscription = hub.subscribe(RequestHandle::default());
    for room in rooms {
        subscription.add(hub.clone().join(room.clone(), from_the_beginning()).await.unwrap());
    }
    subscription
}

/// Receives this many messages.
async fn take(subscription: &mut Subscription, count: usize) {
    let mut got = 0;
    while got < count {
        got += unframe(poll_fn(|cx| subscription.poll_next(cx)).await.unwrap()).len();
    }
}

#[tokio::test]
async fn streams_that_stop_reading_while_they_resume_do_not_delay_others() {
    let (hub, _, _folder) = narrow();
    publish(&hub, &room(0), 20).await;
    publish(&hub, &room(1), 20).await;
    // Each is polled once, and never again.
    let (mut stuck, mut joining) = (Vec::new(), Vec::new());
    for _ in 0..20 {
        let resumed = timeout(PATIENCE, resume(&hub, &[room(0), room(1)])).await;
        let mut subscription = resumed.expect("no stream waits for those that are not polled");
        _ = poll_fn(|cx| subscription.poll_next(cx)).now_or_never();
        stuck.push(subscription);
    }
    for _ in 0..20 {
        let mut joined = spawned(hub.clone().join(room(1), from_the_beginning()), || Err(Error::Stopped));
        _ = joined.as_mut().now_or_never();
        joining.push(joined);
    }
    let resumed = async { take(&mut resume(&hub, &[room(0)]).await, 20).await };
    timeout(PATIENCE, resumed).await.expect("no stream waits for those that are not polled");
}

#[tokio::test]
async fn streams_that_stop_reading_while_they_publish_do_not_delay_others() {
    let (hub, _, _folder) = narrow();
    let append = |n: usize| {
        let (hub, draft) = (hub.clone(), draft("room0", &n.to_string()));
        spawned(async move { hub.append(draft).await }, || panic!("no append fails"))
    };
    // The hub does not run before the first await: its feed fills, then the queue, and the rest waits for a place.
    let stuck: Vec<_> = (0..100).map(append).collect();
    timeout(PATIENCE, publish(&hub, &room(0), 1)).await.expect("no stream waits for those that are not polled");
    drop(stuck);
}

#[tokio::test]
async fn a_stream_in_many_rooms_that_does_not_read_holds_few_pages() {
    const ROOMS: usize = 50;
    let (hub, metrics, _folder) = narrow();
    let rooms: Vec<_> = (0..ROOMS).map(room).collect();
    for room in &rooms {
        publish(&hub, room, 2).await;
    }
    let mut subscription = resume(&hub, &rooms).await;
    _ = poll_fn(|cx| subscription.poll_next(cx)).now_or_never();
    // After everything that the other stream may have read.
    timeout(PATIENCE, async { take(&mut resume(&hub, &[room(ROOMS - 1)]).await, 2).await }).await.unwrap();
    let read = metrics.log_reads.get();
    assert!(read <= 5, "{read} pages were read");
    timeout(PATIENCE, take(&mut subscription, 2 * ROOMS - 2)).await.expect("every room has its turn");
}

#[tokio::test]
async fn a_reader_of_pages_that_are_not_cached_reads_each_once() {
    const MESSAGES: usize = 40;
    let (hub, metrics, _folder) = keeping(1);
    for n in 0..MESSAGES {
        // Each is a page of its own.
        hub.append(draft("room0", &format!("{n:04096}"))).await.unwrap().await.unwrap();
    }
    timeout(PATIENCE, async { take(&mut resume(&hub, &[room(0)]).await, MESSAGES).await }).await.unwrap();
    assert_eq!(metrics.log_reads.get(), MESSAGES as u64);
}
