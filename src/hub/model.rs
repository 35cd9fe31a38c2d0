//! The hub against a model: joins, leaves and publishes in any order.

mod late;
mod numbers;
mod resume;
mod unread;

use std::{collections::BTreeMap, future::poll_fn, num::NonZeroUsize, path::Path, sync::Arc, time::Duration};

use bytes::{Buf, Bytes};
use futures_util::FutureExt;
use proptest::prelude::*;
use prost::Message;
use tokio::{
    runtime::{self, Runtime},
    task::{JoinHandle, coop::unconstrained},
};

use numbers::Numbers;

use super::{Counts, Handle, JoinOptions, Settings, Subscription, start};
use crate::lifecycle::RequestHandle;
use crate::{
    engine::{Appended, Draft, Engine, Receipt, Refused, Retention, embedded},
    proto::user::ChatMessage,
    types::RoomName,
};

impl Handle {
    /// Appends to the log that the hub follows.
    async fn append(&self, draft: Draft) -> Result<Receipt, Refused> {
        self.0.log.append(draft).await
    }
}

const ROOMS: [&str; 3] = ["a", "b", "c"];

#[derive(Debug, Clone)]
enum Step {
    /// Publishes into a room, without waiting for it to be durable.
    Publish { room: usize },
    /// A new subscriber joins some rooms.
    Join { rooms: Vec<usize> },
    /// The oldest subscriber, or the second oldest and so on, leaves.
    Leave { which: usize },
    /// What was published so far becomes durable.
    Settle,
}

fn step() -> impl Strategy<Value = Step> {
    let room = 0..ROOMS.len();
    prop_oneof![
        6 => room.clone().prop_map(|room| Step::Publish { room }),
        2 => prop::collection::btree_set(room, 1..=ROOMS.len()).prop_map(|rooms| Step::Join { rooms: rooms.into_iter().collect() }),
        1 => (0..4_usize).prop_map(|which| Step::Leave { which }),
        1 => Just(Step::Settle),
    ]
}

/// What a subscriber received of each room, and the head at which it joined.
struct Subscriber {
    subscription: Subscription,
    heads: BTreeMap<&'static str, u64>,
    seen: BTreeMap<&'static str, Vec<(u64, String)>>,
}

impl Subscriber {
    async fn join(hub: &Handle, rooms: &[usize]) -> Self {
        let mut subscription = hub.subscribe(RequestHandle::default());
        let mut heads = BTreeMap::new();
        for room in rooms.iter().map(|room| ROOMS[*room]) {
            let joined = hub.clone().join(RoomName::new(room).unwrap(), JoinOptions::default()).await.unwrap();
            heads.insert(room, joined.head);
            subscription.add(joined);
        }
        Self { subscription, heads, seen: BTreeMap::new() }
    }

    /// Receives everything that is ready.
    fn drain(&mut self) {
        while let Some(batch) = unconstrained(poll_fn(|cx| self.subscription.poll_next(cx))).now_or_never() {
            for message in unframe(batch.unwrap()) {
                let room = ROOMS.into_iter().find(|room| *room == message.room).unwrap();
                self.seen.entry(room).or_default().push((message.seq, message.text));
            }
        }
    }

    fn last_seen(&self, room: &str) -> u64 {
        self.seen.get(room).and_then(|seen| seen.last()).map_or(0, |(seq, _)| *seq)
    }
}

fn unframe(mut bytes: Bytes) -> Vec<ChatMessage> {
    let mut messages = Vec::new();
    while bytes.has_remaining() {
        bytes.advance(1);
        let len = bytes.get_u32() as usize;
        messages.push(ChatMessage::decode(bytes.split_to(len)).unwrap());
    }
    messages
}

/// A subscriber that has left, and up to where each room was batched before that.
struct Left {
    subscriber: Subscriber,
    batched: BTreeMap<&'static str, u64>,
}

/// A hub on an engine in this folder.
pub(super) fn hub_in(folder: &Path) -> (Arc<dyn Engine>, Handle, JoinHandle<()>) {
    hub_with(folder, Numbers::Dense)
}

/// A hub on an engine in this folder that numbers records in this way.
fn hub_with(folder: &Path, numbers: Numbers) -> (Arc<dyn Engine>, Handle, JoinHandle<()>) {
    let one = NonZeroUsize::MIN;
    let (engine, feeds) = embedded::open(
        &embedded::Settings {
            folder: folder.to_owned(),
            queue_drafts: 16,
            queue_bytes: 1 << 20,
            feed_groups: 2,
            page_bytes: 4096,
            file_bytes: 0,
            rooms: ROOMS.len(),
            rooms_per_user: 0,
            users: 100,
            readers: one,
            retention: Retention::default(),
        },
        Arc::default(),
    )
    .unwrap();
    let (engine, feeds) = numbers.wrap(engine, feeds);
    let settings = Settings {
        ring_batches: 1024,
        ring_bytes: 1 << 20,
        inbox: 4,
        open_rooms: ROOMS.len(),
        memberships: 1000,
        memberships_per_user: None,
        rooms_per_stream: ROOMS.len(),
        members_per_room: 1000,
        presence_max: 2,
        history_bytes: 1 << 20,
        waiting_changes: 10,
        watchers: 1,
    };
    let (hub, task) = start(&settings, engine.clone(), feeds.rooms, Arc::default());
    (engine, hub, task)
}

