//! D3 and D5 against a model: whoever enters anywhere, and reads whenever it likes, is told where it stands and what it misses, and gets
//! the rest once, in order and without holes.

use std::{
    collections::BTreeMap,
    future::poll_fn,
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt;
use proptest::{prelude::*, test_runner::TestRunner};
use tokio::task::coop::unconstrained;

use super::{
    ROOMS, draft,
    stay::{Next, Stay, Taken},
    unframe,
};
use crate::{
    engine::{Appended, Engine, Receipt, RoomName, embedded},
    hub::{Counts, Entry, Handle, Settings, Start, Stream, Subscription, start},
    metrics::Metrics,
    proto::user::ChatMessage,
};

/// What is small, so that subscribers lag, batches are given up, and pages are cut and forgotten.
#[derive(Debug, Clone)]
struct Sizes {
    ring_batches: usize,
    ring_bytes: usize,
    page_bytes: usize,
    history_bytes: usize,
    readers: usize,
}

fn sizes() -> impl Strategy<Value = Sizes> {
    let few = prop::sample::select(vec![1, 4 << 10, 64 << 10, 1 << 20]);
    let history = prop::sample::select(vec![1, 64 << 10, 16 << 20]);
    (1..=4_usize, few, 1024..=4096_usize, history, 1..=2_usize).prop_map(
        |(ring_batches, ring_bytes, page_bytes, history_bytes, readers)| Sizes {
            ring_batches,
            ring_bytes,
            page_bytes,
            history_bytes,
            readers,
        },
    )
}

#[derive(Debug, Clone)]
enum Step {
    /// Publishes so many into a room, without waiting for them to be durable.
    Publish { room: usize, count: usize, bytes: usize },
    /// A new subscriber comes.
    Come,
    /// One of the subscribers, if there are any, enters a room, if it is not in it, while so many are published there.
    Enter { which: usize, room: usize, from: From, meanwhile: usize },
    /// It takes what is there, up to so many times, and then nothing for a while.
    Read { which: usize, times: usize },
    /// It leaves a room.
    Leave { which: usize, room: usize },
    /// It goes.
    Go { which: usize },
    /// What was published so far becomes durable.
    Settle,
}

#[derive(Debug, Clone)]
enum From {
    Live,
    Last(usize),
    /// So many per cent of what was acknowledged, and some.
    After {
        percent: u64,
        plus: u64,
        epoch: Epoch,
    },
}

#[derive(Debug, Clone, Copy)]
enum Epoch {
    Own,
    Other,
    Any,
}

fn step() -> impl Strategy<Value = Step> {
    let room = 0..ROOMS.len();
    let which = 0..8_usize;
    let epoch = prop_oneof![3 => Just(Epoch::Own), 1 => Just(Epoch::Other), 2 => Just(Epoch::Any)];
    let plus = prop_oneof![6 => Just(0_u64), 1 => 1..4_u64, 1 => Just(1_000), 1 => Just(u64::MAX)];
    let from = prop_oneof![
        2 => Just(From::Live),
        2 => (0..300_usize).prop_map(From::Last),
        5 => (0..=100_u64, plus, epoch).prop_map(|(percent, plus, epoch)| From::After { percent, plus, epoch }),
    ];
    let bytes = prop_oneof![3 => 1..40_usize, 2 => 100..800_usize, 1 => 1000..4000_usize];
    let count = prop_oneof![12 => 1..5_usize, 6 => 10..40_usize, 1 => 250..270_usize];
    prop_oneof![
        6 => (room.clone(), count, bytes).prop_map(|(room, count, bytes)| Step::Publish { room, count, bytes }),
        2 => Just(Step::Come),
        6 => (which.clone(), room.clone(), from, 0..8_usize)
            .prop_map(|(which, room, from, meanwhile)| Step::Enter { which, room, from, meanwhile }),
        6 => (which.clone(), 1..20_usize).prop_map(|(which, times)| Step::Read { which, times }),
        1 => (which.clone(), room).prop_map(|(which, room)| Step::Leave { which, room }),
        1 => which.prop_map(|which| Step::Go { which }),
        2 => Just(Step::Settle),
    ]
}

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
    taken: Taken,
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
                let subscription = self.hub.subscribe(Stream::default());
                self.present.push(Subscriber { subscription, stays: BTreeMap::new() });
            }
            Step::Settle => self.settle().await,
            Step::Enter { which, room, from, meanwhile } => {
                let least_head = self.head(ROOMS[room]);
                let Some(which) = self.which(which) else { return };
                let start = self.start(from, least_head);
                let (room, name) = (ROOMS[room], RoomName::new(ROOMS[room]).unwrap());
                let subscriber = &mut self.present[which];
                if subscriber.subscription.may_enter(&name).is_err() {
                    return assert!(subscriber.stays.contains_key(room));
                }
                let entry = Entry { start: start.clone(), told: true, ..Entry::default() };
                let racing = tokio::spawn(publish(self.hub.clone(), room, n, meanwhile));
                subscriber.subscription.add(self.hub.clone().enter(name, entry).await.unwrap());
                assert!(subscriber.stays.insert(room, Stay::new(start, least_head)).is_none());
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
                let told = subscriber.subscription.remove(&RoomName::new(ROOMS[room]).unwrap());
                assert_eq!(told, stay.is_some().then_some(true));
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

    fn start(&self, from: From, head: u64) -> Start {
        match from {
            From::Live => Start::Live,
            From::Last(count) => Start::Last(count),
            From::After { percent, plus, epoch } => {
                let epoch = match epoch {
                    Epoch::Own => self.epoch.clone(),
                    Epoch::Other => "of another log".into(),
                    Epoch::Any => String::new(),
                };
                Start::After { seq: (head * percent / 100).saturating_add(plus), epoch }
            }
        }
    }

    /// Takes the next frames, if there are any now.
    fn read(&mut self, which: usize) -> bool {
        let subscription = &mut self.present[which].subscription;
        let Some(frames) = unconstrained(poll_fn(|cx| subscription.poll_next(cx))).now_or_never() else { return false };
        self.hear(which, unframe(frames.unwrap()));
        true
    }

    fn hear(&mut self, which: usize, messages: Vec<ChatMessage>) {
        for message in messages {
            let stay = self.present[which].stays.get_mut(message.room.as_str()).expect("nothing of any other room");
            stay.hear(message, &self.epoch, self.taken);
        }
    }

    /// What was acknowledged last.
    fn head(&self, room: &str) -> u64 {
        self.published.get(room).and_then(|published| published.last()).map_or(0, |(seq, _)| *seq)
    }

    async fn settle(&mut self) {
        for (room, text, receipt) in self.waiting.drain(..) {
            let Appended::Accepted { seq, .. } = receipt.await.unwrap() else { panic!("no draft has a key") };
            self.published.entry(room).or_default().push((seq, text));
        }
    }

    /// Everything is durable, so everything reaches whoever stayed.
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
                let frames = next.await.expect("whoever stays is told, and woken for it").unwrap();
                self.hear(which, unframe(frames));
            }
        }
        for subscriber in self.present.drain(..) {
            self.over.extend(subscriber.stays);
        }
        for (room, stay) in &self.over {
            for (seq, text) in &stay.seen {
                let at = usize::try_from(seq - 1).unwrap();
                assert_eq!(&self.published[room][at], &(*seq, text.clone()), "what was published there");
            }
        }
    }
}

