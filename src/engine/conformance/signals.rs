//! Clauses of `Signals`.

use super::support::{TestEngine, append, read_all, room};
use crate::{
    engine::{FeedItem, Signal},
    types::StreamId,
};

fn typing(number: u64) -> Signal {
    Signal::Typing { user_id: "ada".into(), stream: StreamId { node: 1, number } }
}

pub(crate) async fn signals_come_out_of_the_feed_and_are_not_in_the_log(store: impl TestEngine) {
    let (engine, mut feeds) = store.open().await;
    engine.signal(room("a"), typing(1));
    assert_eq!(feeds.rooms.recv().await, Some(FeedItem::Signal { room: room("a"), signal: typing(1) }));
    append(&*engine, "b", "text").await;
    engine.signal(room("b"), typing(2));
    assert!(matches!(feeds.rooms.recv().await, Some(FeedItem::Records(_))));
    assert_eq!(feeds.rooms.recv().await, Some(FeedItem::Signal { room: room("b"), signal: typing(2) }));
    assert_eq!(engine.position(&room("a")).await.unwrap().head, 0);
    assert_eq!(read_all(&*engine, "b").await.len(), 1);
}

pub(crate) async fn a_full_feed_drops_signals_and_counts_them(store: impl TestEngine) {
    let (engine, mut feeds) = store.open().await;
    let dropped = &store.metrics().dropped_signals;
    let fits = (0..1 << 20).find(|stream| {
        engine.signal(room("a"), typing(*stream));
        dropped.get() > 0
    });
    let fits = fits.expect("a feed is bounded");
    engine.signal(room("a"), typing(fits));
    assert_eq!(dropped.get(), 2);
    for stream in 0..fits {
        assert_eq!(feeds.rooms.recv().await, Some(FeedItem::Signal { room: room("a"), signal: typing(stream) }));
    }
    engine.signal(room("a"), typing(fits));
    assert_eq!(
        feeds.rooms.recv().await,
        Some(FeedItem::Signal { room: room("a"), signal: typing(fits) }),
        "there is space again"
    );
    engine.close().await;
    engine.signal(room("a"), typing(0));
    assert_eq!(feeds.rooms.recv().await, None);
}
