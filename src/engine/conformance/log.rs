//! The clauses about drafts: their order, their keys, and how many rooms they make.

use std::{collections::BTreeMap, sync::Arc};

use super::{TestEngine, accepted, append, draft, first, keyed, read_all, room, settle, take};
use crate::engine::{Draft, Engine, Error, Retention};

pub(crate) async fn seq_increases_from_one_in_the_order_of_appends(place: impl TestEngine) {
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

pub(crate) async fn what_finds_no_place_at_once_comes_back_and_is_nowhere(place: impl TestEngine) {
    let (engine, feeds) = place.open().await;
    let (mut taken, mut receipts) = (Vec::new(), Vec::new());
    // Nobody takes from the feed: sooner or later there is no place.
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

pub(crate) async fn records_come_out_of_the_feed_once_and_in_order(place: impl TestEngine) {
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

pub(crate) async fn a_keyed_draft_is_appended_once(place: impl TestEngine) {
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

pub(crate) async fn keys_are_apart_by_room_and_by_user(place: impl TestEngine) {
    let (engine, _feeds) = place.open().await;
    for (name, user) in [("a", "ada"), ("a", "bob"), ("b", "ada")] {
        accepted(settle(&*engine, keyed(name, user, "k", "text")).await);
    }
}

pub(crate) async fn a_key_is_remembered_over_a_restart(place: impl TestEngine) {
    let (engine, feeds) = place.open().await;
    let seq = accepted(settle(&*engine, keyed("a", "ada", "k", "first")).await);
    engine.close().await;
    drop((engine, feeds));
    let (engine, _feeds) = place.open().await;
    assert_eq!(first(settle(&*engine, keyed("a", "ada", "k", "again")).await).seq, seq);
}

pub(crate) async fn appends_of_many_tasks_are_all_kept(place: impl TestEngine) {
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

pub(crate) async fn a_room_too_many_is_refused_and_the_others_go_on(place: impl TestEngine) {
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

/// What becomes of a message of this user.
async fn say(engine: &dyn Engine, user_id: &str, name: &str) -> Result<(), Error> {
    settle(engine, Draft { user_id: user_id.into(), ..draft(name, "text") }).await.map(drop)
}

pub(crate) async fn the_rooms_of_a_user_are_limited_and_outlive_a_restart(place: impl TestEngine) {
    let (engine, feeds) = place.open_with(Retention::default(), 2).await;
    for (user_id, name) in [("ada", "a"), ("bob", "b"), ("ada", "c"), ("ada", "b"), ("bob", "a")] {
        say(&*engine, user_id, name).await.unwrap();
    }
    let refused = engine.append(draft("d", "text")).await.unwrap().await.unwrap_err();
    assert!(matches!(refused.error, Error::TooManyRoomsOfUser { limit: 2 }));
    assert_eq!(refused.draft.unwrap().text, "text", "given back: it is not in the log");
    assert_eq!(engine.room(&room("d")).await.unwrap(), None);
    say(&*engine, "ada", "c").await.expect("where there is a room, it goes on");
    say(&*engine, "bob", "d").await.expect("another may make it");
    say(&*engine, "ada", "d").await.expect("and then it is there for all");
    engine.close().await;
    drop((engine, feeds));

    let (engine, _feeds) = place.open_with(Retention::default(), 2).await;
    for user_id in ["ada", "bob"] {
        let refused = say(&*engine, user_id, "e").await;
        assert!(matches!(refused, Err(Error::TooManyRoomsOfUser { limit: 2 })), "{user_id}: {refused:?}");
    }
    for name in ["e", "f", "g"] {
        say(&*engine, "", name).await.expect("nobody has no limit");
    }
    say(&*engine, "eve", "h").await.unwrap();
    let refused = say(&*engine, "eve", "i").await;
    assert!(matches!(refused, Err(Error::TooManyRooms { limit: 8 })), "of all there are too many: {refused:?}");
}

pub(crate) async fn rooms_of_users_are_counted_only_where_they_are_limited(place: impl TestEngine) {
    let (engine, feeds) = place.open().await;
    for name in ["a", "b", "c"] {
        say(&*engine, "ada", name).await.unwrap();
    }
    engine.close().await;
    drop((engine, feeds));
    // Whose they are was kept all the same.
    let (engine, _feeds) = place.open_with(Retention::default(), 3).await;
    assert!(matches!(say(&*engine, "ada", "d").await, Err(Error::TooManyRoomsOfUser { limit: 3 })));
    say(&*engine, "bob", "d").await.unwrap();
}
