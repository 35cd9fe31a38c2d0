//! The cost of presence, as the number of members visited.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    COUNT_EVERY, Presence,
    listing::{Listing, REMEMBERED},
};
use crate::types::{RoomName, StreamId};

const MEMBERS: usize = 20_000;
const PRESENCE_MAX: usize = 200;

struct World {
    presence: Presence,
    ids: Vec<Arc<str>>,
    now: Instant,
}

impl World {
    fn new(members: usize) -> Self {
        let ids: Vec<_> = (0..=MEMBERS).map(|n| Arc::from(format!("user-{n}"))).collect();
        let presence = Presence::new(RoomName::default(), PRESENCE_MAX);
        let mut world = Self { presence, ids, now: Instant::now() };
        (0..members).for_each(|n| world.enter(n));
        world
    }

    fn enter(&mut self, n: usize) {
        self.presence.enter(Some(&self.ids[n]), self.now);
    }

    fn leave(&mut self, n: usize) {
        self.presence.leave(Some(&self.ids[n]), self.now);
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.presence.check(self.now);
    }

    /// Members visited by this step.
    fn visits(&mut self, step: impl FnOnce(&mut Self)) -> usize {
        let before = self.presence.members.visited();
        step(self);
        let listed = self.presence.listing().map_or(0, |listing| listing.sizes().0);
        assert!(listed <= PRESENCE_MAX + REMEMBERED, "{listed} users are known by name");
        self.presence.members.visited() - before
    }
}

#[test]
fn in_a_room_of_20_000_members_no_operation_visits_a_member() {
    let mut world = World::new(MEMBERS);
    let mut listeners = Vec::new();
    let visits = world.visits(|world| listeners.push(world.presence.listen()));
    assert_eq!((visits, listeners[0].snapshot.len() < 100), (0, true), "the first listener");
    let visits = world.visits(|world| listeners.push(world.presence.listen()));
    assert_eq!(visits, 0, "a further listener");
    let visits = world.visits(|world| listeners.push(world.presence.listen_again()));
    assert_eq!(visits, 0, "a listener that missed something");
    let visits = world.visits(|world| {
        world.enter(MEMBERS);
        world.leave(MEMBERS);
        world.presence.enter(None, world.now);
        world.presence.leave(None, world.now);
        world.presence.typing("ada".into(), StreamId { node: 0, number: 0 }, world.now);
        world.pass(COUNT_EVERY);
    });
    assert_eq!(visits, 0, "joins and leaves");
    listeners.clear();
    let visits = world.visits(|world| {
        world.leave(0);
        assert!(world.presence.audience.is_none());
        world.enter(0);
    });
    assert_eq!(visits, 0, "the last listener has gone");
}

#[test]
fn a_room_that_grows_beyond_presence_max_visits_none_and_one_that_shrinks_lists_the_rest_once() {
    let mut world = World::new(PRESENCE_MAX);
    let mut listener = None;
    let visits = world.visits(|world| listener = Some(world.presence.listen()));
    assert_eq!(visits, PRESENCE_MAX, "the first listener of a room that is listed");
    let visits = world.visits(|world| drop(world.presence.listen()));
    assert_eq!(visits, 0, "a further listener gets the list that is kept");

    let visits = world.visits(|world| (PRESENCE_MAX..MEMBERS).for_each(|n| world.enter(n)));
    assert!(visits == 0 && world.presence.listing().is_none());
    let visits = world.visits(|world| {
        world.pass(COUNT_EVERY);
        (PRESENCE_MAX + 1..MEMBERS).for_each(|n| world.leave(n));
    });
    assert_eq!(visits, 0, "still one too many");
    // Once a second at most, however often the border is crossed.
    let visits = world.visits(|world| {
        world.pass(COUNT_EVERY);
        for _ in 0..100 {
            world.leave(PRESENCE_MAX);
            world.enter(PRESENCE_MAX);
        }
        world.leave(PRESENCE_MAX);
        world.pass(COUNT_EVERY);
    });
    assert!((PRESENCE_MAX..=2 * PRESENCE_MAX).contains(&visits), "{visits}");
    assert_eq!(world.presence.listing().map(|listing| listing.reported().len()), Some(PRESENCE_MAX));
    drop(listener);
}

#[test]
fn a_listed_room_through_which_20_000_users_pass_knows_few_of_them() {
    let mut world = World::new(PRESENCE_MAX - 1);
    let _listener = world.presence.listen();
    let visits = world.visits(|world| {
        for n in PRESENCE_MAX..MEMBERS {
            world.enter(n);
            world.leave(n);
        }
    });
    assert_eq!(visits, 0);
    let sizes = world.presence.listing().map(Listing::sizes);
    assert!(sizes.is_some_and(|(known, due)| known <= PRESENCE_MAX + REMEMBERED && due <= REMEMBERED), "{sizes:?}");
}
