//! Clauses of `Log` about appending: order, keys, and limits on rooms.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;

use super::support::{TestEngine, accepted, append, draft, first, keyed, read_all, room, settle, take};
use crate::engine::{Appended, Draft, Engine, Error, RecordKind, Retention};

pub(crate) async fn seq_increases_from_one_in_the_order_of_appends(store: impl TestEngine) {
    let (engine, _feeds) = store.open().await;
    // All are accepted before the first is awaited: their order is that of the calls.
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

pub(crate) async fn a_draft_that_does_not_fit_the_queue_is_returned_and_not_appended(store: impl TestEngine) {
    let (engine, feeds) = store.open().await;
    let (mut taken, mut receipts) = (Vec::new(), Vec::new());
    // The feed is not read, so that the queue eventually fills.
    for n in 0..200_000 {
        match engine.try_append(draft("a", &n.to_string())) {
            Ok(receipt) => {
                taken.push(n.to_string());
                receipts.push(receipt);
            }
            Err(back) => {
                assert_eq!(back.text, n.to_string());
                break;
            }
        }
    }
    assert!(receipts.len() < 200_000, "the queue is bounded");
    let kept = engine.append(draft("a", "waits"));
    drop(feeds);
    receipts.push(kept.await.unwrap());
    taken.push("waits".to_owned());
    for receipt in receipts {
        accepted(receipt.await.map_err(|refused| refused.error));
    }
    let stored: Vec<_> = read_all(&*engine, "a").await.into_iter().map(|record| record.text).collect();
    assert_eq!(stored, taken);
}

pub(crate) async fn records_come_out_of_the_feed_once_and_in_order(store: impl TestEngine) {
    let (engine, mut feeds) = store.open().await;
    for n in 0..10 {
        append(&*engine, ["a", "b"][n % 2], &n.to_string()).await;
    }
    drop(settle(&*engine, keyed("a", "ada", "k", "once")).await);
    drop(settle(&*engine, keyed("a", "ada", "k", "twice")).await);
    let fed = take(&mut feeds.rooms, 11).await;
    for name in ["a", "b"] {
        let of_room: Vec<_> = fed.iter().filter(|record| record.room == room(name)).cloned().collect();
        assert_eq!(of_room, read_all(&*engine, name).await, "the feed and the log agree");
    }
    engine.close().await;
    assert_eq!(feeds.rooms.recv().await, None, "a duplicate is not fed");
}

pub(crate) async fn a_record_keeps_its_kind_target_and_body(store: impl TestEngine) {
    let (engine, mut feeds) = store.open().await;
    let target = append(&*engine, "a", "first").await;
    let body = Bytes::from_static(b"\0\xff any bytes");
    let drafts = [
        Draft { target: Some(target), body: body.clone(), ..keyed("a", "ada", "k", "both") },
        Draft { target: Some(target), ..draft("a", "target") },
        Draft { body, ..draft("a", "body") },
        draft("a", "neither"),
    ];
    let mut expected = vec![take(&mut feeds.rooms, 1).await.remove(0)];
    for draft in &drafts {
        let (seq, time) = match settle(&*engine, draft.clone()).await {
            Ok(Appended::Accepted { seq, time }) => (seq, time),
            other => panic!("not accepted: {other:?}"),
        };
        expected.push(draft.clone().into_record(seq, time));
    }
    assert!(expected.iter().all(|record| record.kind == RecordKind::Message));
    assert_eq!(take(&mut feeds.rooms, 4).await, expected[1..]);
    assert_eq!(read_all(&*engine, "a").await, expected);
    assert_eq!(first(settle(&*engine, keyed("a", "ada", "k", "again")).await), expected[1]);
}

pub(crate) async fn a_keyed_draft_is_appended_once(store: impl TestEngine) {
    let (engine, _feeds) = store.open().await;
    // Two duplicates that may share the group of the first, and one that cannot.
    let one = engine.append(keyed("a", "ada", "k", "first")).await.unwrap();
    let two = engine.append(keyed("a", "ada", "k", "second")).await.unwrap();
    let seq = accepted(one.await.map_err(|refused| refused.error));
    for again in [
        first(two.await.map_err(|refused| refused.error)),
        first(settle(&*engine, keyed("a", "ada", "k", "third")).await),
    ] {
        assert_eq!(
            (again.seq, again.id.as_str(), again.text.as_str()),
            (seq, "k", "first"),
            "the first record is returned"
        );
    }
    assert_eq!(read_all(&*engine, "a").await.len(), 1);
    // Ids that the client did not choose are not keys.
    let unkeyed = Draft { keyed: false, ..keyed("a", "ada", "k", "other") };
    assert!(accepted(settle(&*engine, unkeyed.clone()).await) > seq);
    accepted(settle(&*engine, unkeyed).await);
}

pub(crate) async fn keys_are_distinct_by_room_and_by_user(store: impl TestEngine) {
    let (engine, _feeds) = store.open().await;
    for (name, user) in [("a", "ada"), ("a", "bob"), ("b", "ada")] {
        accepted(settle(&*engine, keyed(name, user, "k", "text")).await);
    }
}

pub(crate) async fn a_key_survives_a_restart(store: impl TestEngine) {
    let (engine, feeds) = store.open().await;
    let seq = accepted(settle(&*engine, keyed("a", "ada", "k", "first")).await);
    engine.close().await;
    drop((engine, feeds));
    let (engine, _feeds) = store.open().await;
    assert_eq!(first(settle(&*engine, keyed("a", "ada", "k", "again")).await).seq, seq);
}

pub(crate) async fn concurrent_appends_are_all_kept(store: impl TestEngine) {
    let (engine, mut feeds) = store.open().await;
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

pub(crate) async fn a_room_beyond_the_limit_is_refused_and_others_continue(store: impl TestEngine) {
    let (engine, feeds) = store.open().await;
    for n in 0..8 {
        append(&*engine, &format!("room{n}"), "text").await;
    }
    let refused = engine.append(draft("room8", "text")).await.unwrap().await.unwrap_err();
    assert!(matches!(refused.error, Error::TooManyRooms { limit: 8 }));
    assert_eq!(refused.draft.unwrap().text, "text", "a refused draft is returned");
    append(&*engine, "room7", "text").await;
    engine.close().await;
    drop((engine, feeds));
    let (engine, _feeds) = store.open().await;
    assert!(matches!(settle(&*engine, draft("room8", "text")).await, Err(Error::TooManyRooms { .. })));
}

/// Publishes as this user.
async fn publish_as(engine: &dyn Engine, user_id: &str, name: &str) -> Result<(), Error> {
    settle(engine, Draft { user_id: user_id.into(), ..draft(name, "text") }).await.map(drop)
}

pub(crate) async fn rooms_per_creator_are_limited_also_after_a_restart(store: impl TestEngine) {
    let (engine, feeds) = store.open_with(Retention::default(), 2).await;
    for (user_id, name) in [("ada", "a"), ("bob", "b"), ("ada", "c"), ("ada", "b"), ("bob", "a")] {
        publish_as(&*engine, user_id, name).await.unwrap();
    }
    let refused = engine.append(draft("d", "text")).await.unwrap().await.unwrap_err();
    assert!(matches!(refused.error, Error::TooManyRoomsOfUser { limit: 2 }));
    assert_eq!(refused.draft.unwrap().text, "text", "a refused draft is returned");
    assert_eq!(engine.room(&room("d")).await.unwrap(), None);
    publish_as(&*engine, "ada", "c").await.expect("the limit does not affect existing rooms");
    publish_as(&*engine, "bob", "d").await.expect("another user may create it");
    publish_as(&*engine, "ada", "d").await.expect("then it exists for all");
    engine.close().await;
    drop((engine, feeds));

    let (engine, _feeds) = store.open_with(Retention::default(), 2).await;
    for user_id in ["ada", "bob"] {
        let refused = publish_as(&*engine, user_id, "e").await;
        assert!(matches!(refused, Err(Error::TooManyRoomsOfUser { limit: 2 })), "{user_id}: {refused:?}");
    }
    for name in ["e", "f", "g"] {
        publish_as(&*engine, "", name).await.expect("rooms without a user_id are not limited");
    }
    publish_as(&*engine, "eve", "h").await.unwrap();
    let refused = publish_as(&*engine, "eve", "i").await;
    assert!(matches!(refused, Err(Error::TooManyRooms { limit: 8 })), "the limit on all rooms: {refused:?}");
}

pub(crate) async fn creators_are_stored_also_when_they_are_not_limited(store: impl TestEngine) {
    let (engine, feeds) = store.open().await;
    for name in ["a", "b", "c"] {
        publish_as(&*engine, "ada", name).await.unwrap();
    }
    engine.close().await;
    drop((engine, feeds));
    // Their creators were stored nevertheless.
    let (engine, _feeds) = store.open_with(Retention::default(), 3).await;
    assert!(matches!(publish_as(&*engine, "ada", "d").await, Err(Error::TooManyRoomsOfUser { limit: 3 })));
    publish_as(&*engine, "bob", "d").await.unwrap();
}
