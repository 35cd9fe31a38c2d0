//! The clauses of [`Engine`]'s contract, each as a test that every implementation passes.
//!
//! An implementation brings a [`Place`] and calls [`suite!`] in its own tests.

mod users;

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::mpsc;
use uuid::Uuid;

use super::{Appended, Draft, Engine, Error, Fed, Feeds, Position, Record, RoomName, UserWrite, WriteError};
pub(crate) use users::*;

/// Where an engine keeps its data, and how it is opened there.
pub(crate) trait Place: Send + Sync {
    /// An empty one. Its engines take at most 8 rooms, and give pages of at most 4 KiB.
    fn new() -> Self;

    /// Opens the engine; the one before was closed or dropped.
    async fn open(&self) -> (Arc<dyn Engine>, Feeds);
}

/// Declares a test for each clause.
macro_rules! suite {
    ($place:ty) => {
        $crate::engine::conformance::suite!($place:
            seq_increases_from_one_in_the_order_of_appends,
            records_come_out_of_the_feed_once_and_in_order,
            a_keyed_draft_is_appended_once,
            keys_are_apart_by_room_and_by_user,
            a_key_is_remembered_over_a_restart,
            position_is_at_least_what_was_acknowledged,
            position_and_epoch_outlive_a_restart,
            pages_are_cut_by_count_and_by_bytes,
            a_room_too_many_is_refused_and_the_others_go_on,
            appends_of_many_tasks_are_all_kept,
            after_seal_no_more_drafts_are_taken_and_users_go_on,
            after_close_everything_accepted_is_there_and_nothing_more_is_taken,
            users_are_stored_replaced_and_deleted,
            usernames_and_emails_are_unique,
            a_stale_revision_changes_nothing,
            many_users_are_created_all_or_none,
            users_come_out_of_the_feed_in_the_order_of_their_versions,
            users_load_in_pages_in_the_order_of_ids,
        );
    };
    ($place:ty: $($clause:ident,)+) => {
        mod conforms {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $clause() {
                    $crate::engine::conformance::$clause(<$place as $crate::engine::conformance::Place>::new()).await;
                }
            )+
        }
    };
}
pub(crate) use suite;

fn room(name: &str) -> RoomName {
    RoomName::new(name).unwrap()
}

fn draft(name: &str, text: &str) -> Draft {
    Draft { room: room(name), user_id: "ada".into(), id: Uuid::now_v7().to_string(), keyed: false, text: text.into() }
}

fn keyed(name: &str, user_id: &str, id: &str, text: &str) -> Draft {
    Draft { user_id: user_id.into(), id: id.into(), keyed: true, ..draft(name, text) }
}

async fn settle(engine: &dyn Engine, draft: Draft) -> Result<Appended, Error> {
    let receipt = engine.append(draft).await.map_err(|refused| refused.error)?;
    receipt.await.map_err(|refused| refused.error)
}

/// Appends a text, and gives its `seq`.
pub(crate) async fn append(engine: &dyn Engine, name: &str, text: &str) -> u64 {
    accepted(settle(engine, draft(name, text)).await)
}

fn accepted(outcome: Result<Appended, Error>) -> u64 {
    match outcome {
        Ok(Appended::Accepted { seq, .. }) => seq,
        other => panic!("not accepted: {other:?}"),
    }
}

fn first(outcome: Result<Appended, Error>) -> Record {
    match outcome {
        Ok(Appended::Duplicate(first)) => *first,
        other => panic!("no duplicate: {other:?}"),
    }
}

/// The next `n` records of the feed.
async fn take(feed: &mut mpsc::Receiver<Fed>, n: usize) -> Vec<Record> {
    let mut records = Vec::new();
    while records.len() < n {
        match feed.recv().await.unwrap() {
            Fed::Records(group) => records.extend(group),
            signal @ Fed::Signal { .. } => panic!("nobody signalled: {signal:?}"),
        }
    }
    assert_eq!(records.len(), n);
    records
}

async fn read_all(engine: &dyn Engine, name: &str) -> Vec<Record> {
    let (mut records, mut after) = (Vec::new(), 0);
    loop {
        let page = engine.read(&room(name), after, 1000).await.unwrap();
        let Some(last) = page.records.last() else { return records };
        after = last.seq;
        records.extend(page.records);
    }
}

