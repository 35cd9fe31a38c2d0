//! D6: a stream whose client does not read is not asked for more. What it was waiting for then must hold up nobody else.

use std::{future::poll_fn, num::NonZeroUsize, sync::Arc, time::Duration};

use futures_util::FutureExt;
use tempfile::TempDir;
use tokio::time::timeout;

use super::{draft, unframe};
use crate::{
    engine::{Retention, embedded},
    hub::{Handle, JoinOptions, JoinStart, Settings, Subscription, start},
    lifecycle::RequestHandle,
    metrics::Metrics,
    types::RoomName,
};

const PATIENCE: Duration = Duration::from_secs(10);

/// Everything that could be waited for is there once, or nearly.
fn narrow() -> (Handle, Arc<Metrics>, TempDir) {
    keeping(1 << 20)
}

/// The same, which keeps so many bytes of pages.
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
    let (hub, _) = start(&settings, engine.clone(), engine, feeds.rooms, Arc::clone(&metrics));
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
        subscription.add(hub.clone().enter(room.clone(), from_the_beginning()).await.unwrap());
    }
    subscription
}

/// Takes so many messages.
async fn take(subscription: &mut Subscription, count: usize) {
    let mut got = 0;
    while got < count {
        got += unframe(poll_fn(|cx| subscription.poll_next(cx)).await.unwrap()).len();
    }
}

#[tokio::test]
async fn streams_that_stop_reading_while_they_resume_hold_up_no_other_that_does() {
    let (hub, _, _folder) = narrow();
    publish(&hub, &room(0), 20).await;
    publish(&hub, &room(1), 20).await;
    // Asked once, and never again.
    let (mut stuck, mut entering) = (Vec::new(), Vec::new());
    for _ in 0..20 {
        let resumed = timeout(PATIENCE, resume(&hub, &[room(0), room(1)])).await;
        let mut subscription = resumed.expect("nobody waits for those who do not ask");
        _ = poll_fn(|cx| subscription.poll_next(cx)).now_or_never();
        stuck.push(subscription);
    }
    for _ in 0..20 {
        let mut entered = hub.clone().enter_unasked(room(1), from_the_beginning());
        _ = entered.as_mut().now_or_never();
        entering.push(entered);
    }
    let resumed = async { take(&mut resume(&hub, &[room(0)]).await, 20).await };
    timeout(PATIENCE, resumed).await.expect("nobody waits for those who do not ask");
}

#[tokio::test]
async fn streams_that_stop_reading_while_they_publish_hold_up_no_other_that_does() {
    let (hub, _, _folder) = narrow();
    // The hub has no turn before the first await: its feed fills, then the queue, and the rest waits for a place.
    let stuck: Vec<_> = (0..100).map(|n| hub.append_unasked(draft("room0", &n.to_string()))).collect();
    timeout(PATIENCE, publish(&hub, &room(0), 1)).await.expect("nobody waits for those who do not ask");
    drop(stuck);
}

#[tokio::test]
async fn a_stream_in_many_rooms_that_reads_none_holds_few_pages() {
    const ROOMS: usize = 50;
    let (hub, metrics, _folder) = narrow();
    let rooms: Vec<_> = (0..ROOMS).map(room).collect();
    for room in &rooms {
        publish(&hub, room, 2).await;
    }
    let mut subscription = resume(&hub, &rooms).await;
    _ = poll_fn(|cx| subscription.poll_next(cx)).now_or_never();
    // Behind everything that it could have asked for.
    timeout(PATIENCE, async { take(&mut resume(&hub, &[room(ROOMS - 1)]).await, 2).await }).await.unwrap();
    let read = metrics.log_reads.get();
    assert!(read <= 5, "{read} pages were read");
    timeout(PATIENCE, take(&mut subscription, 2 * ROOMS - 2)).await.expect("every room has its turn");
}

#[tokio::test]
async fn a_reader_of_pages_that_are_not_kept_reads_each_once() {
    const MESSAGES: usize = 40;
    let (hub, metrics, _folder) = keeping(1);
    for n in 0..MESSAGES {
        // One makes a page.
        hub.append(draft("room0", &format!("{n:04096}"))).await.unwrap().await.unwrap();
    }
    timeout(PATIENCE, async { take(&mut resume(&hub, &[room(0)]).await, MESSAGES).await }).await.unwrap();
    assert_eq!(metrics.log_reads.get(), MESSAGES as u64);
}
