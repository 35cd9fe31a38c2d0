//! Where every room stands, in memory: what is committed, and nothing ahead of it. So nobody who asks waits for the file.

use std::{
    collections::BTreeMap,
    ops::Bound::{Excluded, Unbounded},
    sync::{PoisonError, RwLock, RwLockReadGuard},
};

use rusqlite::{Connection, types::Type};

use crate::engine::RoomInfo;
use crate::types::{RoomName, Time};

/// All rooms that exist, in the order of their names. The writer publishes, everyone looks.
#[derive(Debug)]
pub(super) struct Rooms(RwLock<BTreeMap<RoomName, Room>>);

/// A room, as it is in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) id: i64,
    pub(super) head: u64,
    pub(super) floor: u64,
    pub(super) created_at: Time,
}

impl Room {
    pub(super) fn info(self, name: RoomName) -> RoomInfo {
        RoomInfo { name, head: self.head, created_at: self.created_at }
    }
}

impl Rooms {
    pub(super) fn load(connection: &Connection) -> rusqlite::Result<Self> {
        let mut select = connection.prepare("SELECT name, id, head, floor, created_at FROM rooms")?;
        let rows = select.query_map([], |row| {
            let name = RoomName::new(row.get_ref(0)?.as_str()?)
                .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, Type::Text, error.into()))?;
            let created_at = Time(row.get(4)?);
            Ok((name, Room { id: row.get(1)?, head: row.get(2)?, floor: row.get(3)?, created_at }))
        })?;
        Ok(Self(RwLock::new(rows.collect::<rusqlite::Result<_>>()?)))
    }

    pub(super) fn get(&self, name: &RoomName) -> Option<Room> {
        self.look().get(name).copied()
    }

    pub(super) fn len(&self) -> usize {
        self.look().len()
    }

    /// The rooms whose names come after this one, at most `max`.
    pub(super) fn after(&self, name: Option<&RoomName>, max: usize) -> Vec<(RoomName, Room)> {
        let beyond = (name.map_or(Unbounded, Excluded), Unbounded);
        self.look().range::<RoomName, _>(beyond).take(max).map(|(name, room)| (name.clone(), *room)).collect()
    }

    /// Shows what a commit has just made durable. Nothing else may come here, and it must come before anybody is told of the commit.
    pub(super) fn publish(&self, committed: impl IntoIterator<Item = (RoomName, Room)>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).extend(committed);
    }

    fn look(&self) -> RwLockReadGuard<'_, BTreeMap<RoomName, Room>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}
