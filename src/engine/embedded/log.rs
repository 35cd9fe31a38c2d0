//! Appends and removes messages within the transaction of a group of writes.

use std::{collections::HashMap, sync::Arc};

use rusqlite::{CachedStatement, Transaction, params};

use super::{
    creators::Creators,
    error::from_sqlite,
    pages,
    rooms::{Room, Rooms},
};
use crate::engine::{Appended, Draft, Error, RetentionLimits};
use crate::types::{RoomName, Time};

/// Maximum number of messages that one write removes: few enough not to delay appends in the same group.
pub(super) const CHUNK: usize = 256;

/// The writer's view of the rooms: the published state, overlaid with the changes of the current group.
#[derive(Debug)]
pub(super) struct RoomLog {
    published: Arc<Rooms>,
    /// Rooms changed by the current group, as it leaves them. Empty between groups.
    changed: HashMap<RoomName, Room>,
    /// Number of rooms in `changed` that are new.
    created: usize,
    /// Maximum number of rooms.
    limit: usize,
    creators: Creators,
}

impl RoomLog {
    pub(super) fn new(published: Arc<Rooms>, limit: usize, creators: Creators) -> Self {
        Self { published, changed: HashMap::new(), created: 0, limit, creators }
    }

    /// Prepares the statement that inserts a message. Prepared once for consecutive appends of a group.
    pub(super) fn insertion<'t>(transaction: &'t Transaction<'_>) -> rusqlite::Result<CachedStatement<'t>> {
        transaction.prepare_cached(
            "INSERT INTO messages (room_id, seq, time, user_id, id, keyed, text, kind, target, body)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
             ON CONFLICT (room_id, user_id, id) WHERE keyed = 1 DO NOTHING",
        )
    }

    /// Appends a draft. `Ok(Err(..))` refuses this draft only; `Err(..)` fails the whole group.
    pub(super) fn append(
        &mut self,
        transaction: &Transaction<'_>,
        insertion: &mut CachedStatement<'_>,
        draft: &Draft,
        time: Time,
    ) -> rusqlite::Result<Result<Appended, Error>> {
        let room = match self.room(&draft.room) {
            Some(room) => room,
            None if self.published.len() + self.created >= self.limit => {
                return Ok(Err(Error::TooManyRooms { limit: self.limit }));
            }
            None => match self.creators.count(&draft.user_id) {
                Ok(()) => self.create(transaction, draft, time)?,
                Err(error) => return Ok(Err(error)),
            },
        };
        let seq = room.head + 1;
        let Draft { user_id, id, keyed, kind, target, text, body, .. } = draft;
        let body = (!body.is_empty()).then_some(&body[..]);
        let inserted =
            insertion.execute(params![room.id, seq, time.0, user_id, id, keyed, text, kind.number(), target, body])?;
        if inserted == 1 {
            self.change(&draft.room, Room { head: seq, ..room });
            return Ok(Ok(Appended::Accepted { seq, time }));
        }
        let first = transaction
            .prepare_cached(
                "SELECT seq, time, user_id, id, text, kind, target, body FROM messages
                 WHERE room_id = ? AND user_id = ? AND id = ? AND keyed = 1",
            )?
            .query_row(params![room.id, user_id, id], |row| pages::record(&draft.room, row));
        match first {
            Ok(first) => Ok(Ok(Appended::Duplicate(Box::new(first)))),
            // A record that cannot be decoded must not fail the whole group, and with it the log.
            Err(error @ rusqlite::Error::FromSqlConversionFailure(..)) => Ok(Err(from_sqlite(&error))),
            Err(error) => Err(error),
        }
    }

    /// Removes the oldest messages of a room that exceed its limits, at most one chunk; returns how many.
    pub(super) fn trim(
        &mut self,
        transaction: &Transaction<'_>,
        name: &RoomName,
        limits: RetentionLimits,
        now: Time,
    ) -> rusqlite::Result<usize> {
        let Some(room) = self.room(name) else { return Ok(0) };
        let mut floor = room.floor;
        let mut oldest = transaction
            .prepare_cached("SELECT seq, time FROM messages WHERE room_id = ? AND seq > ? ORDER BY seq LIMIT ?")?;
        let mut oldest = oldest.query(params![room.id, room.floor, CHUNK])?;
        while let Some(row) = oldest.next()? {
            let seq = row.get(0)?;
            // Clocks may step back: every message after one that stays also stays.
            if !limits.are_exceeded_by(seq, Time(row.get(1)?), room.head, now) {
                break;
            }
            floor = seq;
        }
        if floor == room.floor {
            return Ok(0);
        }
        self.change(name, Room { floor, ..room });
        transaction
            .prepare_cached("DELETE FROM messages WHERE room_id = ? AND seq > ? AND seq <= ?")?
            .execute(params![room.id, room.floor, floor])
    }

