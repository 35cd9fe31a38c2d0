//! Who is in a room, and what those who asked are told of it.
//!
//! Invariants:
//! - A user is told of at most twice in [`CALM`]: a flapping client makes one pair. Unless very many flap, or the list is told anew.
//! - Listeners agree in the end: whoever begins to listen is given what the others were told last, and from then on hears what they hear.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

#[cfg(test)]
mod model;

use bytes::{Bytes, BytesMut};
use tokio::{sync::broadcast, time::Instant};

use crate::{
    batch,
    proto::user::{self, ChatMessage, Typing, chat_message::Event},
    types::RoomName,
};

/// Within so long a user comes and goes at most once.
const CALM: Duration = Duration::from_secs(5);

/// A count is told at most once in so long.
const COUNT_EVERY: Duration = Duration::from_secs(1);

/// A user's typing is told at most once in so long.
const TYPING_EVERY: Duration = Duration::from_secs(2);

/// Words that a listener may be behind; then it is given the whole again. Every room that is listened to has so many places.
const RING: usize = 32;

/// Users who went and are still known for a while; of more at once, the last are told without delay, and forgotten.
const REMEMBERED: usize = 256;

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
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Check {
    /// The count was not told yet.
    Count,
    /// A user whose last change was not told yet, or who can be forgotten.
    User(Arc<str>),
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
    /// Listeners know the members one by one, or will when the count that is due is told.
    listed: bool,
    counted_at: Option<Instant>,
    /// What is to be looked at, and when: a user at most once, and the count.
    due: BTreeSet<(Instant, Check)>,
    count_due_at: Option<Instant>,
    typed: HashMap<String, Instant>,
}

