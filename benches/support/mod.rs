//! Shared by the benchmarks: an engine on a real folder, and drafts for it.

#![allow(dead_code, unreachable_pub, reason = "every benchmark is a program of its own, and none uses all of it")]

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use criterion::Criterion;
use rialto::{
    config::Config,
    engine::{Draft, Engine, Feeds, Retention, embedded},
    types::RoomName,
};
use tokio::runtime::{Builder, Runtime};

/// The text of a chat message.
pub const TEXT: usize = 100;

/// Short samples: all benchmarks together take less than three minutes.
pub fn criterion() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
        .sample_size(20)
        .configure_from_args()
}

/// A runtime like the server's: one worker per core.
pub fn runtime() -> Runtime {
    Builder::new_multi_thread().enable_all().build().unwrap()
}

/// The embedded engine with the server's defaults. Must be called within a runtime.
pub fn open(folder: &Path) -> (Arc<dyn Engine>, Feeds) {
    let config = Config::default();
    let settings = embedded::Settings {
        folder: folder.to_owned(),
        queue_drafts: config.storage.max_queued_messages,
        queue_bytes: config.storage.max_queued_bytes,
        feed_groups: config.storage.max_queued_groups,
        page_bytes: config.storage.max_page_bytes,
        file_bytes: config.storage.max_file_bytes.0,
        rooms: config.storage.max_rooms,
        rooms_per_user: 0,
        users: config.storage.max_users,
        readers: config.storage.max_readers,
        retention: Retention::default(),
    };
    let (engine, feeds) = embedded::open(&settings, Arc::default()).unwrap();
    (engine, feeds)
}

/// A message without a client id: the server generates one.
pub fn draft() -> Draft {
    let id = uuid::Uuid::now_v7().to_string();
    Draft::message(RoomName::default(), "ada".into(), id, false, "x".repeat(TEXT))
}

/// Returns how long the work takes.
pub async fn timed(work: impl Future<Output = ()>) -> Duration {
    let began = Instant::now();
    work.await;
    began.elapsed()
}