    fn room(&self, name: &RoomName) -> Option<Room> {
        self.changed.get(name).copied().or_else(|| self.published.get(name))
    }

    fn change(&mut self, name: &RoomName, room: Room) {
        match self.changed.get_mut(name) {
            Some(changed) => *changed = room,
            None => _ = self.changed.insert(name.clone(), room),
        }
    }

    /// Creates the room of its first message.
    fn create(&mut self, transaction: &Transaction<'_>, first: &Draft, time: Time) -> rusqlite::Result<Room> {
        transaction
            .prepare_cached("INSERT INTO rooms (name, head, created_at, creator) VALUES (?, 0, ?, ?)")?
            .execute(params![first.room.as_str(), time.0, first.user_id])?;
        let room = Room { id: transaction.last_insert_rowid(), head: 0, floor: 0, created_at: time };
        self.changed.insert(first.room.clone(), room);
        self.created += 1;
        Ok(room)
    }

    /// Stores the changed rooms. The last step of a group's transaction.
    pub(super) fn store(&self, transaction: &Transaction<'_>) -> rusqlite::Result<()> {
        let mut update = transaction.prepare_cached("UPDATE rooms SET head = ?, floor = ? WHERE id = ?")?;
        for room in self.changed.values() {
            update.execute(params![room.head, room.floor, room.id])?;
        }
        Ok(())
    }

    /// Publishes the changed rooms after the group's commit.
    pub(super) fn publish(&mut self) {
        self.published.publish(self.changed.drain());
        self.created = 0;
        self.creators.commit();
    }

