//! What was reported of the members of a room by name, and when.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::roster::Roster;

/// Interval in which a user is reported at most twice, as online and as offline.
pub(super) const CALM: Duration = Duration::from_secs(5);

/// Users who have left and are still known, so that a flapping client is recognized. Above it, a leave is reported without delay and the
/// user is forgotten.
pub(super) const REMEMBERED: usize = 256;

/// The list of members that every listener holds, and the times of the latest reports.
///
/// It holds the members of the room and at most [`REMEMBERED`] users who have left, or one more while a report is made.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Users whom listeners believe to be online.
    reported: HashSet<Arc<str>>,
    /// Every member, and users who left recently.
    known: HashMap<Arc<str>, Known>,
    /// When to [update](Self::update) a user again; each user at most once.
    due: BTreeSet<(Instant, Arc<str>)>,
}

#[derive(Debug, Default)]
struct Known {
    /// The last two reports, the earlier one first.
    reported_at: [Option<Instant>; 2],
    due_at: Option<Instant>,
}

impl Listing {
    /// A listing that reports exactly these members. Visits each of them.
    pub(super) fn of(members: &Roster) -> Self {
        let mut listing = Self::default();
        for id in members.ids() {
            listing.reported.insert(Arc::clone(id));
            listing.known.insert(Arc::clone(id), Known::default());
        }
        listing
    }

    /// The users whom listeners believe to be online.
    pub(super) fn reported(&self) -> &HashSet<Arc<str>> {
        &self.reported
    }

    /// When the next user is due.
    pub(super) fn due_at(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Takes the first user that is due.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Arc<str>> {
        if self.due_at()? > now {
            return None;
        }
        let (_, id) = self.due.pop_first()?;
        if let Some(known) = self.known.get_mut(&id) {
            known.due_at = None;
        }
        Some(id)
    }

    /// A user has come or left, or is due. Returns what to report, if anything: `true` for online.
    pub(super) fn update(&mut self, id: &Arc<str>, members: &Roster, now: Instant) -> Option<bool> {
        let is_here = members.contains(id);
        if is_here && !self.known.contains_key(id) {
            self.known.insert(Arc::clone(id), Known::default());
        }
        let may_remember = self.known.len().saturating_sub(members.len()) <= REMEMBERED;
        let [before_last, last] = self.known.get(id)?.reported_at;
        let calm = |at: Option<Instant>| at.map(|at| at + CALM).filter(|at| *at > now);
        if self.reported.contains(id) == is_here {
            match calm(last).filter(|_| may_remember) {
                _ if is_here => {}
                Some(calm_at) => self.schedule(id, calm_at),
                None => self.forget(id),
            }
            return None;
        }
        if let Some(free_at) = calm(before_last).filter(|_| is_here || may_remember) {
            self.schedule(id, free_at);
            return None;
        }
        self.report(id, is_here, [last, Some(now)]);
        if !is_here && may_remember {
            self.schedule(id, now + CALM);
        } else if !is_here {
            self.forget(id);
        }
        Some(is_here)
    }

    fn report(&mut self, id: &Arc<str>, online: bool, reported_at: [Option<Instant>; 2]) {
        if online {
            self.reported.insert(Arc::clone(id));
        } else {
            self.reported.remove(id);
        }
        if let Some(known) = self.known.get_mut(id) {
            known.reported_at = reported_at;
        }
    }

    /// Makes a user due at this time, unless it is due earlier.
    fn schedule(&mut self, id: &Arc<str>, at: Instant) {
        let Some(known) = self.known.get_mut(id) else { return };
        if known.due_at.is_some_and(|due_at| due_at <= at) {
            return;
        }
        if let Some(later) = known.due_at.replace(at) {
            self.due.remove(&(later, Arc::clone(id)));
        }
        self.due.insert((at, Arc::clone(id)));
    }

    fn forget(&mut self, id: &Arc<str>) {
        if let Some(Known { due_at: Some(at), .. }) = self.known.remove(id) {
            self.due.remove(&(at, Arc::clone(id)));
        }
    }

    /// Users known and users due.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.known.len(), self.due.len())
    }
}
