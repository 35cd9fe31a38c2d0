//! The steps of the model, in any order and size.

use proptest::prelude::*;

use super::super::ROOMS;

/// Small limits, so that subscribers lag, batches are dropped, and pages are cut and evicted.
#[derive(Debug, Clone)]
pub(super) struct Sizes {
    pub(super) ring_batches: usize,
    pub(super) ring_bytes: usize,
    pub(super) page_bytes: usize,
    pub(super) history_bytes: usize,
    pub(super) readers: usize,
    /// Messages that a room keeps; 0: all.
    pub(super) keep: u64,
}

pub(super) fn sizes() -> impl Strategy<Value = Sizes> {
    let few = prop::sample::select(vec![1, 4 << 10, 64 << 10, 1 << 20]);
    let history = prop::sample::select(vec![1, 64 << 10, 16 << 20]);
    let keep = prop_oneof![1 => Just(0_u64), 1 => 1..100_u64];
    (1..=4_usize, few, 1024..=4096_usize, history, 1..=2_usize, keep).prop_map(
        |(ring_batches, ring_bytes, page_bytes, history_bytes, readers, keep)| Sizes {
            ring_batches,
            ring_bytes,
            page_bytes,
            history_bytes,
            readers,
            keep,
        },
    )
}

#[derive(Debug, Clone)]
pub(super) enum Step {
    /// Publishes `count` messages into a room, without waiting for them to be durable.
    Publish { room: usize, count: usize, bytes: usize },
    /// A new subscriber comes.
    Come,
    /// One of the subscribers joins a room, unless it is in it, while `meanwhile` messages are published there.
    Enter { which: usize, room: usize, from: From, meanwhile: usize },
    /// It reads what is ready, at most `times` times.
    Read { which: usize, times: usize },
    /// It leaves a room.
    Leave { which: usize, room: usize },
    /// It goes.
    Go { which: usize },
    /// What was published so far becomes durable.
    Settle,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum From {
    Live,
    Last(usize),
    /// A percentage of the acknowledged head, plus an offset.
    After {
        percent: u64,
        plus: u64,
        epoch: Epoch,
    },
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Epoch {
    Own,
    Other,
    Any,
}

pub(super) fn step() -> impl Strategy<Value = Step> {
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
