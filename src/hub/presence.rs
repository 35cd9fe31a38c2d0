//! The members of a room, and the reports of them to its listeners: the subscribers that asked for presence.
//!
//! Invariants:
//! - A user is reported at most twice in [`CALM`](listing::CALM), so that a flapping client causes one pair of reports. Exceptions: more than
//!   [`REMEMBERED`](listing::REMEMBERED) users flap, or the list of members is sent again.
//! - Listeners converge: a new listener begins with what was reported last to the others, and receives the same reports from then on.
//! - In a room with more than `presence_max` members, no operation takes time in proportion to the members.

mod listing;
#[cfg(test)]
mod model;
mod report;
mod roster;
mod typing;
#[cfg(test)]
mod visits;

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use tokio::{sync::broadcast, time::Instant};

use crate::types::{RoomName, StreamId};
use listing::Listing;
pub(super) use report::{Listener, Report};
use report::{append_presence, typing_frame};
use roster::Roster;
use typing::TypingLimit;

/// Interval in which a count is reported at most once.
const COUNT_EVERY: Duration = Duration::from_secs(1);

/// Reports that a listener may be behind; after that it receives a new snapshot. Every room with listeners allocates this many slots.
const RING: usize = 32;

/// The members of one room by identity, and its listeners.
#[derive(Debug)]
pub(super) struct Presence {
    room: RoomName,
    members: Roster,
    /// Streams without an identity; each counts as a member.
    anonymous: usize,
    /// Members up to which each is reported by name; above it, only their number.
    presence_max: usize,
    /// `None` without a listener: nothing is reported, and nothing is remembered.
    audience: Option<Audience>,
    count_reported_at: Option<Instant>,
    typing: TypingLimit,
}

/// What the listeners of a room know.
#[derive(Debug)]
struct Audience {
    ring: broadcast::Sender<Report>,
    /// `None`: they know only the number of members, or will when the due count is reported.
    listing: Option<Listing>,
    count_due_at: Option<Instant>,
}

impl Presence {
    /// Presence of an empty room.
    pub(super) fn new(room: RoomName, presence_max: usize) -> Self {
        Self {
            room,
            members: Roster::default(),
            anonymous: 0,
            presence_max,
            audience: None,
            count_reported_at: None,
            typing: TypingLimit::default(),
        }
    }

    /// Distinct members.
    pub(super) fn online(&self) -> usize {
        self.members.len() + self.anonymous
    }

    /// A stream has come.
    pub(super) fn enter(&mut self, user_id: Option<&Arc<str>>, now: Instant) {
        match user_id {
            None => {
                self.anonymous += 1;
                self.report_count(now);
            }
            Some(id) if self.members.enter(id) => self.update(id, now),
            Some(_) => {}
        }
    }

    /// A stream has left.
    pub(super) fn leave(&mut self, user_id: Option<&Arc<str>>, now: Instant) {
        match user_id {
            None => {
                self.anonymous = self.anonymous.saturating_sub(1);
                self.report_count(now);
            }
            Some(id) if self.members.leave(id) => self.update(id, now),
            Some(_) => {}
        }
    }

    /// When to call [`check`](Self::check).
    pub(super) fn due_at(&self) -> Option<Instant> {
        let Audience { listing, count_due_at, .. } = self.audience.as_ref()?;
        let user_due_at = listing.as_ref().and_then(Listing::due_at);
        [*count_due_at, user_due_at].into_iter().flatten().min()
    }

    /// Reports what was delayed until now.
    pub(super) fn check(&mut self, now: Instant) {
        while let Some(Audience { listing, count_due_at, .. }) = &mut self.audience {
            let user_due_at = listing.as_ref().and_then(Listing::due_at);
            let count_is_next = count_due_at.is_some_and(|at| user_due_at.is_none_or(|user_at| at <= user_at));
            if count_is_next && count_due_at.take_if(|at| *at <= now).is_some() {
                self.report_count(now);
            } else if let Some(id) = listing.as_mut().and_then(|listing| listing.take_due(now)) {
                self.update(&id, now);
            } else {
                return;
            }
        }
    }

