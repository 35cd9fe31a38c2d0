//! Watches in small chunks, compared with a model, and under concurrent changes.

use std::{
    collections::{BTreeMap, BTreeSet},
    thread,
};

use futures_util::FutureExt;
use proptest::prelude::*;

use super::*;
use crate::{types::Time, users::watched_model::user_id};

/// Users by number, changed as the task that follows the feed does.
struct World {
    watched: Arc<WatchedModel>,
    applied: watch::Sender<u64>,
    revisions: BTreeMap<Uuid, u64>,
    deleted: BTreeSet<Uuid>,
}

impl World {
    fn new(waiting_changes: usize) -> Self {
        let watched = Arc::new(WatchedModel::new(Arc::default(), 1_000, waiting_changes));
        Self { watched, applied: watch::Sender::new(0), revisions: BTreeMap::new(), deleted: BTreeSet::new() }
    }

    fn with_users(count: u128, waiting_changes: usize) -> Self {
        let mut world = Self::new(waiting_changes);
        (0..count).for_each(|n| world.put(n));
        world
    }

    /// Creates or changes a user. A deleted user stays deleted.
    fn put(&mut self, n: u128) {
        let id = Uuid::from_u128(n);
        if self.deleted.contains(&id) {
            return;
        }
        let revision = self.revisions.entry(id).or_default();
        *revision += 1;
        let user = Arc::new(user(id, *revision));
        self.apply(vec![UserChange::Put(user)]);
    }

    fn delete(&mut self, n: u128) {
        let id = Uuid::from_u128(n);
        if let Some(revision) = self.revisions.remove(&id) {
            self.deleted.insert(id);
            self.apply(vec![UserChange::Deleted { id, revision: revision + 1 }]);
        }
    }

    fn apply(&self, changes: Vec<UserChange>) {
        self.watched.apply(changes);
        self.applied.send_modify(|version| *version += 1);
    }

    fn watch(&self) -> Watcher {
        Watcher { watch: self.watched.watch(self.applied.subscribe()).unwrap(), seen: BTreeMap::new() }
    }
}

fn user(id: Uuid, revision: u64) -> User {
    let username = id.to_string();
    User {
        id,
        username_key: username.clone(),
        username,
        email: String::new(),
        email_key: String::new(),
        password: None,
        roles: vec![],
        revision,
        created_at: Time(0),
        updated_at: Time(0),
    }
}

/// A watch, and the last it sent of each user: the revision, and whether the user exists.
struct Watcher {
    watch: UserWatch,
    seen: BTreeMap<Uuid, (u64, bool)>,
}

impl Watcher {
    /// Reads once, up to `max` users. Returns whether there may be more.
    fn read(&mut self, max: usize) -> bool {
        let Some(changes) = self.watch.read(max).unwrap() else { return false };
        assert!(changes.len() <= max);
        changes.iter().for_each(|change| self.see(change));
        true
    }

    fn see(&mut self, change: &UserChange) {
        let id = user_id(change);
        let now = match change {
            UserChange::Put(user) => (user.revision, true),
            UserChange::Deleted { revision, .. } => (*revision, false),
        };
        if let Some((before, existed)) = self.seen.insert(id, now) {
            assert!(existed, "{id} is sent after its deletion");
            assert!(before < now.0, "{id} goes from revision {before} to {}", now.0);
        }
    }

    fn read_all(&mut self) {
        while self.read(3) {}
    }

    /// The existing users and their revisions.
    fn content(&self) -> BTreeMap<Uuid, u64> {
        self.seen.iter().filter(|(_, (_, exists))| *exists).map(|(id, (revision, _))| (*id, *revision)).collect()
    }
}

#[derive(Debug, Clone)]
enum Step {
    Put { n: u128 },
    Delete { n: u128 },
    Watch,
    Read { which: usize, max: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..12_u128).prop_map(|n| Step::Put { n }),
        1 => (0..12_u128).prop_map(|n| Step::Delete { n }),
        1 => Just(Step::Watch),
        5 => (0..6_usize, 1..4_usize).prop_map(|(which, max)| Step::Read { which, max }),
    ];
    prop::collection::vec(step, 0..150)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_watch_that_has_read_everything_matches_the_users(steps in steps()) {
        let mut world = World::new(100);
        let mut watchers = Vec::new();
        for step in steps {
            match step {
                Step::Put { n } => world.put(n),
                Step::Delete { n } => world.delete(n),
                Step::Watch => watchers.push(world.watch()),
                Step::Read { which, max } => {
                    let count = watchers.len().max(1);
                    if let Some(watcher) = watchers.get_mut(which % count) && !watcher.read(max) {
                        prop_assert_eq!(watcher.content(), world.revisions.clone());
                    }
                }
            }
        }
        for mut watcher in watchers {
            watcher.read_all();
            prop_assert_eq!(watcher.content(), world.revisions.clone());
        }
    }
}

