//! Who is in a room, and what those who asked are told of it.
//!
//! Invariants:
//! - A user is told of at most twice in [`CALM`]: a flapping client makes one pair.
//! - Listeners agree: whoever begins to listen is given what the others were told last, and from then on hears what they hear.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use tokio::{sync::broadcast, time::Instant};

use crate::{
    batch,
    engine::RoomName,
    proto::user::{self, ChatMessage, Typing, chat_message::Event},
};

/// Within so long a user comes and goes at most once.
const CALM: Duration = Duration::from_secs(5);

/// A count is told at most once in so long.
const COUNT_EVERY: Duration = Duration::from_secs(1);

/// A user's typing is told at most once in so long.
const TYPING_EVERY: Duration = Duration::from_secs(2);

/// Words that a listener may be behind; then it is given the whole again.
const RING: usize = 256;

/// What listeners are told: framed events.
#[derive(Debug, Clone)]
pub(super) enum Word {
    /// For everyone.
    Presence(Bytes),
    /// For everyone but the stream that types.
    Typing { stream: u64, frame: Bytes },
}

/// A place among the listeners.
#[derive(Debug)]
pub(super) struct Listener {
    /// Who is there, as far as the others know.
    pub(super) now: Bytes,
    pub(super) words: broadcast::Receiver<Word>,
}

/// What is to be looked at later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Check {
    /// A user whose last change was not told yet, or who can be forgotten.
    User(Arc<str>),
    /// The count was not told yet.
    Count,
}

/// The members of one room by identity, and the ring of those who listen.
#[derive(Debug)]
pub(super) struct Presence {
    room: RoomName,
    users: HashMap<Arc<str>, User>,
    /// Users with a stream here.
    present: usize,
    /// Streams without an identity: each is somebody.
    anonymous: usize,
    /// With more members than this, only their number is told.
    most: usize,
    ring: Option<broadcast::Sender<Word>>,
    /// Listeners know the members one by one.
    listed: bool,
    counted_at: Option<Instant>,
    count_is_due: bool,
    typed: HashMap<String, Instant>,
}

#[derive(Debug, Default)]
struct User {
    streams: usize,
    /// What listeners believe.
    told: bool,
    /// When they were told last, and the time before.
    told_at: [Option<Instant>; 2],
    is_due: bool,
}

impl Presence {
    pub(super) fn new(room: RoomName, most: usize) -> Self {
        Self {
            room,
            users: HashMap::new(),
            present: 0,
            anonymous: 0,
            most,
            ring: None,
            listed: true,
            counted_at: None,
            count_is_due: false,
            typed: HashMap::new(),
        }
    }

    /// Distinct members.
    pub(super) fn online(&self) -> usize {
        self.present + self.anonymous
    }

    /// A stream has come. The answer, if any, is to be looked at then.
    pub(super) fn enter(&mut self, user_id: Option<&Arc<str>>, now: Instant) -> Option<(Check, Instant)> {
        let Some(id) = user_id else {
            self.anonymous += 1;
            return self.tell_count(now);
        };
        let user = self.users.entry(Arc::clone(id)).or_default();
        user.streams += 1;
        if user.streams > 1 {
            return None;
        }
        self.present += 1;
        self.changed(id, now)
    }

    /// A stream has gone.
    pub(super) fn leave(&mut self, user_id: Option<&Arc<str>>, now: Instant) -> Option<(Check, Instant)> {
        let Some(id) = user_id else {
            self.anonymous = self.anonymous.saturating_sub(1);
            return self.tell_count(now);
        };
        let user = self.users.get_mut(id)?;
        user.streams = user.streams.saturating_sub(1);
        if user.streams > 0 {
            return None;
        }
        self.present = self.present.saturating_sub(1);
        self.changed(id, now)
    }

    /// Looks again, as was asked for.
    pub(super) fn check(&mut self, check: &Check, now: Instant) -> Option<(Check, Instant)> {
        match check {
            Check::Count => {
                self.count_is_due = false;
                self.tell_count(now)
            }
            Check::User(id) => {
                self.users.get_mut(id)?.is_due = false;
                self.changed(id, now)
            }
        }
    }

    pub(super) fn listen(&mut self) -> Listener {
        if self.ring.is_none() {
            // Nobody was told anything: the truth is where everyone begins.
            self.listed = self.online() <= self.most;
            self.users.retain(|_, user| user.streams > 0);
            self.users
                .values_mut()
                .for_each(|user| *user = User { streams: user.streams, told: true, ..User::default() });
        }
        let words = self.ring.get_or_insert_with(|| broadcast::Sender::new(RING)).subscribe();
        Listener { now: self.everyone(), words }
    }

