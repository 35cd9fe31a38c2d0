//! Counts the users against their limit. Used by the writer only.

use rusqlite::Connection;

use crate::engine::Error;

/// Number of users, including the changes of the current group.
#[derive(Debug)]
pub(super) struct UserCount {
    count: usize,
    /// The count before the current group.
    committed: usize,
    /// Maximum number of users. Users above a limit that was lowered stay.
    limit: usize,
}

impl UserCount {
    pub(super) fn load(connection: &Connection, limit: usize) -> rusqlite::Result<Self> {
        let count = connection.query_row("SELECT count(*) FROM users", [], |row| row.get(0))?;
        Ok(Self { count, committed: count, limit })
    }

    /// Returns the current count, for [`restore`](Self::restore).
    pub(super) fn save(&self) -> usize {
        self.count
    }

    /// Takes back what was counted since `saved`.
    pub(super) fn restore(&mut self, saved: usize) {
        self.count = saved;
    }

    /// Counts one more user, or fails if the limit is reached.
    pub(super) fn add(&mut self) -> Result<(), Error> {
        if self.count >= self.limit {
            return Err(Error::TooManyUsers { limit: self.limit });
        }
        self.count += 1;
        Ok(())
    }

    /// Counts one user less.
    pub(super) fn remove(&mut self) {
        self.count = self.count.saturating_sub(1);
    }

    /// Keeps the count of the group after its commit.
    pub(super) fn commit(&mut self) {
        self.committed = self.count;
    }

    /// Takes back the count of a group that was rolled back.
    pub(super) fn roll_back(&mut self) {
        self.count = self.committed;
    }
}