#[derive(Debug, Default)]
struct User {
    streams: usize,
    /// What listeners believe.
    told: bool,
    /// When they were told last, and the time before.
    told_at: [Option<Instant>; 2],
    due_at: Option<Instant>,
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
            due: BTreeSet::new(),
            count_due_at: None,
            typed: HashMap::new(),
        }
    }

    /// Distinct members.
    pub(super) fn online(&self) -> usize {
        self.present + self.anonymous
    }

    /// A stream has come.
    pub(super) fn enter(&mut self, user_id: Option<&Arc<str>>, now: Instant) {
        let Some(id) = user_id else {
            self.anonymous += 1;
            return self.tell_count(now);
        };
        let user = self.users.entry(Arc::clone(id)).or_default();
        user.streams += 1;
        if user.streams == 1 {
            self.present += 1;
            self.changed(id, now);
        }
    }

    /// A stream has gone.
    pub(super) fn leave(&mut self, user_id: Option<&Arc<str>>, now: Instant) {
        let Some(id) = user_id else {
            self.anonymous = self.anonymous.saturating_sub(1);
            return self.tell_count(now);
        };
        let Some(user) = self.users.get_mut(id) else { return };
        user.streams = user.streams.saturating_sub(1);
        if user.streams == 0 {
            self.present = self.present.saturating_sub(1);
            self.changed(id, now);
        }
    }

    /// When to [look again](Self::check).
    pub(super) fn due_at(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Looks at what is due.
    pub(super) fn check(&mut self, now: Instant) {
        while self.due_at().is_some_and(|at| at <= now) {
            match self.due.pop_first() {
                Some((_, Check::Count)) => {
                    self.count_due_at = None;
                    self.tell_count(now);
                }
                Some((_, Check::User(id))) => {
                    if let Some(user) = self.users.get_mut(&id) {
                        user.due_at = None;
                        self.changed(&id, now);
                    }
                }
                None => return,
            }
        }
    }

    /// A place among the listeners.
    pub(super) fn listen(&mut self) -> Listener {
        if self.ring.is_none() {
            // Nobody was told anything: the truth is where everyone begins.
            self.listed = self.online() <= self.most;
            self.users.values_mut().for_each(|user| user.told = true);
        }
        let words = self.ring.get_or_insert_with(|| broadcast::Sender::new(RING)).subscribe();
        Listener { now: self.everyone(), words }
    }

    /// The same for one who has missed something, and is to forget what it knew.
    pub(super) fn listen_again(&mut self) -> Listener {
        let listener = self.listen();
        Listener { now: self.anew(), ..listener }
    }

    /// A user types; told unless it was just before, or too many do.
    pub(super) fn typing(&mut self, user_id: String, stream: u64, now: Instant) {
        self.drop_unheard_ring();
        let Some(ring) = &self.ring else { return };
        if self.typed.get(&user_id).is_some_and(|at| now.duration_since(*at) < TYPING_EVERY) {
            return;
        }
        self.typed.retain(|_, at| now.duration_since(*at) < TYPING_EVERY);
        if self.typed.len() >= self.most.max(1) {
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
    fn changed(&mut self, id: &Arc<str>, now: Instant) {
        self.drop_unheard_ring();
        if self.ring.is_none() {
            return self.forget_if_gone(id);
        }
        if !self.listed || self.online() > self.most {
            self.forget_if_gone(id);
            return self.tell_count(now);
        }
        // Who is here is never forgotten.
        let remembered = self.users.len() - self.present <= REMEMBERED;
        let Some(user) = self.users.get_mut(id) else { return };
        let is_here = user.streams > 0;
        let [before_last, last] = user.told_at;
        let free_at = before_last.map(|at| at + CALM).filter(|at| *at > now && (is_here || remembered));
        if user.told == is_here {
            // Kept for a while after it has gone, so that a flapping client is known for one.
            match last.map(|at| at + CALM).filter(|at| *at > now && remembered) {
                _ if is_here => {}
                Some(calm_at) => self.look_at(id, calm_at),
                None => self.forget_if_gone(id),
            }
        } else if let Some(free_at) = free_at {
            self.look_at(id, free_at);
        } else {
            user.told = is_here;
            user.told_at = [last, Some(now)];
            let frame = self.frame(id, is_here);
            self.say(frame);
            if !is_here && remembered {
                self.look_at(id, now + CALM);
            } else {
                self.forget_if_gone(id);
            }
        }
    }

    /// Looks at a user then, if not before.
    fn look_at(&mut self, id: &Arc<str>, at: Instant) {
        let Some(user) = self.users.get_mut(id) else { return };
        if user.due_at.is_some_and(|due| due <= at) {
            return;
        }
        if let Some(later) = user.due_at.replace(at) {
            self.due.remove(&(later, Check::User(Arc::clone(id))));
        }
        self.due.insert((at, Check::User(Arc::clone(id))));
    }

    fn forget_if_gone(&mut self, id: &Arc<str>) {
        if self.users.get(id).is_some_and(|user| user.streams == 0)
            && let Some(User { due_at: Some(at), .. }) = self.users.remove(id)
        {
            self.due.remove(&(at, Check::User(Arc::clone(id))));
        }
    }

    /// Tells how many there are: of the anonymous, or of all when they are too many to be named.
    fn tell_count(&mut self, now: Instant) {
        self.drop_unheard_ring();
        if self.ring.is_none() {
            return;
        }
        let may_list = self.online() <= self.most;
        // From the first one too many on, whoever comes and goes is not told by name: the list has to be told anew.
        self.listed &= may_list;
        if self.count_due_at.is_some() {
            return;
        }
        if let Some(free_at) = self.counted_at.map(|at| at + COUNT_EVERY).filter(|at| *at > now) {
            self.count_due_at = Some(free_at);
            self.due.insert((free_at, Check::Count));
            return;
        }
        self.counted_at = Some(now);
        let frames = if may_list && !self.listed {
            self.listed = true;
            self.forget_the_gone();
            self.users.values_mut().for_each(|user| user.told = true);
            self.anew()
        } else {
            self.frame("", self.listed)
        };
        self.say(frames);
    }

    /// Remembers nobody but those who are here.
    fn forget_the_gone(&mut self) {
        self.users.retain(|_, user| user.streams > 0);
        let Self { users, due, .. } = self;
        due.retain(|(_, check)| match check {
            Check::User(id) => users.contains_key(id),
            Check::Count => true,
        });
    }

    fn say(&self, frames: Bytes) {
        if let Some(ring) = &self.ring {
            // Without a receiver nobody listens any more.
            _ = ring.send(Word::Presence(frames));
        }
    }

    /// When nobody listens, nothing is told, and nothing is to be remembered.
    fn drop_unheard_ring(&mut self) {
        if self.ring.take_if(|ring| ring.receiver_count() == 0).is_some() {
            self.users.retain(|_, user| user.streams > 0);
            self.users.values_mut().for_each(|user| *user = User { streams: user.streams, ..User::default() });
            self.due.clear();
            self.count_due_at = None;
        }
    }

    /// Who is here as far as listeners were told; only the number, if they are too many to be named.
    fn everyone(&self) -> Bytes {
        let mut frames = BytesMut::new();
        let count = self.count();
        let here = self.users.iter().filter(|(_, user)| self.listed && user.told);
        here.for_each(|(id, _)| batch::frame(&self.event(id, true, count), &mut frames));
        if frames.is_empty() || self.anonymous > 0 {
            batch::frame(&self.event("", self.listed, count), &mut frames);
        }
        frames.freeze()
    }

    /// The same for those who were told before: what they know of single users is over.
    fn anew(&self) -> Bytes {
        if !self.listed {
            return self.everyone();
        }
        let mut frames = BytesMut::from(self.frame("", false));
        frames.extend_from_slice(&self.everyone());
        frames.freeze()
    }

    fn frame(&self, user_id: &str, online: bool) -> Bytes {
        let mut frame = BytesMut::new();
        batch::frame(&self.event(user_id, online, self.count()), &mut frame);
        frame.freeze()
    }

    /// How many there are as far as listeners are told, so that the number is that of those whom they know.
    fn count(&self) -> usize {
        if !self.listed {
            return self.online();
        }
        self.users.values().filter(|user| user.told).count() + self.anonymous
    }

    fn event(&self, user_id: &str, online: bool, count: usize) -> ChatMessage {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let presence = user::Presence { user_id: user_id.to_owned(), online, count };
        ChatMessage {
            room: self.room.as_str().to_owned(),
            event: Some(Event::Presence(presence)),
            ..ChatMessage::default()
        }
    }
}
