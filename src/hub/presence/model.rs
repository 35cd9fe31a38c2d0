//! Presence against a model: users come and go, listeners begin and end, and time passes, in any order.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use bytes::{Buf, Bytes};
use proptest::prelude::*;
use prost::Message;
use tokio::{sync::broadcast, time::Instant};

use super::{
    COUNT_EVERY, Presence,
    listing::{CALM, Listing, REMEMBERED},
    report::{Listener, Report},
    typing::TYPING_EVERY,
};
use crate::{
    proto::user::{self, ChatMessage, chat_message::Event},
    types::{RoomName, StreamId},
};

const USERS: [&str; 6] = ["ada", "bob", "cyd", "dan", "eve", "fay"];

#[derive(Debug, Clone, Copy)]
enum Step {
    /// A stream of this user comes, or of an anonymous one.
    Come(Option<usize>),
    /// A stream of a member leaves, or of an anonymous one.
    Go(Option<usize>),
    Listen,
    /// The oldest listener misses reports and listens again.
    Again,
    Unlisten,
    Type(usize),
    Pass(Duration),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let who = || prop_oneof![4 => (0..USERS.len()).prop_map(Some), 1 => Just(None)];
    let step = prop_oneof![
        6 => who().prop_map(Step::Come),
        6 => who().prop_map(Step::Go),
        1 => Just(Step::Listen),
        1 => Just(Step::Again),
        1 => Just(Step::Unlisten),
        1 => (0..USERS.len()).prop_map(Step::Type),
        6 => (0..1_500_u64).prop_map(|millis| Step::Pass(Duration::from_millis(millis))),
        1 => (0..12_u64).prop_map(|seconds| Step::Pass(Duration::from_secs(seconds))),
    ];
    prop::collection::vec(step, 1..150)
}

/// What a client concludes from the reports.
struct Client {
    reports: broadcast::Receiver<Report>,
    names: BTreeSet<String>,
    /// It knows only the number of members.
    counts: bool,
    count: u32,
    /// When each user was reported since the last full list.
    reported: BTreeMap<String, Vec<Instant>>,
    counted: Option<Instant>,
    typed: BTreeMap<String, Instant>,
}

impl Client {
    fn new(listener: Listener) -> Self {
        let mut client = Self {
            reports: listener.reports,
            names: BTreeSet::new(),
            counts: false,
            count: 0,
            reported: BTreeMap::new(),
            counted: None,
            typed: BTreeMap::new(),
        };
        client.apply(&unframe(listener.snapshot));
        client
    }

    fn apply(&mut self, events: &[user::Presence]) {
        for user::Presence { user_id, online, count } in events {
            self.count = *count;
            self.counts = user_id.is_empty() && !online;
            if self.counts {
                self.names.clear();
                self.reported.clear();
            } else if user_id.is_empty() {
                // The names hold.
            } else if *online {
                assert!(self.names.insert(user_id.clone()), "{user_id} was here");
            } else {
                assert!(self.names.remove(user_id), "{user_id} was not here");
            }
        }
    }

    /// Receives what was sent, at the moment at which it was sent.
    fn receive(&mut self, now: Instant) {
        while let Ok(report) = self.reports.try_recv() {
            let events = match report {
                Report::Presence(frames) => unframe(frames),
                Report::Typing { frame, .. } => {
                    let user_id = messages(frame).remove(0).user_id;
                    let before = self.typed.insert(user_id, now);
                    assert!(before.is_none_or(|at| now - at >= TYPING_EVERY), "typing is reported once in an interval");
                    continue;
                }
            };
            self.apply(&events);
            let user_id = &events[0].user_id;
            if user_id.is_empty() {
                let before = self.counted.replace(now);
                assert!(before.is_none_or(|at| now - at >= COUNT_EVERY), "a count is reported once in an interval");
            } else {
                let times = self.reported.entry(user_id.clone()).or_default();
                times.push(now);
                let pair_before = times.len().checked_sub(3).map(|third| times[third]);
                assert!(pair_before.is_none_or(|at| now - at >= CALM), "{user_id} makes one pair at most: {times:?}");
            }
        }
    }
}

fn messages(mut frames: Bytes) -> Vec<ChatMessage> {
    let mut messages = Vec::new();
    while frames.has_remaining() {
        frames.advance(1);
        let len = frames.get_u32() as usize;
        messages.push(ChatMessage::decode(frames.split_to(len)).unwrap());
    }
    messages
}

fn unframe(frames: Bytes) -> Vec<user::Presence> {
    let presence = |message: ChatMessage| match message.event {
        Some(Event::Presence(presence)) => presence,
        other => panic!("{other:?}"),
    };
    messages(frames).into_iter().map(presence).collect()
}

struct World {
    presence: Presence,
    now: Instant,
    streams: BTreeMap<&'static str, usize>,
    anonymous: usize,
    clients: Vec<Client>,
}

impl World {
    fn new(presence_max: usize) -> Self {
        let presence = Presence::new(RoomName::default(), presence_max);
        Self { presence, now: Instant::now(), streams: BTreeMap::new(), anonymous: 0, clients: Vec::new() }
    }

