//! Presence against a model: users come and go, listeners begin and end, and time passes, in any order.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Buf;
use proptest::prelude::*;
use prost::Message;

use super::*;

const USERS: [&str; 6] = ["ada", "bob", "cyd", "dan", "eve", "fay"];

#[derive(Debug, Clone, Copy)]
enum Step {
    /// A stream comes, of somebody.
    Come(Option<usize>),
    /// A stream goes: of one of those who are here, or of somebody.
    Go(Option<usize>),
    Listen,
    /// The oldest listener misses something and begins anew.
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

/// What a client makes of what it is told.
struct Client {
    words: broadcast::Receiver<Word>,
    names: BTreeSet<String>,
    /// It knows a number only.
    counts: bool,
    count: u32,
    /// When it was told of each user since it was told all of them.
    told: BTreeMap<String, Vec<Instant>>,
    counted: Option<Instant>,
    typed: BTreeMap<String, Instant>,
}

impl Client {
    fn new(listener: Listener) -> Self {
        let mut client = Self {
            words: listener.words,
            names: BTreeSet::new(),
            counts: false,
            count: 0,
            told: BTreeMap::new(),
            counted: None,
            typed: BTreeMap::new(),
        };
        client.hear(&unframe(listener.now));
        client
    }

    fn hear(&mut self, events: &[user::Presence]) {
        for user::Presence { user_id, online, count } in events {
            self.count = *count;
            self.counts = user_id.is_empty() && !online;
            if self.counts {
                self.names.clear();
                self.told.clear();
            } else if user_id.is_empty() {
                // The names stand.
            } else if *online {
                assert!(self.names.insert(user_id.clone()), "{user_id} was here");
            } else {
                assert!(self.names.remove(user_id), "{user_id} was not here");
            }
        }
    }

    /// Hears what there is, at the moment at which it was said.
    fn listen(&mut self, now: Instant) {
        while let Ok(word) = self.words.try_recv() {
            let events = match word {
                Word::Presence(frames) => unframe(frames),
                Word::Typing { frame, .. } => {
                    let user_id = messages(frame).remove(0).user_id;
                    let before = self.typed.insert(user_id, now);
                    assert!(before.is_none_or(|at| now - at >= TYPING_EVERY), "typing is told once in a while");
                    continue;
                }
            };
            self.hear(&events);
            let user_id = &events[0].user_id;
            if user_id.is_empty() {
                let before = self.counted.replace(now);
                assert!(before.is_none_or(|at| now - at >= COUNT_EVERY), "a count is told once in a while");
            } else {
                let told = self.told.entry(user_id.clone()).or_default();
                told.push(now);
                let pair_before = told.len().checked_sub(3).map(|third| told[third]);
                assert!(pair_before.is_none_or(|at| now - at >= CALM), "{user_id} makes one pair at most: {told:?}");
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
    fn new(most: usize) -> Self {
        let presence = Presence::new(RoomName::default(), most);
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
                    client.words = listener.words;
                    client.hear(&unframe(listener.now));
                }
            }
            Step::Unlisten if self.clients.is_empty() => {}
            Step::Unlisten => drop(self.clients.remove(0)),
            Step::Type(who) => self.presence.typing(USERS[who].into(), 0, self.now),
            Step::Pass(time) => self.pass(time),
        }
        self.hear();
    }

    /// What is due on the way is looked at when it is due.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.presence.due_at().filter(|at| *at <= end) {
            self.now = at.max(self.now);
            self.presence.check(self.now);
            self.hear();
        }
        self.now = end;
    }

    fn hear(&mut self) {
        self.clients.iter_mut().for_each(|client| client.listen(self.now));
        let (users, present) = (self.presence.users.len(), self.presence.present);
        assert!(users <= USERS.len() && users >= present, "{users} are known, and {present} here");
        assert!(self.presence.due.len() <= users + 1, "each is looked at once");
    }

    fn names(&self) -> BTreeSet<String> {
        self.streams.iter().filter(|(_, streams)| **streams > 0).map(|(name, _)| (*name).to_owned()).collect()
    }

    /// When time has passed, everyone who listens knows who is here, and nothing else is remembered.
    fn settles(mut self) {
        self.pass(CALM * 4);
        let (names, most) = (self.names(), self.presence.most);
        let online = names.len() + self.anonymous;
        assert_eq!(self.presence.online(), online);
        self.clients.push(Client::new(self.presence.listen()));
        for client in &self.clients {
            let expected = if online > most { BTreeSet::new() } else { names.clone() };
            assert_eq!((&client.names, client.count as usize), (&expected, online));
            assert_eq!(client.counts, online > most);
        }
        assert_eq!((self.presence.due_at(), self.presence.users.len()), (None, names.len()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn listeners_agree_in_the_end_and_are_spared_those_who_flap(steps in steps(), most in 0..8_usize) {
        let mut world = World::new(most);
        steps.into_iter().for_each(|step| world.step(step));
        world.settles();
    }
}

#[test]
fn a_user_who_flaps_makes_one_pair_and_is_then_told_as_it_is() {
    let mut world = World::new(USERS.len());
    world.step(Step::Come(Some(1)));
    world.step(Step::Listen);
    for _ in 0..50 {
        world.step(Step::Come(Some(0)));
        world.step(Step::Pass(Duration::from_millis(20)));
        world.step(Step::Go(Some(0)));
        world.step(Step::Pass(Duration::from_millis(20)));
    }
    assert_eq!(world.clients[0].told["ada"].len(), 2);
    world.step(Step::Come(Some(0)));
    assert_eq!(world.clients[0].told["ada"].len(), 2);
    // Five seconds after it was told that ada had come; two have passed.
    world.step(Step::Pass(Duration::from_millis(2_999)));
    assert_eq!(world.clients[0].told["ada"].len(), 2);
    world.step(Step::Pass(Duration::from_millis(1)));
    assert_eq!(world.clients[0].told["ada"].len(), 3);
    world.settles();
}

#[test]
fn those_who_went_are_not_remembered_without_a_bound() {
    let mut presence = Presence::new(RoomName::default(), 3);
    let now = Instant::now();
    let listener = presence.listen();
    for n in 0..1_000 {
        let id = Arc::from(n.to_string());
        presence.enter(Some(&id), now);
        presence.leave(Some(&id), now);
    }
    assert!(presence.users.len() <= REMEMBERED && presence.due.len() <= REMEMBERED, "{}", presence.users.len());
    drop(listener);
    presence.check(now + CALM);
    assert_eq!((presence.users.len(), presence.due.len()), (0, 0));
}
