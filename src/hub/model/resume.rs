//! D3 and D5 against a model: a subscriber that joins at any point and reads at any pace receives its position, the gaps, and all other
//! records once and in order.

mod stay;
mod steps;

use std::{
    collections::BTreeMap,
    future::poll_fn,
    num::{NonZeroU64, NonZeroUsize},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt;
use proptest::{prelude::*, test_runner::TestRunner};
use tokio::task::coop::unconstrained;

use super::{ROOMS, draft, late::Late, numbers::Numbers, unframe};
use stay::{Next, Stay, Taken};
use steps::{Epoch, From, Sizes, Step, sizes, step};

use crate::{
    engine::{Appended, Log, Receipt, Retention, RetentionLimits, embedded},
    hub::{Counts, Handle, JoinOptions, JoinStart, Settings, Subscription, start},
    lifecycle::RequestHandle,
    metrics::Metrics,
    proto::user::ChatMessage,
    types::RoomName,
};

struct Subscriber {
    subscription: Subscription,
    stays: BTreeMap<&'static str, Stay>,
}

/// The hub, and what must be true of it.
struct World {
    hub: Handle,
    epoch: String,
    present: Vec<Subscriber>,
    /// Stays that are over.
    over: Vec<(&'static str, Stay)>,
    published: BTreeMap<&'static str, Vec<(u64, String)>>,
    waiting: Vec<(&'static str, String, Receipt)>,
    keep: u64,
    numbers: Numbers,
}

impl World {
    async fn step(&mut self, n: usize, step: Step) {
        match step {
            Step::Publish { room, count, bytes } => {
                for i in 0..count {
                    let (room, text) = (ROOMS[room], format!("{n}:{i}:{}", "x".repeat(bytes)));
                    let receipt = self.hub.append(draft(room, &text)).await.unwrap();
                    self.waiting.push((room, text, receipt));
                }
            }
            Step::Come => {
                let subscription = self.hub.subscribe(RequestHandle::default());
                self.present.push(Subscriber { subscription, stays: BTreeMap::new() });
            }
            Step::Settle => self.settle().await,
            Step::Enter { which, room, from, meanwhile } => {
                let least_head = self.head(ROOMS[room]);
                let Some(which) = self.which(which) else { return };
                let start = self.start(from, least_head);
                let (room, name) = (ROOMS[room], RoomName::new(ROOMS[room]).unwrap());
                let subscriber = &mut self.present[which];
                if subscriber.subscription.check_join(&name).is_err() {
                    return assert!(subscriber.stays.contains_key(room));
                }
                let entry = JoinOptions { start: start.clone(), report_joined: true, ..JoinOptions::default() };
                let racing = tokio::spawn(publish(self.hub.clone(), room, n, meanwhile));
                subscriber.subscription.add(self.hub.clone().join(name, entry).await.unwrap());
                let stay = Stay::new(start, least_head);
                assert!(subscriber.stays.insert(room, stay).is_none());
                self.settle().await;
                self.published.entry(room).or_default().extend(racing.await.unwrap());
            }
            Step::Read { which, times } => {
                let Some(which) = self.which(which) else { return };
                for _ in 0..times {
                    if !self.read(which) {
                        tokio::task::yield_now().await;
                    }
                }
            }
            Step::Leave { which, room } => {
                let Some(which) = self.which(which) else { return };
                let subscriber = &mut self.present[which];
                let stay = subscriber.stays.remove(ROOMS[room]);
                let removed = subscriber.subscription.remove(&RoomName::new(ROOMS[room]).unwrap());
                assert_eq!(removed.map(|removed| removed.reports_joined), stay.is_some().then_some(true));
                self.over.extend(stay.map(|stay| (ROOMS[room], stay)));
            }
            Step::Go { which } => {
                let Some(which) = self.which(which) else { return };
                self.over.extend(self.present.remove(which).stays);
            }
        }
    }

    fn which(&self, which: usize) -> Option<usize> {
        which.checked_rem(self.present.len())
    }

    fn start(&self, from: From, head: u64) -> JoinStart {
        match from {
            From::Live => JoinStart::Live,
            From::Last(count) => JoinStart::Last(count),
            From::After { percent, plus, epoch } => {
                let epoch = match epoch {
                    Epoch::Own => self.epoch.clone(),
                    Epoch::Other => "of another log".into(),
                    Epoch::Any => String::new(),
                };
                JoinStart::After { seq: (head * percent / 100).saturating_add(plus), epoch }
            }
        }
    }

    /// Reads the next frames, if any are ready.
    fn read(&mut self, which: usize) -> bool {
        let subscription = &mut self.present[which].subscription;
        let Some(frames) = unconstrained(poll_fn(|cx| subscription.poll_next(cx))).now_or_never() else { return false };
        self.hear(which, unframe(frames.unwrap()));
        true
    }

    fn hear(&mut self, which: usize, messages: Vec<ChatMessage>) {
        for message in messages {
            let stay = self.present[which].stays.get_mut(message.room.as_str()).expect("nothing of any other room");
            let said = self.published.get(message.room.as_str()).map_or(0, Vec::len);
            let under_way = self.waiting.iter().filter(|(room, ..)| *room == message.room).count();
            stay.hear(message, &self.epoch, Taken::of((said + under_way) as u64, self.keep, self.numbers));
        }
    }

    /// The last `seq` that was acknowledged.
    fn head(&self, room: &str) -> u64 {
        self.published.get(room).and_then(|published| published.last()).map_or(0, |(seq, _)| *seq)
    }

    async fn settle(&mut self) {
        for (room, text, receipt) in self.waiting.drain(..) {
            let Appended::Accepted { seq, .. } = receipt.await.unwrap() else { panic!("no draft has a key") };
            self.published.entry(room).or_default().push((seq, text));
        }
    }

    /// Everything is durable, so everything reaches the subscribers that stayed.
    async fn finish(&mut self) {
        self.settle().await;
        for which in 0..self.present.len() {
            loop {
                let behind = |(room, stay): (&&str, &Stay)| stay.next != Next::Records || stay.cursor < self.head(room);
                if !self.present[which].stays.iter().any(behind) {
                    break;
                }
                let subscription = &mut self.present[which].subscription;
                let next = tokio::time::timeout(Duration::from_secs(10), poll_fn(|cx| subscription.poll_next(cx)));
                let frames = next.await.expect("a subscriber that stays is woken and receives it").unwrap();
                self.hear(which, unframe(frames));
            }
        }
        for subscriber in self.present.drain(..) {
            self.over.extend(subscriber.stays);
        }
        for (room, stay) in &self.over {
            for (seq, text) in &stay.seen {
                let at = usize::try_from(self.numbers.count(*seq) - 1).unwrap();
                assert_eq!(&self.published[room][at], &(*seq, text.clone()), "what was published there");
            }
        }
    }
}

/// Publishes one message after the other, so that each is a group of its own.
async fn publish(hub: Handle, room: &'static str, n: usize, count: usize) -> Vec<(u64, String)> {
    let mut published = Vec::new();
    for i in 0..count {
        let text = format!("{n}:racing {i}");
        let receipt = hub.append(draft(room, &text)).await.unwrap();
        let Appended::Accepted { seq, .. } = receipt.await.unwrap() else { panic!("no draft has a key") };
        published.push((seq, text));
    }
    published
}

async fn run(numbers: Numbers, sizes: Sizes, steps: Vec<Step>, metrics: Arc<Metrics>) {
    let folder = tempfile::tempdir().unwrap();
    let settings = embedded::Settings {
        folder: folder.path().to_owned(),
        queue_drafts: 64,
        queue_bytes: 1 << 20,
        feed_groups: 2,
        page_bytes: sizes.page_bytes,
        file_bytes: 0,
        rooms: ROOMS.len(),
        rooms_per_user: 0,
        users: 100,
        readers: NonZeroUsize::new(sizes.readers).unwrap(),
        retention: Retention {
            limits: RetentionLimits { age: None, messages: NonZeroU64::new(sizes.keep) },
            interval: Duration::from_millis(1),
            ..Retention::default()
        },
    };
    let (engine, feeds) = embedded::open(&settings, Arc::clone(&metrics)).unwrap();
    let (engine, feeds) = numbers.wrap(engine, feeds);
    let log: Arc<dyn Log> = Arc::new(Late(engine.clone()));
    let settings = Settings {
        ring_batches: sizes.ring_batches,
        ring_bytes: sizes.ring_bytes,
        inbox: 4,
        open_rooms: ROOMS.len(),
        memberships: 1000,
        memberships_per_user: None,
        rooms_per_stream: ROOMS.len(),
        members_per_room: 1000,
        presence_max: 2,
        history_bytes: sizes.history_bytes,
        waiting_changes: 10,
        watchers: 1,
    };
    let (hub, task) = start(&settings, log, feeds.rooms, metrics);
    let epoch = engine.position(&RoomName::default()).await.unwrap().epoch;
    let mut world = World {
        hub: hub.clone(),
        epoch,
        present: Vec::new(),
        over: Vec::new(),
        published: BTreeMap::new(),
        waiting: Vec::new(),
        keep: sizes.keep,
        numbers,
    };
    for (n, step) in steps.into_iter().enumerate() {
        world.step(n, step).await;
    }
    world.finish().await;
    while hub.counts().await.unwrap() != Counts::default() {
        tokio::task::yield_now().await;
    }
    engine.close().await;
    task.await.unwrap();
}

#[test]
fn d3_d5_a_join_reports_position_and_gap_then_delivers_the_rest_once_and_in_order() {
    check(Numbers::Dense);
}

#[test]
fn d3_d5_the_same_holds_if_numbers_have_gaps() {
    check(Numbers::Sparse);
}

fn check(numbers: Numbers) {
    let config =
        ProptestConfig { cases: 48, failure_persistence: None, max_shrink_time: 20_000, ..ProptestConfig::default() };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (refills, reads, removed) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let history = (sizes(), prop::collection::vec(step(), 20..90));
    let outcome = TestRunner::new(config).run(&history, |(sizes, steps)| {
        let metrics = Arc::<Metrics>::default();
        runtime.block_on(run(numbers, sizes, steps, Arc::clone(&metrics)));
        refills.fetch_add(metrics.refills.get(), Ordering::Relaxed);
        reads.fetch_add(metrics.log_reads.get(), Ordering::Relaxed);
        removed.fetch_add(metrics.removed_messages.get(), Ordering::Relaxed);
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    let (refills, reads) = (refills.into_inner(), reads.into_inner());
    assert!(removed.into_inner() > 100, "retention was at work");
    assert!(refills > 10 && reads > 1000, "the rings were small enough for {refills} refills and {reads} reads");
}
