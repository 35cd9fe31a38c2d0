//! What a group of writes does to rooms and messages.

use std::{collections::HashMap, sync::Arc};

use rusqlite::{CachedStatement, Transaction, params};

use super::{
    creators::Creators,
    pages,
    rooms::{Room, Rooms},
};
use crate::engine::{Appended, Draft, Error, RetentionLimits};
use crate::types::{RoomName, Time};

/// Messages removed by one write, at most: so few that a publish in the same group is not kept waiting.
pub(super) const CHUNK: usize = 256;

/// The writer's view of the rooms: what is published, and over it what its group has done so far.
#[derive(Debug)]
pub(super) struct Log {
    published: Arc<Rooms>,
    /// Rooms as the group leaves them. Empty between groups.
    changed: HashMap<RoomName, Room>,
    /// How many of these are new.
    created: usize,
    /// Rooms that may exist.
    limit: usize,
    creators: Creators,
}

impl Log {
    pub(super) fn new(published: Arc<Rooms>, limit: usize, creators: Creators) -> Self {
        Self { published, changed: HashMap::new(), created: 0, limit, creators }
    }

    /// Writes messages, one after the other: to be had once for all of a group that follow each other.
    pub(super) fn insertion<'t>(transaction: &'t Transaction<'_>) -> rusqlite::Result<CachedStatement<'t>> {
        transaction.prepare_cached(
            "INSERT INTO messages (room_id, seq, time, user_id, id, keyed, text) VALUES (?, ?, ?, ?, ?, ?, ?)
             ON CONFLICT (room_id, user_id, id) WHERE keyed = 1 DO NOTHING",
        )
    }

