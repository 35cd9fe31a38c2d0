//! How often typing is reported.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

/// Interval in which one user's typing is reported at most once.
pub(super) const TYPING_EVERY: Duration = Duration::from_secs(2);

/// The users of one room whose typing was reported within [`TYPING_EVERY`].
#[derive(Debug, Default)]
pub(super) struct TypingLimit {
    users: HashSet<Arc<str>>,
    /// The same users, the earliest report first.
    by_time: VecDeque<(Instant, Arc<str>)>,
}

impl TypingLimit {
    /// Returns whether to report that this user types. `max`: users reported within the interval; 0 counts as 1.
    pub(super) fn admit(&mut self, user_id: &str, max: usize, now: Instant) -> bool {
        while let Some((_, id)) = self.by_time.pop_front_if(|(at, _)| now.duration_since(*at) >= TYPING_EVERY) {
            self.users.remove(&id);
        }
        if self.users.len() >= max.max(1) || self.users.contains(user_id) {
            return false;
        }
        let id: Arc<str> = user_id.into();
        self.users.insert(Arc::clone(&id));
        self.by_time.push_back((now, id));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_is_reported_once_per_user_and_interval_and_of_few_users_at_once() {
        let (mut limit, now) = (TypingLimit::default(), Instant::now());
        let admitted = ["ada", "ada", "bob", "cyd"].map(|user| limit.admit(user, 2, now));
        assert_eq!(admitted, [true, false, true, false]);
        let later = now + TYPING_EVERY;
        let admitted = ["ada", "ada", "bob", "cyd"].map(|user| limit.admit(user, 3, later));
        assert_eq!(admitted, [true, false, true, true]);
        assert_eq!(limit.by_time.len(), 3);
    }
}
