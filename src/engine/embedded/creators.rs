//! How many rooms each user has brought into being. The writer alone asks, and only when a room is made.

use std::collections::HashMap;

use rusqlite::Connection;

use crate::engine::Error;

/// The rooms of each creator, those of the group under way included.
#[derive(Debug)]
pub(super) struct Creators {
    counts: HashMap<String, usize>,
    /// The creators of the group's rooms. Empty between groups.
    uncommitted: Vec<String>,
    /// Rooms that one user may have made; 0: any number, and none is counted.
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

    /// Counts one more room of this user, if there may be one.
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

    /// The group is committed.
    pub(super) fn keep(&mut self) {
        self.uncommitted.clear();
    }

    /// The group has failed, and its rooms with it.
    pub(super) fn forget(&mut self) {
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
