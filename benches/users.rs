//! A page of 100 users, out of few and out of many users: it should cost the same.
//!
//! Measures the calls that `rpc` makes to [`Users`]. `first` reads the same page repeatedly, so that it is in the processor's caches: it
//! shows the cost of paging itself. `anywhere` starts at another place each time: out of 1,000,000 users, nothing of the page is in a cache,
//! and it shows that cost too.
//!
//! The users come from a feed like an engine's, but without being written to a file: pages read only the model.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark that panics has failed")]
#![allow(clippy::print_stderr, reason = "who waits wants to know for what")]

mod support;

use std::{env, hint::black_box, sync::Arc};

use criterion::{BenchmarkId, Criterion, Throughput};
use rialto::{
    config::Config,
    engine::{User, UserChange, UserChanges},
    types::Time,
    users::{self, Users},
};
use tokio::{runtime::Runtime, sync::mpsc};
use uuid::Uuid;

const PAGE: usize = 100;

/// Users of one change, as `CreateUsers` makes them.
const GROUP: usize = 10_000;

/// Users applied from the feed, in the order of their ids.
async fn create(count: usize) -> (Users, Vec<Uuid>) {
    eprintln!("creating {count} users");
    let folder = tempfile::tempdir().unwrap();
    let (engine, _feeds) = support::open(folder.path());
    let (feed, changes) = mpsc::channel(1);
    let (users, follower) = users::start(Config::default().users, engine, changes, Arc::default()).await.unwrap();

    let everybody: Vec<_> = (0..count).map(|number| Arc::new(user(number))).collect();
    let ids = everybody.iter().map(|user| user.id).collect();
    for (version, group) in (1..).zip(everybody.chunks(GROUP)) {
        let changes = group.iter().cloned().map(UserChange::Put).collect();
        feed.send(UserChanges { version, changes }).await.unwrap();
    }
    drop(feed);
    // The task ends when it has applied everything.
    follower.await.unwrap();
    (users, ids)
}

fn user(number: usize) -> User {
    let (username, email, now) = (format!("user{number}"), format!("user{number}@example.org"), Time::now());
    User {
        id: Uuid::now_v7(),
        username_key: username.clone(),
        username,
        email_key: email.clone(),
        email,
        password: None,
        roles: Vec::new(),
        revision: 1,
        created_at: now,
        updated_at: now,
    }
}

fn paging(criterion: &mut Criterion, runtime: &Runtime, many: usize) {
    let mut benches = criterion.benchmark_group("page of 100 users");
    benches.throughput(Throughput::Elements(PAGE as u64));
    for count in [1_000, many] {
        let (users, ids) = runtime.block_on(create(count));
        let before_a_whole_page = &ids[..count - PAGE];
        benches.bench_function(BenchmarkId::new("first of", count), |bencher| {
            bencher.iter(|| black_box(users.page(None, PAGE)));
        });
        let mut random = fastrand::Rng::with_seed(1);
        benches.bench_function(BenchmarkId::new("anywhere in", count), |bencher| {
            bencher.iter(|| {
                let page = users.page(random.choice(before_a_whole_page).copied(), PAGE);
                assert_eq!(page.len(), PAGE);
                page
            });
        });
    }
    benches.finish();
}

/// Runs everything once as a smoke test: `cargo test --benches`, or `cargo bench -- --test`.
fn is_test() -> bool {
    let given = |flag: &str| env::args().any(|argument| argument == flag);
    given("--test") || !given("--bench")
}

fn main() {
    let mut criterion = support::criterion().sample_size(50);
    let many = if is_test() { 20_000 } else { 1_000_000 };
    paging(&mut criterion, &support::runtime(), many);
    criterion.final_summary();
}