    /// Discards the changes of a group that was rolled back.
    pub(super) fn roll_back(&mut self) {
        self.changed.clear();
        self.created = 0;
        self.creators.roll_back();
    }
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroU64, time::Duration};

    use rusqlite::Connection;

    use super::{super::schema, *};

    /// An empty file and the writer's view of it, limited to two rooms.
    struct Fresh {
        log: RoomLog,
        connection: Connection,
        _folder: tempfile::TempDir,
    }

    impl Fresh {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("rialto.db");
            let mut connection = Connection::open(&file).unwrap();
            schema::prepare(&mut connection, &file).unwrap();
            let log = log(&connection, 2, 0);
            Self { log, connection, _folder: folder }
        }

        /// Runs a group of one message per named room, up to its commit.
        fn group(&mut self, rooms: &[&str], time: Time) -> (Vec<Result<Appended, Error>>, Transaction<'_>) {
            let transaction = self.connection.transaction().unwrap();
            let mut insertion = RoomLog::insertion(&transaction).unwrap();
            let mut append = |room: &&str| self.log.append(&transaction, &mut insertion, &draft(room), time).unwrap();
            let appended = rooms.iter().map(&mut append).collect();
            drop(insertion);
            self.log.store(&transaction).unwrap();
            (appended, transaction)
        }

        fn commit(&mut self, rooms: &[&str]) -> Vec<Result<Appended, Error>> {
            self.commit_at(rooms, Time(7))
        }

        fn commit_at(&mut self, rooms: &[&str], time: Time) -> Vec<Result<Appended, Error>> {
            let (appended, transaction) = self.group(rooms, time);
            transaction.commit().unwrap();
            self.log.publish();
            appended
        }

        /// Returns the number of removed messages, and the floor.
        fn trim(&mut self, room: &str, limits: RetentionLimits, now: Time) -> (usize, u64) {
            let room = RoomName::new(room).unwrap();
            let transaction = self.connection.transaction().unwrap();
            let removed = self.log.trim(&transaction, &room, limits, now).unwrap();
            self.log.store(&transaction).unwrap();
            transaction.commit().unwrap();
            self.log.publish();
            (removed, self.log.published.get(&room).map_or(0, |room| room.floor))
        }

        fn published(&self) -> Vec<(RoomName, Room)> {
            self.log.published.after(None, usize::MAX)
        }
    }

    fn log(connection: &Connection, rooms: usize, of_user: usize) -> RoomLog {
        let creators = Creators::load(connection, of_user).unwrap();
        RoomLog::new(Arc::new(Rooms::load(connection).unwrap()), rooms, creators)
    }

    fn draft(room: &str) -> Draft {
        let room = RoomName::new(room).unwrap();
        Draft::message(room, "ada".into(), String::new(), false, "text".into())
    }

    #[test]
    fn a_group_becomes_visible_when_it_is_committed() {
        let mut fresh = Fresh::new();
        fresh.commit(&["b"]);
        let before = fresh.published();
        drop(fresh.group(&["b", "a", "b"], Time(7)));
        assert_eq!(fresh.published(), before);
        fresh.log.roll_back();
        fresh.commit(&["b", "a", "b"]);
        let heads: Vec<_> = fresh.published().into_iter().map(|(name, room)| (name.to_string(), room.head)).collect();
        assert_eq!(heads, [("a".into(), 1), ("b".into(), 3)], "the group that was rolled back left nothing");
        assert_eq!(Rooms::load(&fresh.connection).unwrap().after(None, usize::MAX), fresh.published());
    }

    #[test]
    fn each_trim_removes_one_chunk_and_the_next_continues_after_it() {
        let mut fresh = Fresh::new();
        fresh.commit(&["a"; 2 * CHUNK + 10]);
        let last_five = RetentionLimits { messages: NonZeroU64::new(5), age: None };
        for (removed, floor) in [(256, 256), (256, 512), (5, 517), (0, 517)] {
            assert_eq!(fresh.trim("a", last_five, Time(7)), (removed, floor));
            let left: u64 = fresh.connection.query_row("SELECT count(*) FROM messages", [], |row| row.get(0)).unwrap();
            assert_eq!(left, 522 - floor);
        }
        assert_eq!(fresh.published()[0].1.head, 522);
        assert_eq!(Rooms::load(&fresh.connection).unwrap().after(None, 1), fresh.published());
        assert_eq!(fresh.trim("none", last_five, Time(7)), (0, 0));
    }

    #[test]
    fn a_message_within_the_age_limit_also_keeps_older_ones_after_it() {
        let mut fresh = Fresh::new();
        for time in [10, 20, 15, 31, 5, 40] {
            fresh.commit_at(&["a"], Time(time));
        }
        let age = |nanos| RetentionLimits { messages: None, age: Some(Duration::from_nanos(nanos)) };
        assert_eq!(fresh.trim("a", age(30), Time(40)), (0, 0), "a message exactly as old as the limit stays");
        assert_eq!(fresh.trim("a", age(10), Time(0)), (0, 0), "the clock stepped back");
        assert_eq!(fresh.trim("a", age(10), Time(41)), (3, 3), "31 is within the limit, so 5 stays");
        let both = RetentionLimits { messages: NonZeroU64::new(2), ..age(10) };
        assert_eq!(fresh.trim("a", both, Time(41)), (2, 5), "31 exceeds the count, and then 5 is the oldest");
    }

    #[test]
    fn rooms_of_a_group_that_was_rolled_back_do_not_count() {
        let mut fresh = Fresh::new();
        drop(fresh.group(&["a", "b"], Time(7)));
        fresh.log.roll_back();
        fresh.commit(&["c"]);
        let two_more = fresh.commit(&["d", "e"]);
        assert!(matches!(two_more[..], [Ok(_), Err(Error::TooManyRooms { limit: 2 })]), "{two_more:?}");
    }

    #[test]
    fn rooms_of_a_group_that_was_rolled_back_do_not_count_for_their_creator() {
        let mut fresh = Fresh::new();
        fresh.log = log(&fresh.connection, 100, 2);
        fresh.commit(&["a"]);
        drop(fresh.group(&["b", "c"], Time(7)));
        fresh.log.roll_back();
        let (made, group) = fresh.group(&["d", "e"], Time(7));
        assert!(matches!(made[..], [Ok(_), Err(Error::TooManyRoomsOfUser { limit: 2 })]), "{made:?}");
        drop(group);
        fresh.log.roll_back();
        let made = fresh.commit(&["f", "a", "g"]);
        assert!(matches!(made[..], [Ok(_), Ok(_), Err(Error::TooManyRoomsOfUser { .. })]), "{made:?}");
        // Counted again from the file.
        fresh.log = log(&fresh.connection, 100, 3);
        let made = fresh.commit(&["g", "h"]);
        assert!(matches!(made[..], [Ok(_), Err(Error::TooManyRoomsOfUser { .. })]), "{made:?}");
    }
}
