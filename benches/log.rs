//! Appending to the log of the embedded engine, and the time that SQLite alone takes for the same rows.
//!
//! A round appends a number of drafts with a limit on those in flight: whenever the oldest is durable, the next one follows. The writer forms
//! the groups as usual.
//!
//! The baselines are one connection to a file with the same tables, the same pragmas and no other thread: `groups of 512` inserts and
//! commits, `one commit` does so with a single row. Their time is that of the fsync and the inserts.

#![allow(clippy::unwrap_used, reason = "a benchmark that panics has failed")]

mod support;

use std::{
    collections::VecDeque,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};
use rialto::engine::{Appended, Draft, Engine, Receipt};
use rialto::types::Time;
use rusqlite::{Connection, TransactionBehavior, params};
use tokio::runtime::Runtime;

const GROUP: usize = 512;

async fn settled(receipt: Receipt) {
    assert!(matches!(receipt.await.unwrap(), Appended::Accepted { .. }), "no draft has a key");
}

async fn append(engine: Arc<dyn Engine>, inflight: usize, drafts: Vec<Draft>) -> Duration {
    let work = async {
        let mut waiting = VecDeque::with_capacity(inflight);
        for draft in drafts {
            if waiting.len() == inflight
                && let Some(oldest) = waiting.pop_front()
            {
                settled(oldest).await;
            }
            waiting.push_back(engine.append(draft).await.unwrap());
        }
        for receipt in waiting {
            settled(receipt).await;
        }
    };
    support::timed(work).await
}

fn drafts(count: usize) -> Vec<Draft> {
    vec![support::draft(); count]
}

fn appending(criterion: &mut Criterion, runtime: &Runtime) {
    let mut benches = criterion.benchmark_group("appending");
    benches.sampling_mode(SamplingMode::Flat);
    for inflight in [1, 64, GROUP] {
        let folder = tempfile::tempdir().unwrap();
        let (engine, mut feeds) = {
            let _inside = runtime.enter();
            support::open(folder.path())
        };
        let feed = runtime.spawn(async move { while feeds.rooms.recv().await.is_some() {} });
        benches.throughput(Throughput::Elements(inflight as u64));
        benches.bench_function(BenchmarkId::new("in flight", inflight), |bencher| {
            bencher.iter_custom(|rounds| {
                let drafts = drafts(usize::try_from(rounds).unwrap() * inflight);
                // In a worker of the runtime, where streams run.
                let appended = runtime.spawn(append(Arc::clone(&engine), inflight, drafts));
                runtime.block_on(appended).unwrap()
            });
        });
        runtime.block_on(async {
            engine.close().await;
            feed.await.unwrap();
        });
    }
    benches.finish();
}

/// SQLite alone.
struct Bare {
    connection: Connection,
    seq: u64,
}

impl Bare {
    /// In the tables of an existing engine, in a room that a message has created.
    fn open(folder: &Path, runtime: &Runtime) -> Self {
        runtime.block_on(async {
            let (engine, _feeds) = support::open(folder);
            settled(engine.append(support::draft()).await.unwrap()).await;
            engine.close().await;
        });
        let connection = Connection::open(folder.join("rialto.db")).unwrap();
        let pragmas = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;
                       PRAGMA journal_size_limit = 67108864;";
        connection.execute_batch(pragmas).unwrap();
        Self { connection, seq: 1 }
    }

    fn commit(&mut self, drafts: &[Draft]) {
        let time = Time::now();
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
        {
            let insert = "INSERT INTO messages (room_id, seq, time, user_id, id, keyed, text)
                          VALUES (1, ?, ?, ?, ?, ?, ?)";
            let mut insert = transaction.prepare_cached(insert).unwrap();
            for draft in drafts {
                self.seq += 1;
                insert.execute(params![self.seq, time.0, draft.user_id, draft.id, draft.keyed, draft.text]).unwrap();
            }
        }
        transaction.commit().unwrap();
    }
}

fn baseline(criterion: &mut Criterion, runtime: &Runtime) {
    let mut benches = criterion.benchmark_group("SQLite alone");
    benches.sampling_mode(SamplingMode::Flat);
    for (name, group) in [("one commit", 1), ("groups of 512", GROUP)] {
        let folder = tempfile::tempdir().unwrap();
        let mut bare = Bare::open(folder.path(), runtime);
        let drafts = drafts(group);
        benches.throughput(Throughput::Elements(group as u64));
        benches.bench_function(name, |bencher| {
            bencher.iter_custom(|rounds| {
                let began = Instant::now();
                for _ in 0..rounds {
                    bare.commit(&drafts);
                }
                began.elapsed()
            });
        });
    }
    benches.finish();
}

fn main() {
    let mut criterion = support::criterion();
    let runtime = support::runtime();
    appending(&mut criterion, &runtime);
    baseline(&mut criterion, &runtime);
    criterion.final_summary();
}
