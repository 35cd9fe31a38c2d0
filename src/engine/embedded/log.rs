//! What a group of writes does to rooms and messages.

use std::{collections::HashMap, sync::Arc};

use rusqlite::{Transaction, params};

use super::{
    pages,
    rooms::{Room, Rooms},
};
use crate::engine::{Appended, Draft, Error, RoomName, Time};

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
}

impl Log {
    pub(super) fn new(published: Arc<Rooms>, limit: usize) -> Self {
        Self { published, changed: HashMap::new(), created: 0, limit }
    }

    /// Gives a draft its place. `Ok(Err(..))` refuses this draft alone; `Err(..)` is the whole group's failure.
    pub(super) fn append(
        &mut self,
        transaction: &Transaction<'_>,
        draft: &Draft,
        time: Time,
    ) -> rusqlite::Result<Result<Appended, Error>> {
        let room = match self.room(&draft.room) {
            Some(room) => room,
            None if self.published.len() + self.created >= self.limit => {
                return Ok(Err(Error::TooManyRooms { limit: self.limit }));
            }
            None => self.create(transaction, &draft.room, time)?,
        };
        let seq = room.head + 1;
        let inserted = transaction
            .prepare_cached(
                "INSERT INTO messages (room_id, seq, time, user_id, id, keyed, text) VALUES (?, ?, ?, ?, ?, ?, ?)
                 ON CONFLICT (room_id, user_id, id) WHERE keyed = 1 DO NOTHING",
            )?
            .execute(params![room.id, seq, time.0, draft.user_id, draft.id, draft.keyed, draft.text])?;
        if inserted == 1 {
            self.changed.insert(draft.room.clone(), Room { head: seq, ..room });
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

    fn room(&self, name: &RoomName) -> Option<Room> {
        self.changed.get(name).copied().or_else(|| self.published.get(name))
    }

    fn create(&mut self, transaction: &Transaction<'_>, name: &RoomName, time: Time) -> rusqlite::Result<Room> {
        transaction
            .prepare_cached("INSERT INTO rooms (name, head, created_at) VALUES (?, 0, ?)")?
            .execute(params![name.as_str(), time.0])?;
        let room = Room { id: transaction.last_insert_rowid(), head: 0, floor: 0, created_at: time };
        self.changed.insert(name.clone(), room);
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
    }

    /// The group has failed, and left nothing behind.
    pub(super) fn forget(&mut self) {
        self.changed.clear();
        self.created = 0;
    }
}

#[cfg(test)]
mod tests {
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
            let log = Log::new(Arc::new(Rooms::load(&connection).unwrap()), 2);
            Self { log, connection, _folder: folder }
        }

        /// A group of one message in each room, up to its commit.
        fn group(&mut self, rooms: &[&str]) -> (Vec<Result<Appended, Error>>, Transaction<'_>) {
            let transaction = self.connection.transaction().unwrap();
            let appended = rooms.iter().map(|room| self.log.append(&transaction, &draft(room), Time(7)).unwrap());
            let appended = appended.collect();
            self.log.store(&transaction).unwrap();
            (appended, transaction)
        }

        fn commit(&mut self, rooms: &[&str]) -> Vec<Result<Appended, Error>> {
            let (appended, transaction) = self.group(rooms);
            transaction.commit().unwrap();
            self.log.publish();
            appended
        }

        fn published(&self) -> Vec<(RoomName, Room)> {
            self.log.published.after(None, usize::MAX)
        }
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
        drop(fresh.group(&["b", "a", "b"]));
        assert_eq!(fresh.published(), before);
        fresh.log.forget();
        fresh.commit(&["b", "a", "b"]);
        let stands: Vec<_> = fresh.published().into_iter().map(|(name, room)| (name.to_string(), room.head)).collect();
        assert_eq!(stands, [("a".into(), 1), ("b".into(), 3)], "what was forgotten left no trace");
        assert_eq!(Rooms::load(&fresh.connection).unwrap().after(None, usize::MAX), fresh.published());
    }

    #[test]
    fn rooms_that_a_failed_group_made_do_not_count() {
        let mut fresh = Fresh::new();
        drop(fresh.group(&["a", "b"]));
        fresh.log.forget();
        fresh.commit(&["c"]);
        let two_more = fresh.commit(&["d", "e"]);
        assert!(matches!(two_more[..], [Ok(_), Err(Error::TooManyRooms { limit: 2 })]), "{two_more:?}");
    }
}
