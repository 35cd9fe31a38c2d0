//! Clauses of `Log` about the positions and the list of rooms.

use super::support::{TestEngine, append, draft, read_all, room, settle, take};
use crate::engine::{Position, RoomInfo};

pub(crate) async fn position_is_at_least_what_was_acknowledged(store: impl TestEngine) {
    let (engine, mut feeds) = store.open().await;
    let empty = engine.position(&room("a")).await.unwrap();
    assert_eq!((empty.floor, empty.head), (0, 0));
    for n in 0..50 {
        let seq = append(&*engine, "a", &n.to_string()).await;
        assert!(engine.position(&room("a")).await.unwrap().head >= seq);
        let fed = take(&mut feeds.rooms, 1).await[0].seq;
        assert!(engine.position(&room("a")).await.unwrap().head >= fed);
    }
}

pub(crate) async fn position_and_epoch_survive_a_restart(store: impl TestEngine) {
    let (engine, feeds) = store.open().await;
    append(&*engine, "a", "text").await;
    let before: Position = engine.position(&room("a")).await.unwrap();
    assert_eq!(engine.position(&room("empty")).await.unwrap().epoch, before.epoch, "one epoch for all rooms");
    engine.close().await;
    drop((engine, feeds));
    let (engine, _feeds) = store.open().await;
    assert_eq!(engine.position(&room("a")).await.unwrap(), before);
    assert!(append(&*engine, "a", "text").await > before.head, "seq never goes back");
}

pub(crate) async fn a_cursor_lies_before_the_last_records(store: impl TestEngine) {
    let (engine, _feeds) = store.open().await;
    assert_eq!(engine.cursor_before(&room("none"), 0, 10).await.unwrap(), 0);
    let mut seqs = Vec::new();
    for n in 0..5 {
        seqs.push(append(&*engine, "a", &n.to_string()).await);
        append(&*engine, "b", "between").await;
    }
    for (upto, head) in seqs.iter().enumerate() {
        for count in [0, 1, 2, 4, 5, 6, usize::MAX] {
            let cursor = engine.cursor_before(&room("a"), *head, count).await.unwrap();
            let after: Vec<_> = seqs.iter().copied().filter(|seq| *seq > cursor && seq <= head).collect();
            assert_eq!(after, seqs[(upto + 1).saturating_sub(count)..=upto], "the last {count} up to {head}");
        }
    }
    let beyond = engine.cursor_before(&room("a"), u64::MAX, 2).await.unwrap();
    assert!((seqs[2]..seqs[3]).contains(&beyond), "a head above the room's own is clamped: {beyond}");
}

pub(crate) async fn rooms_are_listed_in_the_order_of_their_names(store: impl TestEngine) {
    let (engine, feeds) = store.open().await;
    let mut expected = Vec::new();
    for name in ["b", "a", "a.b", "a-b", "0"] {
        append(&*engine, name, "first").await;
        let head = append(&*engine, name, "second").await;
        let created_at = read_all(&*engine, name).await[0].time;
        expected.push(RoomInfo { name: room(name), head, created_at });
    }
    expected.sort_by(|a, b| a.name.cmp(&b.name));
    engine.position(&room("asked-about")).await.unwrap();
    assert_eq!(engine.rooms(None, usize::MAX).await.unwrap(), expected);
    for info in &expected {
        assert_eq!(engine.room(&info.name).await.unwrap().as_ref(), Some(info));
    }
    assert_eq!(engine.room(&room("asked-about")).await.unwrap(), None, "nothing was published there");

    engine.close().await;
    drop((engine, feeds));
    let (engine, _feeds) = store.open().await;
    for max in 1..=6 {
        let mut listed: Vec<RoomInfo> = Vec::new();
        loop {
            let page = engine.rooms(listed.last().map(|room| &room.name), max).await.unwrap();
            assert!(page.len() <= max);
            if page.is_empty() {
                break;
            }
            listed.extend(page);
            assert!(listed.len() <= expected.len(), "every room once: {listed:?}");
        }
        assert_eq!(listed, expected, "in pages of {max}");
    }
    assert_eq!(
        engine.rooms(Some(&room("a.a")), 1).await.unwrap()[0].name,
        room("a.b"),
        "after a name that no room has"
    );
    assert_eq!(engine.rooms(None, 0).await.unwrap(), []);
}

pub(crate) async fn a_refused_room_does_not_exist(store: impl TestEngine) {
    let (engine, _feeds) = store.open().await;
    for n in 0..8 {
        append(&*engine, &format!("room{n}"), "text").await;
    }
    settle(&*engine, draft("room8", "text")).await.unwrap_err();
    assert_eq!(engine.rooms(None, usize::MAX).await.unwrap().len(), 8);
    assert_eq!(engine.position(&room("room8")).await.unwrap().head, 0);
}
