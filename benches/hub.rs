//! Joins, and publishing through the hub: from the append to the moment at which the last subscriber holds the bytes, on the embedded engine.
//!
//! A round publishes one message, or [`INFLIGHT`] of them, and waits until every subscriber has received all of them. Its time contains the
//! commits, and so the disk: a round of one message waits for one fsync, a round of 64 for two (the writer begins with what is queued, and
//! commits what arrived meanwhile as the next group). `one commit` of the benchmark `log` shows the time of one on the machine. It is three
//! quarters of a round of one message to one subscriber, and a fifth of a round that ends in 64,000 deliveries.
//!
//! Every subscriber is a task that takes the shared bytes and counts the frames in them, which is an eighth of the CPU time of the largest
//! round. There is no HTTP/2 and no socket here.

#![allow(clippy::unwrap_used, reason = "a benchmark that panics has failed")]

mod support;

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::{Buf, Bytes};
use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};
use rialto::{
    config::Config,
    engine::{Appended, Draft, Engine},
    hub::{self, Handle, JoinOptions, JoinedRoom, Subscription},
    lifecycle::RequestHandle,
    types::RoomName,
};
use tempfile::TempDir;
use tokio::{runtime::Runtime, sync::Notify, task::JoinHandle};

/// Messages of a large round.
const INFLIGHT: usize = 64;

/// A hub and the subscribers of its lobby.
struct Crowd {
    engine: Arc<dyn Engine>,
    subscribers: usize,
    /// Deliveries that the round still waits for.
    missing: Arc<Missing>,
    draft: Draft,
}

#[derive(Default)]
struct Missing {
    deliveries: AtomicUsize,
    none: Notify,
}

/// What ends after the subscribers.
struct Ground {
    engine: Arc<dyn Engine>,
    hub: JoinHandle<()>,
    _folder: TempDir,
}

impl Crowd {
    async fn gather(subscribers: usize) -> (Arc<Self>, Ground) {
        let folder = tempfile::tempdir().unwrap();
        let (engine, feeds) = support::open(folder.path());
        let (hub, task) = hub::start(&settings(), engine.clone(), feeds.rooms, Arc::default());
        let missing = Arc::<Missing>::default();
        for _ in 0..subscribers {
            let mut subscription = hub.subscribe(RequestHandle::default());
            subscription.add(hub.clone().join(RoomName::default(), JoinOptions::default()).await.unwrap());
            tokio::spawn(listen(subscription, Arc::clone(&missing)));
        }
        let crowd = Self { engine: Arc::clone(&engine), subscribers, missing, draft: support::draft() };
        (Arc::new(crowd), Ground { engine, hub: task, _folder: folder })
    }

    /// Publishes this many messages at once, and waits until all subscribers have them.
    async fn round(&self, messages: usize) {
        self.missing.deliveries.store(messages * self.subscribers, Ordering::Relaxed);
        let mut receipts = Vec::with_capacity(messages);
        for _ in 0..messages {
            receipts.push(self.engine.append(self.draft.clone()).await.unwrap());
        }
        for receipt in receipts {
            assert!(matches!(receipt.await.unwrap(), Appended::Accepted { .. }), "no draft has a key");
        }
        self.missing.none.notified().await;
    }

    async fn rounds(self: Arc<Self>, rounds: u64, messages: usize) -> Duration {
        let work = async {
            for _ in 0..rounds {
                self.round(messages).await;
            }
        };
        support::timed(work).await
    }
}

impl Missing {
    fn came(&self, deliveries: usize) {
        if self.deliveries.fetch_sub(deliveries, Ordering::Relaxed) == deliveries {
            self.none.notify_one();
        }
    }
}

/// Runs until the hub ends.
async fn listen(mut subscription: Subscription, missing: Arc<Missing>) {
    while let Ok(bytes) = poll_fn(|cx| subscription.poll_next(cx)).await {
        missing.came(frames(bytes));
    }
}

