//! What the clauses share: how a test engine is opened, and short ways to append and read.

use std::{sync::Arc, time::Duration};

use tokio::sync::mpsc;
use uuid::Uuid;

use crate::{
    engine::{Appended, Draft, Engine, Error, FeedItem, Feeds, Record, Retention},
    metrics::Metrics,
    types::RoomName,
};

/// The data of a test engine, and how it is opened. Engines allow at most 8 rooms and 100 users, and pages
/// of at most 4 KiB.
pub(crate) trait TestEngine: Send + Sync {
    /// Creates empty data.
    fn new() -> Self;

    /// Opens the engine; the previous one was closed or dropped. `rooms_per_user`: 0 is unlimited.
    async fn open_with(&self, retention: Retention, rooms_per_user: usize) -> (Arc<dyn Engine>, Feeds);

    /// Opens the engine without a limit on rooms per user.
    async fn open_keeping(&self, retention: Retention) -> (Arc<dyn Engine>, Feeds) {
        self.open_with(retention, 0).await
    }

    /// Opens the engine without such a limit and without retention.
    async fn open(&self) -> (Arc<dyn Engine>, Feeds) {
        self.open_keeping(Retention::default()).await
    }

    /// The metrics of its engines.
    fn metrics(&self) -> &Metrics;
}

pub(super) fn room(name: &str) -> RoomName {
    RoomName::new(name).unwrap()
}

pub(super) fn draft(name: &str, text: &str) -> Draft {
    Draft::message(room(name), "ada".into(), Uuid::now_v7().to_string(), false, text.into())
}

pub(super) fn keyed(name: &str, user_id: &str, id: &str, text: &str) -> Draft {
    Draft { user_id: user_id.into(), id: id.into(), keyed: true, ..draft(name, text) }
}

/// Appends a draft and waits for its outcome.
pub(super) async fn settle(engine: &dyn Engine, draft: Draft) -> Result<Appended, Error> {
    let receipt = engine.append(draft).await.map_err(|refused| refused.error)?;
    receipt.await.map_err(|refused| refused.error)
}

/// Appends a text; returns its `seq`.
pub(crate) async fn append(engine: &dyn Engine, name: &str, text: &str) -> u64 {
    accepted(settle(engine, draft(name, text)).await)
}

pub(super) fn accepted(outcome: Result<Appended, Error>) -> u64 {
    match outcome {
        Ok(Appended::Accepted { seq, .. }) => seq,
        other => panic!("not accepted: {other:?}"),
    }
}

/// The first record of a duplicate.
pub(super) fn first(outcome: Result<Appended, Error>) -> Record {
    match outcome {
        Ok(Appended::Duplicate(first)) => *first,
        other => panic!("not a duplicate: {other:?}"),
    }
}

/// Takes the next `n` records from the feed.
pub(super) async fn take(feed: &mut mpsc::Receiver<FeedItem>, n: usize) -> Vec<Record> {
    let mut records = Vec::new();
    while records.len() < n {
        match feed.recv().await.unwrap() {
            FeedItem::Records(group) => records.extend(group),
            signal @ FeedItem::Signal { .. } => panic!("unexpected signal: {signal:?}"),
        }
    }
    assert_eq!(records.len(), n);
    records
}

/// Polls a condition that becomes true without a notification.
pub(crate) async fn until(condition: impl AsyncFn() -> bool) {
    let wait = async {
        while !condition().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await.expect("timed out");
}

pub(super) async fn read_all(engine: &dyn Engine, name: &str) -> Vec<Record> {
    let (mut records, mut after) = (Vec::new(), 0);
    loop {
        let page = engine.read(&room(name), after, 1000).await.unwrap();
        let Some(last) = page.records.last() else { return records };
        after = last.seq;
        records.extend(page.records);
    }
}
