//! Counts the rooms that each user has created. Used by the writer only, when a room is created.

use std::collections::HashMap;

use rusqlite::Connection;

use crate::engine::Error;

/// Number of rooms per creator, including those of the current group.
#[derive(Debug)]
pub(super) struct Creators {
    counts: HashMap<String, usize>,
    /// The creators of the current group's rooms. Empty between groups.
    uncommitted: Vec<String>,
    /// Maximum number of rooms per creator; 0: unlimited, and nothing is counted.
    limit: usize,
}

impl Creators {
    pub(super) fn load(connection: &Connection, limit: usize) -> rusqlite::Result<Self> {
        let mut counts = HashMap::new();
        if limit > 0 {
            let mut select = connection.prepare("SELECT creator, count(*) FROM rooms GROUP BY creator")?;
            let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            counts = rows.collect::<rusqlite::Result<_>>()?;
        }
        Ok(Self { counts, uncommitted: Vec::new(), limit })
    }

    /// Counts one more room of this user, or fails if the limit is reached.
    pub(super) fn count(&mut self, user_id: &str) -> Result<(), Error> {
        if self.limit == 0 || user_id.is_empty() {
            return Ok(());
        }
        let count = self.counts.entry(user_id.to_owned()).or_default();
        if *count >= self.limit {
            return Err(Error::TooManyRoomsOfUser { limit: self.limit });
        }
        *count += 1;
        self.uncommitted.push(user_id.to_owned());
        Ok(())
    }

    /// Keeps the counts of the group after its commit.
    pub(super) fn commit(&mut self) {
        self.uncommitted.clear();
    }

    /// Takes back the counts of a group that was rolled back.
    pub(super) fn roll_back(&mut self) {
        for user_id in self.uncommitted.drain(..) {
            if let Some(count) = self.counts.get_mut(&user_id) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.counts.remove(&user_id);
                }
            }
        }
    }
}