    fn step(&mut self, step: Step) {
        let id = |who: usize| Arc::from(USERS[who]);
        match step {
            Step::Come(Some(who)) => {
                *self.streams.entry(USERS[who]).or_default() += 1;
                self.presence.enter(Some(&id(who)), self.now);
            }
            Step::Come(None) => {
                self.anonymous += 1;
                self.presence.enter(None, self.now);
            }
            Step::Go(Some(which)) => {
                let mut here: Vec<_> = self.streams.iter_mut().filter(|(_, streams)| **streams > 0).collect();
                let which = which.checked_rem(here.len()).and_then(|which| here.get_mut(which));
                if let Some((name, streams)) = which {
                    **streams -= 1;
                    self.presence.leave(Some(&Arc::from(**name)), self.now);
                }
            }
            Step::Go(None) if self.anonymous > 0 => {
                self.anonymous -= 1;
                self.presence.leave(None, self.now);
            }
            Step::Go(None) => {}
            Step::Listen => self.clients.push(Client::new(self.presence.listen())),
            Step::Again => {
                if let Some(client) = self.clients.first_mut() {
                    let listener = self.presence.listen_again();
                    client.reports = listener.reports;
                    client.apply(&unframe(listener.snapshot));
                }
            }
            Step::Unlisten if self.clients.is_empty() => {}
            Step::Unlisten => drop(self.clients.remove(0)),
            Step::Type(who) => self.presence.typing(USERS[who].into(), StreamId { node: 0, number: 0 }, self.now),
            Step::Pass(time) => self.pass(time),
        }
        self.receive();
    }

    /// Delayed reports are checked when they are due.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.presence.due_at().filter(|at| *at <= end) {
            self.now = at.max(self.now);
            self.presence.check(self.now);
            self.receive();
        }
        self.now = end;
    }

    fn receive(&mut self) {
        self.clients.iter_mut().for_each(|client| client.receive(self.now));
        let Some((known, due)) = self.presence.listing().map(Listing::sizes) else { return };
        let members = self.presence.members.len();
        assert!(known <= USERS.len() && known >= members, "{known} are known, and {members} here");
        assert!(due <= known, "each user is due once");
    }

    fn names(&self) -> BTreeSet<String> {
        self.streams.iter().filter(|(_, streams)| **streams > 0).map(|(name, _)| (*name).to_owned()).collect()
    }

    /// After some time every listener knows the members, and nothing else is remembered.
    fn settles(mut self) {
        self.pass(CALM * 4);
        let (names, presence_max) = (self.names(), self.presence.presence_max);
        let online = names.len() + self.anonymous;
        assert_eq!(self.presence.online(), online);
        self.clients.push(Client::new(self.presence.listen()));
        for client in &self.clients {
            let expected = if online > presence_max { BTreeSet::new() } else { names.clone() };
            assert_eq!((&client.names, client.count as usize), (&expected, online));
            assert_eq!(client.counts, online > presence_max);
        }
        assert_eq!((self.presence.due_at(), self.presence.members.len()), (None, names.len()));
        let known = self.presence.listing().map(|listing| listing.sizes().0);
        assert_eq!(known, (online <= presence_max).then_some(names.len()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn listeners_converge_and_flapping_users_are_reported_rarely(steps in steps(), presence_max in 0..8_usize) {
        let mut world = World::new(presence_max);
        steps.into_iter().for_each(|step| world.step(step));
        world.settles();
    }
}

#[test]
fn a_flapping_user_causes_one_pair_of_reports_and_then_its_state_is_reported() {
    let mut world = World::new(USERS.len());
    world.step(Step::Come(Some(1)));
    world.step(Step::Listen);
    for _ in 0..50 {
        world.step(Step::Come(Some(0)));
        world.step(Step::Pass(Duration::from_millis(20)));
        world.step(Step::Go(Some(0)));
        world.step(Step::Pass(Duration::from_millis(20)));
    }
    assert_eq!(world.clients[0].reported["ada"].len(), 2);
    world.step(Step::Come(Some(0)));
    assert_eq!(world.clients[0].reported["ada"].len(), 2);
    // Five seconds after the report that ada had come; two have passed.
    world.step(Step::Pass(Duration::from_millis(2_999)));
    assert_eq!(world.clients[0].reported["ada"].len(), 2);
    world.step(Step::Pass(Duration::from_millis(1)));
    assert_eq!(world.clients[0].reported["ada"].len(), 3);
    world.settles();
}

#[test]
fn users_who_left_are_remembered_up_to_a_limit() {
    let mut presence = Presence::new(RoomName::default(), 3);
    let now = Instant::now();
    let listener = presence.listen();
    for n in 0..1_000 {
        let id = Arc::from(n.to_string());
        presence.enter(Some(&id), now);
        presence.leave(Some(&id), now);
    }
    let sizes = presence.listing().map(Listing::sizes);
    assert!(sizes.is_some_and(|(known, due)| known <= REMEMBERED && due <= REMEMBERED), "{sizes:?}");
    drop(listener);
    presence.check(now + CALM);
    assert_eq!((presence.due_at(), presence.members.len(), presence.listing().is_none()), (None, 0, true));
}