    /// Adds a listener.
    pub(super) fn listen(&mut self) -> Listener {
        let may_list = self.online() <= self.presence_max;
        let audience = self.audience.get_or_insert_with(|| Audience {
            ring: broadcast::Sender::new(RING),
            // Nothing was reported yet: the first listener begins with the members as they are.
            listing: may_list.then(|| Listing::of(&self.members)),
            count_due_at: None,
        });
        let reports = audience.ring.subscribe();
        Listener { snapshot: self.snapshot(), reports }
    }

    /// Adds a listener again that missed reports; its snapshot replaces what it knew.
    pub(super) fn listen_again(&mut self) -> Listener {
        let listener = self.listen();
        Listener { snapshot: self.new_snapshot(), ..listener }
    }

    /// Reports that a user types, unless that was reported recently or too many users type.
    pub(super) fn typing(&mut self, user_id: String, stream: StreamId, now: Instant) {
        self.drop_unheard();
        let Some(Audience { ring, .. }) = &self.audience else { return };
        if self.typing.admit(&user_id, self.presence_max, now) {
            _ = ring.send(Report::Typing { stream, frame: typing_frame(&self.room, user_id) });
        }
    }

    /// A user has come or left, or a delayed report of it is due.
    fn update(&mut self, id: &Arc<str>, now: Instant) {
        self.drop_unheard();
        let is_countable = self.online() > self.presence_max;
        let Some(Audience { listing, .. }) = &mut self.audience else { return };
        match listing {
            Some(listing) if !is_countable => {
                if let Some(online) = listing.update(id, &self.members, now) {
                    let frame = self.frame(id, online);
                    self.send(frame);
                }
            }
            _ => self.report_count(now),
        }
    }

    /// Reports how many members there are: after a change among the anonymous, or of all members when they are too many to be listed.
    fn report_count(&mut self, now: Instant) {
        self.drop_unheard();
        let may_list = self.online() <= self.presence_max;
        let Some(audience) = &mut self.audience else { return };
        if !may_list {
            // From now on changes are not reported by name, so the list must be sent again before it can be relied on.
            audience.listing = None;
        }
        if audience.count_due_at.is_some() {
            return;
        }
        if let Some(free_at) = self.count_reported_at.map(|at| at + COUNT_EVERY).filter(|at| *at > now) {
            audience.count_due_at = Some(free_at);
            return;
        }
        self.count_reported_at = Some(now);
        let is_listed = audience.listing.is_some();
        let frames = if may_list && !is_listed {
            audience.listing = Some(Listing::of(&self.members));
            self.new_snapshot()
        } else {
            self.frame("", is_listed)
        };
        self.send(frames);
    }

    fn send(&self, frames: Bytes) {
        if let Some(Audience { ring, .. }) = &self.audience {
            // It fails if the last listener has gone.
            _ = ring.send(Report::Presence(frames));
        }
    }

    /// Forgets what was reported when the last listener has gone.
    fn drop_unheard(&mut self) {
        self.audience.take_if(|audience| audience.ring.receiver_count() == 0);
    }

    fn listing(&self) -> Option<&Listing> {
        self.audience.as_ref()?.listing.as_ref()
    }

    /// The members as listeners know them: each by name, or only their number if they are not listed.
    fn snapshot(&self) -> Bytes {
        let (count, mut frames) = (self.reported_count(), BytesMut::new());
        let listing = self.listing();
        for id in listing.into_iter().flat_map(Listing::reported) {
            append_presence(&self.room, id, true, count, &mut frames);
        }
        if frames.is_empty() || self.anonymous > 0 {
            append_presence(&self.room, "", listing.is_some(), count, &mut frames);
        }
        frames.freeze()
    }

    /// The same for listeners that know names which no longer hold.
    fn new_snapshot(&self) -> Bytes {
        if self.listing().is_none() {
            return self.snapshot();
        }
        let mut frames = BytesMut::from(self.frame("", false));
        frames.extend_from_slice(&self.snapshot());
        frames.freeze()
    }

    fn frame(&self, user_id: &str, online: bool) -> Bytes {
        let mut frame = BytesMut::new();
        append_presence(&self.room, user_id, online, self.reported_count(), &mut frame);
        frame.freeze()
    }

    /// The number of members as reported: where they are listed, that of the list.
    fn reported_count(&self) -> usize {
        self.listing().map_or_else(|| self.online(), |listing| listing.reported().len() + self.anonymous)
    }
}