pub(crate) async fn seq_increases_from_one_in_the_order_of_appends(place: impl Place) {
    let (engine, _feeds) = place.open().await;
    // All are accepted before the first is settled: their order is that of the calls.
    let mut receipts = Vec::new();
    for n in 0..20 {
        receipts.push(engine.append(draft(["a", "b"][n % 2], &n.to_string())).await.unwrap());
    }
    let mut seqs: [Vec<u64>; 2] = Default::default();
    for (n, receipt) in receipts.into_iter().enumerate() {
        seqs[n % 2].push(accepted(receipt.await.map_err(|refused| refused.error)));
    }
    for (name, seqs) in ["a", "b"].into_iter().zip(seqs) {
        assert!(seqs[0] >= 1 && seqs.is_sorted_by(|a, b| a < b), "{seqs:?}");
        let stored: Vec<_> = read_all(&*engine, name).await.iter().map(|record| record.seq).collect();
        assert_eq!(stored, seqs);
    }
}

pub(crate) async fn records_come_out_of_the_feed_once_and_in_order(place: impl Place) {
    let (engine, mut feeds) = place.open().await;
    for n in 0..10 {
        append(&*engine, ["a", "b"][n % 2], &n.to_string()).await;
    }
    drop(settle(&*engine, keyed("a", "ada", "k", "once")).await);
    drop(settle(&*engine, keyed("a", "ada", "k", "twice")).await);
    let fed = take(&mut feeds.rooms, 11).await;
    for name in ["a", "b"] {
        let of_room: Vec<_> = fed.iter().filter(|record| record.room == room(name)).cloned().collect();
        assert_eq!(of_room, read_all(&*engine, name).await, "the feed and the log say the same");
    }
    engine.close().await;
    assert_eq!(feeds.rooms.recv().await, None, "a duplicate is not fed");
}

pub(crate) async fn a_keyed_draft_is_appended_once(place: impl Place) {
    let (engine, _feeds) = place.open().await;
    // In one group, and in two.
    let one = engine.append(keyed("a", "ada", "k", "first")).await.unwrap();
    let two = engine.append(keyed("a", "ada", "k", "second")).await.unwrap();
    let seq = accepted(one.await.map_err(|refused| refused.error));
    for again in [
        first(two.await.map_err(|refused| refused.error)),
        first(settle(&*engine, keyed("a", "ada", "k", "third")).await),
    ] {
        assert_eq!((again.seq, again.id.as_str(), again.text.as_str()), (seq, "k", "first"), "the first one counts");
    }
    assert_eq!(read_all(&*engine, "a").await.len(), 1);
    // Ids that were not given as keys are no keys.
    let unkeyed = Draft { keyed: false, ..keyed("a", "ada", "k", "other") };
    assert!(accepted(settle(&*engine, unkeyed.clone()).await) > seq);
    accepted(settle(&*engine, unkeyed).await);
}

pub(crate) async fn keys_are_apart_by_room_and_by_user(place: impl Place) {
    let (engine, _feeds) = place.open().await;
    for (name, user) in [("a", "ada"), ("a", "bob"), ("b", "ada")] {
        accepted(settle(&*engine, keyed(name, user, "k", "text")).await);
    }
}

pub(crate) async fn a_key_is_remembered_over_a_restart(place: impl Place) {
    let (engine, feeds) = place.open().await;
    let seq = accepted(settle(&*engine, keyed("a", "ada", "k", "first")).await);
    engine.close().await;
    drop((engine, feeds));
    let (engine, _feeds) = place.open().await;
    assert_eq!(first(settle(&*engine, keyed("a", "ada", "k", "again")).await).seq, seq);
}

pub(crate) async fn position_is_at_least_what_was_acknowledged(place: impl Place) {
    let (engine, mut feeds) = place.open().await;
    let empty = engine.position(&room("a")).await.unwrap();
    assert_eq!((empty.floor, empty.head), (0, 0));
    for n in 0..50 {
        let seq = append(&*engine, "a", &n.to_string()).await;
        assert!(engine.position(&room("a")).await.unwrap().head >= seq);
        let fed = take(&mut feeds.rooms, 1).await[0].seq;
        assert!(engine.position(&room("a")).await.unwrap().head >= fed);
    }
}

pub(crate) async fn position_and_epoch_outlive_a_restart(place: impl Place) {
    let (engine, feeds) = place.open().await;
    append(&*engine, "a", "text").await;
    let before: Position = engine.position(&room("a")).await.unwrap();
    assert_eq!(engine.position(&room("empty")).await.unwrap().epoch, before.epoch, "one epoch for all rooms");
    engine.close().await;
    drop((engine, feeds));
    let (engine, _feeds) = place.open().await;
    assert_eq!(engine.position(&room("a")).await.unwrap(), before);
    assert!(append(&*engine, "a", "text").await > before.head, "seq never goes back");
}