#[test]
fn a_snapshot_ends_although_all_users_change_all_the_time() {
    const USERS: u128 = 20;
    let mut world = World::with_users(USERS, 100);
    let mut watcher = world.watch();
    let mut reads = 0;
    while watcher.seen.len() < 20 {
        watcher.read(2);
        (0..USERS).for_each(|n| world.put(n));
        reads += 1;
        assert!(reads < 200, "{} users after {reads} reads", watcher.seen.len());
    }
}

#[test]
fn a_user_deleted_before_it_was_sent_is_never_sent() {
    let mut world = World::with_users(6, 100);
    let mut watcher = world.watch();
    watcher.read(3);
    (0..6).for_each(|n| world.delete(n));
    watcher.read_all();
    let sent: Vec<_> = (0..3).map(|n| (Uuid::from_u128(n), (2, false))).collect();
    assert!(watcher.seen.into_iter().eq(sent), "three were sent, and then deleted");
}

#[test]
fn a_watch_further_behind_than_changes_are_kept_ends() {
    let mut world = World::with_users(6, 3);
    let mut watcher = world.watch();
    watcher.read_all();
    (0..10).for_each(|n| world.put(n % 3));
    watcher.read_all();
    assert_eq!(watcher.content(), world.revisions, "the limit counts users, not changes");
    (0..4).for_each(|n| world.put(n));
    assert_eq!(watcher.watch.read(3).unwrap_err(), WatchError::TooSlow { limit: 3 });
    let mut anew = world.watch();
    anew.read_all();
    assert_eq!(anew.content(), world.revisions);
}

#[test]
fn a_watch_waits_for_the_next_change_and_ends_after_the_last() {
    let mut world = World::with_users(2 * CHUNK as u128, 100);
    let mut watcher = world.watch();
    let next = |watcher: &mut Watcher| {
        let changes = watcher.watch.next().now_or_never()?;
        Some(changes.map(|changes| changes.iter().map(|change| user_id(change).as_u128()).collect::<Vec<_>>()))
    };
    let all: Vec<_> = (0..2 * CHUNK as u128).collect();
    assert_eq!(next(&mut watcher), Some(Ok(all[..CHUNK].to_vec())));
    assert_eq!(next(&mut watcher), Some(Ok(all[CHUNK..].to_vec())));
    assert_eq!(next(&mut watcher), None);
    world.put(7);
    assert_eq!(next(&mut watcher), Some(Ok(vec![7])));
    assert_eq!(next(&mut watcher), None);
    world.delete(7);
    drop(world);
    assert_eq!(next(&mut watcher), Some(Ok(vec![7])));
    assert_eq!(next(&mut watcher), Some(Err(WatchError::Closed)));
}

#[test]
fn changes_of_users_not_yet_in_the_snapshot_do_not_delay_it() {
    let users = 3 * CHUNK as u128;
    let mut world = World::with_users(users, 1_000);
    let mut watcher = world.watch();
    let first = |watcher: &mut Watcher| match watcher.watch.next().now_or_never()?.unwrap().first()? {
        UserChange::Put(user) => Some((user.id.as_u128(), user.revision)),
        UserChange::Deleted { .. } => None,
    };
    assert_eq!(first(&mut watcher), Some((0, 1)));
    (users / 3..users).for_each(|n| world.put(n));
    assert_eq!(first(&mut watcher), Some((users / 3, 2)));
    assert_eq!(first(&mut watcher), Some((users / 3 * 2, 2)));
}

#[test]
fn only_existing_users_that_were_sent_are_resent() {
    let mut world = World::with_users(6, 100);
    let mut watcher = world.watch();
    let resend = |watcher: &Watcher, n| watcher.watch.resend(Uuid::from_u128(n)).map(|user| user.revision);
    assert_eq!(resend(&watcher, 0), None);
    watcher.read(3);
    world.put(1);
    world.delete(2);
    assert_eq!([0, 1, 2, 3].map(|n| resend(&watcher, n)), [Some(1), Some(2), None, None]);
    watcher.read_all();
    assert_eq!([3, 9].map(|n| resend(&watcher, n)), [Some(1), None]);
}

#[test]
fn a_change_on_another_thread_while_a_chunk_is_read_is_sent_once() {
    const USERS: u128 = 64;
    let mut world = World::with_users(USERS, 1_000);
    for _ in 0..1_000 {
        let mut watcher = world.watch();
        thread::scope(|scope| {
            scope.spawn(|| while watcher.watch.sent < SNAPSHOT_END && watcher.read(8) {});
            // Each user changes once, so that no later change hides a missed one.
            (0..USERS).for_each(|n| world.put(n));
        });
        watcher.read_all();
        assert_eq!(watcher.content(), world.revisions);
    }
}