fn frames(mut bytes: Bytes) -> usize {
    let mut frames = 0;
    while bytes.has_remaining() {
        bytes.advance(1);
        let len = bytes.get_u32() as usize;
        bytes.advance(len);
        frames += 1;
    }
    frames
}

fn settings() -> hub::Settings {
    let config = Config::default();
    hub::Settings {
        ring_batches: config.rooms.max_ring_batches,
        ring_bytes: config.rooms.max_ring_bytes,
        inbox: config.rooms.max_queued_joins,
        open_rooms: config.rooms.max_open_rooms,
        memberships: config.rooms.max_memberships,
        memberships_per_user: None,
        rooms_per_stream: config.rooms.max_rooms_per_stream,
        members_per_room: config.rooms.max_members_per_room,
        presence_max: config.rooms.presence_max,
        history_bytes: config.rooms.max_history_bytes,
        waiting_changes: config.rooms.max_waiting_changes,
        watchers: config.rooms.max_watchers,
    }
}

fn publishing(criterion: &mut Criterion, runtime: &Runtime) {
    for messages in [1, INFLIGHT] {
        let mut benches = criterion.benchmark_group(format!("publishing, {messages} at once"));
        benches.sampling_mode(SamplingMode::Flat);
        for subscribers in [1, 100, 1000] {
            let (crowd, ground) = runtime.block_on(Crowd::gather(subscribers));
            benches.throughput(Throughput::Elements((messages * subscribers) as u64));
            benches.bench_function(BenchmarkId::new("subscribers", subscribers), |bencher| {
                bencher.iter_custom(|rounds| {
                    // In a worker of the runtime, where streams run.
                    let rounds = runtime.spawn(Arc::clone(&crowd).rounds(rounds, messages));
                    runtime.block_on(rounds).unwrap()
                });
            });
            runtime.block_on(async {
                ground.engine.close().await;
                ground.hub.await.unwrap();
            });
        }
        benches.finish();
    }
}

/// Members of the large room.
const MEMBERS: usize = 20_000;

/// Other rooms beside it, with a member each.
const OTHER_ROOMS: usize = 1_000;

/// Joins a room as this user, and asks for presence.
async fn join(hub: &Handle, room: &RoomName, user: usize) -> JoinedRoom {
    let options =
        JoinOptions { user_id: Some(format!("user-{user}").into()), presence: true, ..JoinOptions::default() };
    hub.clone().join(room.clone(), options).await.unwrap()
}

/// Joins and leaves of one user, beside members that stay: the cost must not depend on their number. All members listen.
fn joining(criterion: &mut Criterion, runtime: &Runtime) {
    let mut benches = criterion.benchmark_group("joining, beside 1000 other rooms");
    for members in [1, 100, MEMBERS] {
        let folder = tempfile::tempdir().unwrap();
        let (hub, task, engine, stay) = runtime.block_on(async {
            let (engine, feeds) = support::open(folder.path());
            let (hub, task) = hub::start(&settings(), engine.clone(), feeds.rooms, Arc::default());
            let mut stay = Vec::new();
            for user in 0..members {
                stay.push(join(&hub, &RoomName::default(), user).await);
            }
            for room in 0..OTHER_ROOMS {
                stay.push(join(&hub, &RoomName::new(&format!("room-{room}")).unwrap(), room).await);
            }
            (hub, task, engine, stay)
        });
        benches.bench_function(BenchmarkId::new("members", members), |bencher| {
            bencher.iter_custom(|rounds| {
                let hub = hub.clone();
                let joins = async move {
                    for _ in 0..rounds {
                        drop(join(&hub, &RoomName::default(), MEMBERS).await);
                    }
                };
                runtime.block_on(runtime.spawn(support::timed(joins))).unwrap()
            });
        });
        drop(stay);
        runtime.block_on(async {
            engine.close().await;
            task.await.unwrap();
        });
    }
    benches.finish();
}

fn main() {
    let mut criterion = support::criterion();
    let runtime = support::runtime();
    publishing(&mut criterion, &runtime);
    joining(&mut criterion, &runtime);
    criterion.final_summary();
}