pub(crate) async fn pages_are_cut_by_count_and_by_bytes(place: impl Place) {
    let (engine, _feeds) = place.open().await;
    let long = "x".repeat(1500);
    let mut seqs = Vec::new();
    for text in ["1", "2", "3", &long, &long, &long, &"y".repeat(9000)] {
        seqs.push(append(&*engine, "a", text).await);
    }
    let page = |after, max| {
        let engine = Arc::clone(&engine);
        async move {
            let page = engine.read(&room("a"), after, max).await.unwrap();
            (page.records.iter().map(|record| record.seq).collect::<Vec<_>>(), page.head)
        }
    };
    let head = seqs[6];
    assert_eq!(page(0, 2).await, (seqs[..2].to_vec(), head));
    assert_eq!(page(seqs[0], 2).await, (seqs[1..3].to_vec(), head));
    assert_eq!(page(seqs[2], 100).await, (seqs[3..5].to_vec(), head), "two of 1,500 bytes fit into 4 KiB");
    assert_eq!(page(seqs[5], 100).await, (seqs[6..].to_vec(), head), "one too large for a page is a page");
    for beyond in [head, head + 1, u64::MAX] {
        assert_eq!(page(beyond, 100).await, (vec![], head));
    }
    assert_eq!(engine.read(&room("none"), 0, 10).await.unwrap().records, []);
}

pub(crate) async fn a_room_too_many_is_refused_and_the_others_go_on(place: impl Place) {
    let (engine, feeds) = place.open().await;
    for n in 0..8 {
        append(&*engine, &format!("room{n}"), "text").await;
    }
    let refused = engine.append(draft("room8", "text")).await.unwrap().await.unwrap_err();
    assert!(matches!(refused.error, Error::TooManyRooms { limit: 8 }));
    assert_eq!(refused.draft.unwrap().text, "text", "given back: it is not in the log");
    append(&*engine, "room7", "text").await;
    engine.close().await;
    drop((engine, feeds));
    let (engine, _feeds) = place.open().await;
    assert!(matches!(settle(&*engine, draft("room8", "text")).await, Err(Error::TooManyRooms { .. })));
}

pub(crate) async fn appends_of_many_tasks_are_all_kept(place: impl Place) {
    let (engine, mut feeds) = place.open().await;
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..8 {
        let engine = Arc::clone(&engine);
        tasks.spawn(async move {
            let mut own = BTreeMap::new();
            for n in 0..50 {
                let text = format!("{task}:{n}");
                own.insert(append(&*engine, "a", &text).await, text);
            }
            own
        });
    }
    let mut acknowledged = BTreeMap::new();
    while let Some(own) = tasks.join_next().await {
        acknowledged.extend(own.unwrap());
    }
    assert_eq!(acknowledged.len(), 400, "no seq twice");
    let stored: BTreeMap<_, _> =
        read_all(&*engine, "a").await.into_iter().map(|record| (record.seq, record.text)).collect();
    assert_eq!(stored, acknowledged);
    let fed = take(&mut feeds.rooms, 400).await;
    assert!(fed.is_sorted_by(|a, b| a.seq < b.seq));
}

pub(crate) async fn after_seal_no_more_drafts_are_taken_and_users_go_on(place: impl Place) {
    let (engine, mut feeds) = place.open().await;
    let receipts = [engine.append(draft("a", "1")).await.unwrap(), engine.append(draft("a", "2")).await.unwrap()];
    engine.seal().await;
    for receipt in receipts {
        accepted(receipt.await.map_err(|refused| refused.error));
    }
    take(&mut feeds.rooms, 2).await;
    assert_eq!(feeds.rooms.recv().await, None, "the feed ends behind what was accepted");
    assert!(matches!(settle(&*engine, draft("a", "late")).await, Err(Error::Sealed)));
    engine.write_users(vec![UserWrite::Create(user("ada", ""))]).await.unwrap();
    assert_eq!(read_all(&*engine, "a").await.len(), 2, "reads go on");
}

pub(crate) async fn after_close_everything_accepted_is_there_and_nothing_more_is_taken(place: impl Place) {
    let (engine, feeds) = place.open().await;
    let mut receipts = Vec::new();
    for n in 0..20 {
        receipts.push(engine.append(draft("a", &n.to_string())).await.unwrap());
    }
    engine.close().await;
    for receipt in receipts {
        accepted(receipt.await.map_err(|refused| refused.error));
    }
    let late = engine.append(draft("a", "late")).await.unwrap_err();
    assert!(matches!(late.error, Error::Stopped));
    assert_eq!(late.draft.unwrap().text, "late");
    assert!(matches!(engine.position(&room("a")).await, Err(Error::Stopped)));
    engine.stopped().await;
    let users = engine.write_users(vec![UserWrite::Create(user("late", ""))]).await;
    assert!(matches!(users, Err(WriteError::Engine(Error::Stopped))));
    drop((engine, feeds));
    let (engine, _feeds) = place.open().await;
    assert_eq!(read_all(&*engine, "a").await.len(), 20);
}
