//! Clauses of `Engine`: sealing and closing.

use super::{
    support::{TestEngine, accepted, draft, read_all, room, settle, take},
    users::user,
};
use crate::engine::{Error, UserWrite, WriteError};

pub(crate) async fn after_seal_drafts_are_refused_and_users_can_be_written(store: impl TestEngine) {
    let (engine, mut feeds) = store.open().await;
    let receipts = [engine.append(draft("a", "1")).await.unwrap(), engine.append(draft("a", "2")).await.unwrap()];
    engine.seal().await;
    for receipt in receipts {
        accepted(receipt.await.map_err(|refused| refused.error));
    }
    take(&mut feeds.rooms, 2).await;
    assert_eq!(feeds.rooms.recv().await, None, "the feed ends after what was accepted");
    assert!(matches!(settle(&*engine, draft("a", "late")).await, Err(Error::Sealed)));
    engine.write_users(vec![UserWrite::Create(user("ada", ""))]).await.unwrap();
    assert_eq!(read_all(&*engine, "a").await.len(), 2, "reads continue");
}

pub(crate) async fn after_close_everything_accepted_is_stored_and_nothing_more_is_accepted(store: impl TestEngine) {
    let (engine, feeds) = store.open().await;
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
    let (engine, _feeds) = store.open().await;
    assert_eq!(read_all(&*engine, "a").await.len(), 20);
}