    /// Gives a draft its place. `Ok(Err(..))` refuses this draft alone; `Err(..)` is the whole group's failure.
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
        let inserted =
            insertion.execute(params![room.id, seq, time.0, draft.user_id, draft.id, draft.keyed, draft.text])?;
        if inserted == 1 {
            self.change(&draft.room, Room { head: seq, ..room });
            return Ok(Ok(Appended::Accepted { seq, time }));
        }
        let first = transaction
            .prepare_cached(
                "SELECT seq, time, user_id, id, text FROM messages
                 WHERE room_id = ? AND user_id = ? AND id = ? AND keyed = 1",
            )?
            .query_row(params![room.id, draft.user_id, draft.id], |row| pages::record(&draft.room, row))?;
        Ok(Ok(Appended::Duplicate(Box::new(first))))
    }

    /// Removes the oldest messages of a room that its limits give up, a chunk at most; says how many.
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
            // Times may step back: whatever comes after one that stays, stays.
            if !limits.give_up(seq, Time(row.get(1)?), room.head, now) {
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

    /// Brings the room of its first message into being.
    fn create(&mut self, transaction: &Transaction<'_>, first: &Draft, time: Time) -> rusqlite::Result<Room> {
        transaction
            .prepare_cached("INSERT INTO rooms (name, head, created_at, creator) VALUES (?, 0, ?, ?)")?
            .execute(params![first.room.as_str(), time.0, first.user_id])?;
        let room = Room { id: transaction.last_insert_rowid(), head: 0, floor: 0, created_at: time };
        self.changed.insert(first.room.clone(), room);
        self.created += 1;
        Ok(room)
    }

    /// Writes where the rooms of the group stand now; the last part of its transaction.
    pub(super) fn store(&self, transaction: &Transaction<'_>) -> rusqlite::Result<()> {
        let mut update = transaction.prepare_cached("UPDATE rooms SET head = ?, floor = ? WHERE id = ?")?;
        for room in self.changed.values() {
            update.execute(params![room.head, room.floor, room.id])?;
        }
        Ok(())
    }

    /// The group is committed.
    pub(super) fn publish(&mut self) {
        self.published.publish(self.changed.drain());
        self.created = 0;
        self.creators.keep();
    }

    /// The group has failed, and left nothing behind.
    pub(super) fn forget(&mut self) {
        self.changed.clear();
        self.created = 0;
        self.creators.forget();
    }
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroU64, time::Duration};

    use rusqlite::Connection;

    use super::{super::schema, *};

    /// A file with nothing in it, and the writer's view of it, for two rooms.
    struct Fresh {
        log: Log,
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

        /// A group of one message in each room, up to its commit.
        fn group(&mut self, rooms: &[&str], time: Time) -> (Vec<Result<Appended, Error>>, Transaction<'_>) {
            let transaction = self.connection.transaction().unwrap();
            let mut insertion = Log::insertion(&transaction).unwrap();
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

        /// Says how many were removed, and the floor.
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

    fn log(connection: &Connection, rooms: usize, of_user: usize) -> Log {
        let creators = Creators::load(connection, of_user).unwrap();
        Log::new(Arc::new(Rooms::load(connection).unwrap()), rooms, creators)
    }

    fn draft(room: &str) -> Draft {
        let room = RoomName::new(room).unwrap();
        Draft { room, user_id: "ada".into(), id: String::new(), keyed: false, text: "text".into() }
    }

    #[test]
    fn rooms_show_a_group_when_it_is_committed_and_not_before() {
        let mut fresh = Fresh::new();
        fresh.commit(&["b"]);
        let before = fresh.published();
        drop(fresh.group(&["b", "a", "b"], Time(7)));
        assert_eq!(fresh.published(), before);
        fresh.log.forget();
        fresh.commit(&["b", "a", "b"]);
        let stands: Vec<_> = fresh.published().into_iter().map(|(name, room)| (name.to_string(), room.head)).collect();
        assert_eq!(stands, [("a".into(), 1), ("b".into(), 3)], "what was forgotten left no trace");
        assert_eq!(Rooms::load(&fresh.connection).unwrap().after(None, usize::MAX), fresh.published());
    }

    #[test]
    fn a_chunk_is_small_and_the_next_goes_on_behind_it() {
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
    fn the_first_message_that_is_young_enough_keeps_those_behind_it() {
        let mut fresh = Fresh::new();
        for time in [10, 20, 15, 31, 5, 40] {
            fresh.commit_at(&["a"], Time(time));
        }
        let age = |nanos| RetentionLimits { messages: None, age: Some(Duration::from_nanos(nanos)) };
        assert_eq!(fresh.trim("a", age(30), Time(40)), (0, 0), "as old as the limit is not older");
        assert_eq!(fresh.trim("a", age(10), Time(0)), (0, 0), "before its time");
        assert_eq!(fresh.trim("a", age(10), Time(41)), (3, 3), "31 is young enough, so 5 stays");
        let both = RetentionLimits { messages: NonZeroU64::new(2), ..age(10) };
        assert_eq!(fresh.trim("a", both, Time(41)), (2, 5), "31 is one too many, and behind it 5 is the oldest");
    }

    #[test]
    fn rooms_that_a_failed_group_made_do_not_count() {
        let mut fresh = Fresh::new();
        drop(fresh.group(&["a", "b"], Time(7)));
        fresh.log.forget();
        fresh.commit(&["c"]);
        let two_more = fresh.commit(&["d", "e"]);
        assert!(matches!(two_more[..], [Ok(_), Err(Error::TooManyRooms { limit: 2 })]), "{two_more:?}");
    }

    #[test]
    fn nor_do_they_count_for_who_made_them() {
        let mut fresh = Fresh::new();
        fresh.log = log(&fresh.connection, 100, 2);
        fresh.commit(&["a"]);
        drop(fresh.group(&["b", "c"], Time(7)));
        fresh.log.forget();
        let (made, group) = fresh.group(&["d", "e"], Time(7));
        assert!(matches!(made[..], [Ok(_), Err(Error::TooManyRoomsOfUser { limit: 2 })]), "{made:?}");
        drop(group);
        fresh.log.forget();
        let made = fresh.commit(&["f", "a", "g"]);
        assert!(matches!(made[..], [Ok(_), Ok(_), Err(Error::TooManyRoomsOfUser { .. })]), "{made:?}");
        // As it is in the file.
        fresh.log = log(&fresh.connection, 100, 3);
        let made = fresh.commit(&["g", "h"]);
        assert!(matches!(made[..], [Ok(_), Err(Error::TooManyRoomsOfUser { .. })]), "{made:?}");
    }
}