    /// A user types; told unless it was just before, or too many do.
    pub(super) fn typing(&mut self, user_id: String, stream: u64, now: Instant) {
        self.drop_unheard_ring();
        let Some(ring) = &self.ring else { return };
        self.typed.retain(|_, at| now.duration_since(*at) < TYPING_EVERY);
        if self.typed.contains_key(&user_id) || self.typed.len() >= self.most.max(1) {
            return;
        }
        let message = ChatMessage {
            user_id: user_id.clone(),
            room: self.room.as_str().to_owned(),
            event: Some(Event::Typing(Typing {})),
            ..ChatMessage::default()
        };
        self.typed.insert(user_id, now);
        let mut frame = BytesMut::new();
        batch::frame(&message, &mut frame);
        _ = ring.send(Word::Typing { stream, frame: frame.freeze() });
    }

    /// A user has come or gone, or may be told of again.
    fn changed(&mut self, id: &Arc<str>, now: Instant) -> Option<(Check, Instant)> {
        self.drop_unheard_ring();
        if self.ring.is_none() {
            self.forget_if_gone(id);
            return None;
        }
        if !self.listed || self.online() > self.most {
            self.forget_if_gone(id);
            return self.tell_count(now);
        }
        let user = self.users.get_mut(id)?;
        let is_here = user.streams > 0;
        let [before_last, last] = user.told_at;
        if user.told == is_here {
            if is_here {
                return None;
            }
            // Kept for a while after it has gone, so that a flapping client is known for one.
            if let Some(calm_at) = last.map(|at| at + CALM).filter(|at| *at > now) {
                return user.due(id, calm_at);
            }
            self.users.remove(id);
            return None;
        }
        if let Some(free_at) = before_last.map(|at| at + CALM).filter(|at| *at > now) {
            return user.due(id, free_at);
        }
        user.told = is_here;
        user.told_at = [last, Some(now)];
        let later = if is_here { None } else { user.due(id, now + CALM) };
        let frame = self.frame(id, is_here);
        self.say(frame);
        later
    }

    fn forget_if_gone(&mut self, id: &str) {
        if self.users.get(id).is_some_and(|user| user.streams == 0) {
            self.users.remove(id);
        }
    }

    /// Tells how many there are: of the anonymous, or of all when they are too many to be named.
    fn tell_count(&mut self, now: Instant) -> Option<(Check, Instant)> {
        self.drop_unheard_ring();
        if self.ring.is_none() || self.count_is_due {
            return None;
        }
        if let Some(free_at) = self.counted_at.map(|at| at + COUNT_EVERY).filter(|at| *at > now) {
            self.count_is_due = true;
            return Some((Check::Count, free_at));
        }
        self.counted_at = Some(now);
        let is_listed = self.online() <= self.most;
        let were_listed = std::mem::replace(&mut self.listed, is_listed);
        let frames = if self.listed && !were_listed {
            self.users.retain(|_, user| user.streams > 0);
            self.users.values_mut().for_each(|user| user.told = true);
            self.everyone()
        } else {
            self.frame("", self.listed)
        };
        self.say(frames);
        None
    }

    fn say(&self, frames: Bytes) {
        if let Some(ring) = &self.ring {
            // Without a receiver nobody listens any more.
            _ = ring.send(Word::Presence(frames));
        }
    }

    fn drop_unheard_ring(&mut self) {
        self.ring.take_if(|ring| ring.receiver_count() == 0);
    }

    /// Who is here as far as listeners were told; only the number, if they are too many to be named.
    fn everyone(&self) -> Bytes {
        let mut frames = BytesMut::new();
        let here = self.users.iter().filter(|(_, user)| self.listed && user.told);
        here.for_each(|(id, _)| batch::frame(&self.event(id, true), &mut frames));
        if frames.is_empty() || self.anonymous > 0 {
            batch::frame(&self.event("", self.listed), &mut frames);
        }
        frames.freeze()
    }

    fn frame(&self, user_id: &str, online: bool) -> Bytes {
        let mut frame = BytesMut::new();
        batch::frame(&self.event(user_id, online), &mut frame);
        frame.freeze()
    }

    fn event(&self, user_id: &str, online: bool) -> ChatMessage {
        let count = u32::try_from(self.online()).unwrap_or(u32::MAX);
        let presence = user::Presence { user_id: user_id.to_owned(), online, count };
        ChatMessage {
            room: self.room.as_str().to_owned(),
            event: Some(Event::Presence(presence)),
            ..ChatMessage::default()
        }
    }
}

impl User {
    fn due(&mut self, id: &Arc<str>, at: Instant) -> Option<(Check, Instant)> {
        let known = std::mem::replace(&mut self.is_due, true);
        (!known).then(|| (Check::User(Arc::clone(id)), at))
    }
}
