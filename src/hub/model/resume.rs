//! D3 and D5 against a model: a subscriber that joins anywhere and reads at any time is told its position and what it misses, and
//! receives the rest once, in order and without holes.

mod steps;

use std::{
    collections::BTreeMap,
    future::poll_fn,
    mem,
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

use super::{ROOMS, draft, late::Late, unframe};
use steps::{Epoch, From, Sizes, Step, sizes, step};

use crate::{
    engine::{Appended, Engine, Log, Receipt, Retention, RetentionLimits, embedded},
    hub::{Counts, Handle, JoinOptions, JoinStart, Settings, Subscription, start},
    lifecycle::RequestHandle,
    metrics::Metrics,
    proto::user::{ChatMessage, Joined, chat_message::Event},
    types::RoomName,
};

/// What retention may have removed of a room by now, at most. A `gap` may report it at any time, and may cover nothing else.
#[derive(Debug, Clone, Copy)]
struct Taken {
    up_to: u64,
    /// Messages that are kept in any case.
    keep: u64,
}

impl Taken {
    /// Of a room that has gone so far.
    fn of(head: u64, keep: u64) -> Self {
        Self { up_to: if keep == 0 { 0 } else { head.saturating_sub(keep) }, keep }
    }
}

/// One stay of a subscriber in a room, and what it received there.
struct Stay {
    start: JoinStart,
    /// A head that the log had reached before the join.
    least_head: u64,
    /// It has received `joined`.
    joined: bool,
    /// What must come next.
    next: Next,
    /// Everything up to here was delivered, reported as a gap, or not asked for.
    cursor: u64,
    /// The first message may have a higher `seq`.
    may_skip: bool,
    seen: Vec<(u64, String)>,
}

#[derive(Debug, PartialEq)]
enum Next {
    Joined,
    Gap { to: Told },
    Records,
}

#[derive(Debug, PartialEq)]
enum Told {
    Exactly(u64),
    AtMost(u64),
}

/// Where delivery begins.
enum Begin {
    At(u64),
    /// Behind a gap.
    Missing {
        from: u64,
        to: Told,
    },
}

impl Stay {
    fn hear(&mut self, message: ChatMessage, epoch: &str, taken: Taken) {
        let ChatMessage { seq, text, event, .. } = message;
        match event {
            Some(Event::Joined(joined)) => {
                assert_eq!(self.next, Next::Joined, "sent once, and first");
                assert_eq!(joined.epoch, epoch);
                assert!(
                    joined.head_seq >= self.least_head,
                    "{} is durable, but the head is {joined:?}",
                    self.least_head
                );
                let taken = Taken::of(joined.head_seq, taken.keep);
                let begin = begin(&self.start, &joined, epoch, taken);
                self.joined = true;
                (self.cursor, self.next) = match begin {
                    Begin::At(cursor) => (cursor, Next::Records),
                    Begin::Missing { from, to } => (from, Next::Gap { to }),
                };
                // Retention may have removed some of the last messages.
                self.may_skip = matches!(self.start, JoinStart::Last(_));
            }
            Some(Event::Gap(gap)) => {
                let skipped = mem::take(&mut self.may_skip) && gap.from_seq <= taken.up_to + 1;
                assert!(gap.from_seq == self.cursor + 1 || skipped, "{gap:?} does not begin behind {}", self.cursor);
                match self.next {
                    Next::Gap { to: Told::Exactly(to) } => assert_eq!(gap.to_seq, to),
                    Next::Gap { to: Told::AtMost(to) } => assert!(gap.to_seq <= to, "{gap:?} is kept above {to}"),
                    // It may come later: retention overtakes a reader.
                    _ => assert!(self.joined && gap.to_seq <= taken.up_to, "nothing is missing there: {gap:?}"),
                }
                self.cursor = gap.to_seq;
                self.next = Next::Records;
            }
            None => {
                assert_eq!(self.next, Next::Records, "{seq} comes too early");
                let skipped = mem::take(&mut self.may_skip) && seq <= taken.up_to + 1;
                assert!(seq == self.cursor + 1 || skipped, "{seq} after {}: here numbers have no holes", self.cursor);
                self.cursor = seq;
                self.seen.push((seq, text));
            }
            Some(other) => panic!("{other:?}"),
        }
    }
}

/// Where delivery begins according to the `joined` event.
fn begin(start: &JoinStart, joined: &Joined, epoch: &str, taken: Taken) -> Begin {
    let head = joined.head_seq;
    let whole = |cursor| {
        assert!(joined.recovered, "{start:?}: {joined:?}");
        Begin::At(cursor)
    };
    match start {
        JoinStart::Live => whole(head),
        JoinStart::Last(count) => whole(head.saturating_sub(*count as u64)),
        JoinStart::After { seq, epoch: named } if (!named.is_empty() && named != epoch) || *seq > head => {
            assert!(!joined.recovered, "{start:?}: {joined:?}");
            if head == 0 { Begin::At(0) } else { Begin::Missing { from: 0, to: Told::Exactly(head) } }
        }
        JoinStart::After { seq, .. } if joined.recovered => Begin::At(*seq),
        JoinStart::After { seq, .. } => {
            assert!(*seq < taken.up_to, "{start:?}: everything is kept: {joined:?}");
            Begin::Missing { from: *seq, to: Told::AtMost(taken.up_to) }
        }
    }
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
    keep: u64,
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
                let next = Next::Joined;
                let stay =
                    Stay { start, least_head, joined: false, next, cursor: 0, may_skip: false, seen: Vec::new() };
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
            stay.hear(message, &self.epoch, Taken::of((said + under_way) as u64, self.keep));
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
                let at = usize::try_from(seq - 1).unwrap();
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
        rooms_per_user: 0,
        readers: NonZeroUsize::new(sizes.readers).unwrap(),
        retention: Retention {
            limits: RetentionLimits { age: None, messages: NonZeroU64::new(sizes.keep) },
            interval: Duration::from_millis(1),
            ..Retention::default()
        },
    };
    let (engine, feeds) = embedded::open(&settings, Arc::clone(&metrics)).unwrap();
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
fn d3_d5_a_join_from_anywhere_reports_its_position_and_delivers_the_rest_once_and_in_order() {
    let config =
        ProptestConfig { cases: 48, failure_persistence: None, max_shrink_time: 20_000, ..ProptestConfig::default() };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (refills, reads, removed) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let history = (sizes(), prop::collection::vec(step(), 20..90));
    let outcome = TestRunner::new(config).run(&history, |(sizes, steps)| {
        let metrics = Arc::<Metrics>::default();
        runtime.block_on(run(sizes, steps, Arc::clone(&metrics)));
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
