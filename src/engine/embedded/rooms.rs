//! The committed state of every room, in memory, so that looking it up never waits for the file.

use std::{
    collections::BTreeMap,
    ops::Bound::{Excluded, Unbounded},
    sync::{PoisonError, RwLock, RwLockReadGuard},
};

use rusqlite::{Connection, types::Type};

use crate::engine::RoomInfo;
use crate::types::{RoomName, Time};

/// All rooms, in the order of their names. Only the writer publishes changes.
#[derive(Debug)]
pub(super) struct Rooms(RwLock<BTreeMap<RoomName, Room>>);

/// A room as it is stored.
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
        self.read().get(name).copied()
    }

    pub(super) fn len(&self) -> usize {
        self.read().len()
    }

    /// Returns at most `max` rooms whose names come after this one; `None` begins at the first.
    pub(super) fn after(&self, name: Option<&RoomName>, max: usize) -> Vec<(RoomName, Room)> {
        let beyond = (name.map_or(Unbounded, Excluded), Unbounded);
        self.read().range::<RoomName, _>(beyond).take(max).map(|(name, room)| (name.clone(), *room)).collect()
    }

    /// Publishes rooms that a commit has just made durable. Must be called before the commit is announced, and with nothing else.
    pub(super) fn publish(&self, committed: impl IntoIterator<Item = (RoomName, Room)>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).extend(committed);
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<RoomName, Room>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}
