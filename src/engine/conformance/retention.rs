//! Clauses of `Log` about retention.

use std::{collections::HashMap, num::NonZeroU64, sync::Arc, time::Duration};

use super::support::{TestEngine, accepted, append, draft, first, keyed, read_all, room, settle, until};
use crate::engine::{Engine, Receipt, Retention, RetentionLimits};

/// These limits for every room, checked continuously.
fn keeping(limits: RetentionLimits) -> Retention {
    Retention { limits, interval: Duration::from_millis(1), ..Retention::default() }
}

fn last(messages: u64) -> RetentionLimits {
    RetentionLimits { messages: NonZeroU64::new(messages), age: None }
}

const NOTHING: RetentionLimits = RetentionLimits { messages: None, age: Some(Duration::from_nanos(1)) };

async fn floor_becomes(engine: &dyn Engine, name: &str, seq: u64) {
    until(async || engine.position(&room(name)).await.unwrap().floor == seq).await;
}

async fn append_many(engine: &dyn Engine, name: &str, count: usize) -> Vec<u64> {
    let mut receipts: Vec<Receipt> = Vec::new();
    for n in 0..count {
        receipts.push(engine.append(draft(name, &n.to_string())).await.unwrap());
    }
    let mut seqs = Vec::new();
    for receipt in receipts {
        seqs.push(accepted(receipt.await.map_err(|refused| refused.error)));
    }
    seqs
}

async fn kept(engine: &dyn Engine, name: &str) -> Vec<u64> {
    read_all(engine, name).await.iter().map(|record| record.seq).collect()
}

pub(crate) async fn the_last_messages_are_kept_and_the_head_stays(store: impl TestEngine) {
    let (engine, _feeds) = store.open_keeping(keeping(last(5))).await;
    let few = append_many(&*engine, "few", 5).await;
    let many = append_many(&*engine, "many", 20).await;
    floor_becomes(&*engine, "many", many[14]).await;
    until(async || store.metrics().removed_messages.get() == 15).await;
    let page = engine.read(&room("many"), 0, 100).await.unwrap();
    assert_eq!(page.records.iter().map(|record| record.seq).collect::<Vec<_>>(), many[15..]);
    assert_eq!((page.floor, page.head, page.through), (many[14], many[19], many[19]));
    assert_eq!(engine.position(&room("many")).await.unwrap().head, many[19]);
    let back = engine.read_before(&room("many"), u64::MAX, 100).await.unwrap();
    assert_eq!((back.records, back.floor), (page.records, page.floor));
    let cursor = engine.cursor_before(&room("many"), many[19], 100).await.unwrap();
    assert!((many[14]..many[15]).contains(&cursor), "all that are kept: {cursor}");
    let overtaken = engine.cursor_before(&room("many"), many[3], 2).await.unwrap();
    assert!(overtaken <= many[3], "a reader from there would miss {} messages silently", overtaken - many[3]);
    assert_eq!((kept(&*engine, "few").await, engine.position(&room("few")).await.unwrap().floor), (few, 0));
}

pub(crate) async fn messages_are_removed_when_they_are_too_old(store: impl TestEngine) {
    let young = RetentionLimits { messages: None, age: Some(Duration::from_secs(3600)) };
    let rooms = HashMap::from([(room("young"), young)]);
    let (engine, _feeds) = store.open_keeping(Retention { rooms, ..keeping(NOTHING) }).await;
    let stays = append_many(&*engine, "young", 3).await;
    // Twice: the second time other messages are the oldest.
    for _ in 0..2 {
        let removed = append_many(&*engine, "a", 3).await;
        floor_becomes(&*engine, "a", removed[2]).await;
        assert_eq!(kept(&*engine, "a").await, [] as [u64; 0]);
        assert_eq!(engine.position(&room("a")).await.unwrap().head, removed[2]);
    }
    assert_eq!(kept(&*engine, "young").await, stays);
}

pub(crate) async fn limits_of_a_room_replace_the_general_ones(store: impl TestEngine) {
    let rooms = HashMap::from([(room("all"), RetentionLimits::default()), (room("two"), last(2))]);
    let (engine, _feeds) = store.open_keeping(Retention { rooms, ..keeping(last(1)) }).await;
    let all = append_many(&*engine, "all", 5).await;
    let two = append_many(&*engine, "two", 5).await;
    let others = append_many(&*engine, "others", 5).await;
    floor_becomes(&*engine, "others", others[3]).await;
    floor_becomes(&*engine, "two", two[2]).await;
    assert_eq!(kept(&*engine, "all").await, all);
    assert_eq!(kept(&*engine, "two").await, two[3..]);
    assert_eq!(kept(&*engine, "others").await, others[4..]);
}

pub(crate) async fn a_key_is_removed_with_its_message(store: impl TestEngine) {
    let (engine, _feeds) = store.open_keeping(keeping(last(2))).await;
    let removed = accepted(settle(&*engine, keyed("a", "ada", "k", "first")).await);
    append(&*engine, "a", "between").await;
    let stays = accepted(settle(&*engine, keyed("a", "ada", "l", "first")).await);
    floor_becomes(&*engine, "a", removed).await;
    assert_eq!(
        first(settle(&*engine, keyed("a", "ada", "l", "again")).await).seq,
        stays,
        "its message is still in the log"
    );
    assert!(accepted(settle(&*engine, keyed("a", "ada", "k", "again")).await) > stays);
}

pub(crate) async fn floor_and_head_survive_a_restart_when_every_message_is_removed(store: impl TestEngine) {
    let (engine, feeds) = store.open_keeping(keeping(NOTHING)).await;
    let seqs = append_many(&*engine, "a", 3).await;
    floor_becomes(&*engine, "a", seqs[2]).await;
    let before = engine.position(&room("a")).await.unwrap();
    engine.close().await;
    drop((engine, feeds));
    let (engine, _feeds) = store.open().await;
    assert_eq!(engine.position(&room("a")).await.unwrap(), before);
    let page = engine.read(&room("a"), 0, 10).await.unwrap();
    assert_eq!((page.records.len(), page.through, page.floor, page.head), (0, seqs[2], seqs[2], seqs[2]));
    assert!(append(&*engine, "a", "text").await > seqs[2], "seq never goes back");
    assert_eq!(engine.rooms(None, 10).await.unwrap().len(), 1, "the room still exists");
}

pub(crate) async fn publishing_continues_while_a_backlog_is_removed(store: impl TestEngine) {
    let (engine, feeds) = store.open().await;
    drop(feeds);
    append_many(&*engine, "a", 3000).await;
    let stays = append_many(&*engine, "b", 100).await;
    engine.close().await;
    drop(engine);

    let (engine, feeds) = store.open_keeping(keeping(last(100))).await;
    drop(feeds);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let engine = Arc::clone(&engine);
        tasks.spawn(async move { append_many(&*engine, "a", 50).await });
    }
    let mut published = Vec::new();
    while let Some(seqs) = tasks.join_next().await {
        let seqs = seqs.unwrap();
        assert!(seqs.is_sorted_by(|a, b| a < b));
        published.extend(seqs);
    }
    published.sort_unstable();
    floor_becomes(&*engine, "a", published[99]).await;
    assert_eq!(kept(&*engine, "a").await, published[100..]);
    assert_eq!(kept(&*engine, "b").await, stays);
    until(async || store.metrics().removed_messages.get() == 3100).await;
}