/// One after the other, so that each is a group of its own.
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

async fn run(sizes: Sizes, steps: Vec<Step>, metrics: Arc<Metrics>) {
    let folder = tempfile::tempdir().unwrap();
    let settings = embedded::Settings {
        folder: folder.path().to_owned(),
        queue_drafts: 64,
        queue_bytes: 1 << 20,
        feed_groups: 2,
        page_bytes: sizes.page_bytes,
        file_bytes: 0,
        rooms: ROOMS.len(),
        readers: NonZeroUsize::new(sizes.readers).unwrap(),
    };
    let (engine, feeds) = embedded::open(&settings, Arc::clone(&metrics)).unwrap();
    let engine: Arc<dyn Engine> = engine;
    let settings = Settings {
        ring_batches: sizes.ring_batches,
        ring_bytes: sizes.ring_bytes,
        inbox: 4,
        open_rooms: ROOMS.len(),
        memberships: 1000,
        rooms_per_stream: ROOMS.len(),
        presence_max: 2,
        history_bytes: sizes.history_bytes,
        waiting_changes: 10,
        watchers: 1,
    };
    let (hub, task) = start(&settings, Arc::clone(&engine), feeds.rooms, metrics);
    let epoch = engine.position(&RoomName::default()).await.unwrap().epoch;
    let mut world = World {
        hub: hub.clone(),
        epoch,
        present: Vec::new(),
        over: Vec::new(),
        published: BTreeMap::new(),
        waiting: Vec::new(),
        taken: Taken::default(),
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
fn d3_d5_whoever_enters_anywhere_is_told_where_it_stands_and_gets_the_rest_once_and_in_order() {
    let config =
        ProptestConfig { cases: 40, failure_persistence: None, max_shrink_time: 20_000, ..ProptestConfig::default() };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (refills, reads) = (AtomicU64::new(0), AtomicU64::new(0));
    let history = (sizes(), prop::collection::vec(step(), 20..90));
    let outcome = TestRunner::new(config).run(&history, |(sizes, steps)| {
        let metrics = Arc::<Metrics>::default();
        runtime.block_on(run(sizes, steps, Arc::clone(&metrics)));
        refills.fetch_add(metrics.refills.get(), Ordering::Relaxed);
        reads.fetch_add(metrics.log_reads.get(), Ordering::Relaxed);
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    let (refills, reads) = (refills.into_inner(), reads.into_inner());
    println!("{refills} refills, {reads} reads of the log");
    assert!(refills > 10 && reads > 1000, "the rings were small enough for {refills} refills and {reads} reads");
}