// Long: one match over all steps, on the state that they share.
async fn run(numbers: Numbers, steps: Vec<Step>) {
    let folder = tempfile::tempdir().unwrap();
    let (engine, hub, task) = hub_with(folder.path(), numbers);

    // What the witness has received was batched; it never leaves.
    let mut witness = Subscriber::join(&hub, &[0, 1, 2]).await;
    let mut present: Vec<Subscriber> = Vec::new();
    let mut left: Vec<Left> = Vec::new();
    let mut published: BTreeMap<&str, Vec<(u64, String)>> = BTreeMap::new();
    let mut waiting: Vec<(&str, String, Receipt)> = Vec::new();

    for (n, step) in steps.into_iter().enumerate() {
        match step {
            Step::Publish { room } => {
                let (room, text) = (ROOMS[room], n.to_string());
                let receipt = hub.append(draft(room, &text)).await.unwrap();
                waiting.push((room, text, receipt));
            }
            Step::Join { rooms } => present.push(Subscriber::join(&hub, &rooms).await),
            Step::Leave { which } if which < present.len() => {
                witness.drain();
                let batched = ROOMS.into_iter().map(|room| (room, witness.last_seen(room))).collect();
                let mut subscriber = present.remove(which);
                subscriber.drain();
                left.push(Left { subscriber, batched });
            }
            Step::Leave { .. } => {}
            Step::Settle => settle(&mut waiting, &mut published).await,
        }
    }
    settle(&mut waiting, &mut published).await;

    // Everything is durable, so everything reaches the subscribers that stayed.
    let last = |room: &str| published.get(room).and_then(|seen| seen.last()).map_or(0, |(seq, _)| *seq);
    let all_are_level = async {
        for subscriber in present.iter_mut().chain([&mut witness]) {
            while subscriber.heads.iter().any(|(room, head)| subscriber.last_seen(room).max(*head) < last(room)) {
                subscriber.drain();
                tokio::task::yield_now().await;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), all_are_level)
        .await
        .expect("a durable record reaches every subscriber that stays");
    let batched: BTreeMap<_, _> = ROOMS.into_iter().map(|room| (room, last(room))).collect();
    left.extend(present.into_iter().chain([witness]).map(|subscriber| Left { subscriber, batched: batched.clone() }));

    for Left { subscriber, batched } in &left {
        for (room, head) in &subscriber.heads {
            let expected: Vec<_> =
                published.get(room).into_iter().flatten().filter(|(seq, _)| seq > head).cloned().collect();
            let seen = subscriber.seen.get(room).cloned().unwrap_or_default();
            assert!(expected.starts_with(&seen), "in order and without holes from {head}: {seen:?} of {expected:?}");
            let missed = &expected[seen.len()..];
            assert!(
                missed.iter().all(|(seq, _)| *seq > batched[room]),
                "batched before the leave, but missed: {missed:?}"
            );
        }
        let elsewhere = subscriber.seen.keys().find(|room| !subscriber.heads.contains_key(*room));
        assert_eq!(elsewhere, None, "nothing of a room that was not joined");
    }

    drop(left);
    while hub.counts().await.unwrap() != Counts::default() {
        tokio::task::yield_now().await;
    }
    engine.close().await;
    task.await.unwrap();
}

async fn settle(
    waiting: &mut Vec<(&'static str, String, Receipt)>,
    published: &mut BTreeMap<&'static str, Vec<(u64, String)>>,
) {
    for (room, text, receipt) in waiting.drain(..) {
        let Appended::Accepted { seq, .. } = receipt.await.unwrap() else { panic!("no draft has a key") };
        published.entry(room).or_default().push((seq, text));
    }
}

fn draft(room: &str, text: &str) -> Draft {
    let id = uuid::Uuid::now_v7().to_string();
    Draft::message(RoomName::new(room).unwrap(), "ada".into(), id, false, text.into())
}

fn runtime() -> Runtime {
    runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_subscriber_sees_every_record_above_its_head_in_order_and_without_holes(
        steps in prop::collection::vec(step(), 1..80)
    ) {
        runtime().block_on(run(Numbers::Dense, steps));
    }

    #[test]
    fn subscribers_see_every_record_in_order_also_if_numbers_have_gaps(
        steps in prop::collection::vec(step(), 1..80)
    ) {
        runtime().block_on(run(Numbers::Sparse, steps));
    }
}
