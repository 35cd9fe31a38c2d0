//! Watches against a model, in small chunks, and what only threads can show.

use std::{
    collections::{BTreeMap, BTreeSet},
    thread,
};

use futures_util::FutureExt;
use proptest::prelude::*;

use super::*;
use crate::types::Time;

/// Users by number, and what changes them as the follower does.
struct World {
    watched: Arc<Watches>,
    applied: watch::Sender<u64>,
    revisions: BTreeMap<Uuid, u64>,
    deleted: BTreeSet<Uuid>,
}

impl World {
    fn new(waiting_changes: usize) -> Self {
        let watched = Arc::new(Watches::new(Arc::default(), 1_000, waiting_changes));
        Self { watched, applied: watch::Sender::new(0), revisions: BTreeMap::new(), deleted: BTreeSet::new() }
    }

    fn with_users(count: u128, waiting_changes: usize) -> Self {
        let mut world = Self::new(waiting_changes);
        (0..count).for_each(|n| world.put(n));
        world
    }

    /// Creates a user, or changes it. Nobody comes back who was deleted.
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
        Watcher { watch: self.watched.watch(self.applied.subscribe()).unwrap(), told: BTreeMap::new() }
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

/// A watch, and the last that it told of each user: the revision, and whether the user is there.
struct Watcher {
    watch: Watch,
    told: BTreeMap<Uuid, (u64, bool)>,
}

impl Watcher {
    /// Looks once, at so many; is there perhaps more?
    fn read(&mut self, max: usize) -> bool {
        let Some(news) = self.watch.read(max).unwrap() else { return false };
        assert!(news.len() <= max);
        news.iter().for_each(|change| self.hear(change));
        true
    }

    fn hear(&mut self, change: &UserChange) {
        let id = id(change);
        let now = match change {
            UserChange::Put(user) => (user.revision, true),
            UserChange::Deleted { revision, .. } => (*revision, false),
        };
        if let Some((before, was_there)) = self.told.insert(id, now) {
            assert!(was_there, "{id} is told of after its deletion");
            assert!(before < now.0, "{id} goes from revision {before} to {}", now.0);
        }
    }

    fn read_all(&mut self) {
        while self.read(3) {}
    }

    /// Who is there, at which revision.
    fn content(&self) -> BTreeMap<Uuid, u64> {
        self.told.iter().filter(|(_, (_, is_there))| *is_there).map(|(id, (revision, _))| (*id, *revision)).collect()
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
    fn whoever_has_read_everything_knows_everybody_as_they_are(steps in steps()) {
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
fn a_snapshot_comes_to_its_end_although_everybody_changes_all_the_time() {
    const USERS: u128 = 20;
    let mut world = World::with_users(USERS, 100);
    let mut watcher = world.watch();
    let mut reads = 0;
    while watcher.told.len() < 20 {
        watcher.read(2);
        (0..USERS).for_each(|n| world.put(n));
        reads += 1;
        assert!(reads < 200, "{} users after {reads} reads", watcher.told.len());
    }
}

#[test]
fn who_was_deleted_before_it_was_sent_is_not_told_of() {
    let mut world = World::with_users(6, 100);
    let mut watcher = world.watch();
    watcher.read(3);
    (0..6).for_each(|n| world.delete(n));
    watcher.read_all();
    let told: Vec<_> = (0..3).map(|n| (Uuid::from_u128(n), (2, false))).collect();
    assert!(watcher.told.into_iter().eq(told), "three were sent and are gone");
}

#[test]
fn who_is_further_behind_than_changes_are_kept_is_ended() {
    let mut world = World::with_users(6, 3);
    let mut watcher = world.watch();
    watcher.read_all();
    (0..10).for_each(|n| world.put(n % 3));
    watcher.read_all();
    assert_eq!(watcher.content(), world.revisions, "as many as may be, however often they change");
    (0..4).for_each(|n| world.put(n));
    assert_eq!(watcher.watch.read(3).unwrap_err(), WatchError::TooSlow { limit: 3 });
    let mut anew = world.watch();
    anew.read_all();
    assert_eq!(anew.content(), world.revisions);
}

#[test]
fn a_watch_waits_for_the_next_change_and_ends_behind_the_last() {
    let mut world = World::with_users(2 * CHUNK as u128, 100);
    let mut watcher = world.watch();
    let next = |watcher: &mut Watcher| {
        let changes = watcher.watch.next().now_or_never()?;
        Some(changes.map(|changes| changes.iter().map(|change| id(change).as_u128()).collect::<Vec<_>>()))
    };
    let everybody: Vec<_> = (0..2 * CHUNK as u128).collect();
    assert_eq!(next(&mut watcher), Some(Ok(everybody[..CHUNK].to_vec())));
    assert_eq!(next(&mut watcher), Some(Ok(everybody[CHUNK..].to_vec())));
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
fn changes_of_users_that_the_snapshot_has_yet_to_reach_do_not_hold_it_up() {
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
fn only_who_was_sent_and_is_there_is_told_again() {
    let mut world = World::with_users(6, 100);
    let mut watcher = world.watch();
    let again = |watcher: &Watcher, n| watcher.watch.again(Uuid::from_u128(n)).map(|user| user.revision);
    assert_eq!(again(&watcher, 0), None);
    watcher.read(3);
    world.put(1);
    world.delete(2);
    assert_eq!([0, 1, 2, 3].map(|n| again(&watcher, n)), [Some(1), Some(2), None, None]);
    watcher.read_all();
    assert_eq!([3, 9].map(|n| again(&watcher, n)), [Some(1), None]);
}

#[test]
fn what_changes_on_another_thread_while_a_chunk_is_read_is_neither_lost_nor_told_twice() {
    const USERS: u128 = 64;
    let mut world = World::with_users(USERS, 1_000);
    for _ in 0..1_000 {
        let mut watcher = world.watch();
        thread::scope(|scope| {
            scope.spawn(|| while watcher.watch.sent < EVERYBODY && watcher.read(8) {});
            // Each of them once, so that nothing later makes good what a watcher missed.
            (0..USERS).for_each(|n| world.put(n));
        });
        watcher.read_all();
        assert_eq!(watcher.content(), world.revisions);
    }
}
