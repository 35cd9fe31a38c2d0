//! Rooms and messages in the file.

use std::{collections::HashMap, mem};

use rusqlite::{CachedStatement, Connection, OptionalExtension, Row, Transaction, params};

use crate::engine::{Appended, Draft, Error, Page, Record, RoomInfo, RoomName, Time};

/// The writer's knowledge of the rooms, so that no append reads one.
#[derive(Debug)]
pub(super) struct Log {
    rooms: HashMap<RoomName, Room>,
    /// Rooms whose head is ahead of the file.
    moved: Vec<RoomName>,
    existing: usize,
    limit: usize,
}

#[derive(Debug)]
struct Room {
    id: i64,
    head: u64,
    moved: bool,
}

impl Log {
    pub(super) fn new(connection: &Connection, limit: usize) -> rusqlite::Result<Self> {
        let existing = connection.query_row("SELECT count(*) FROM rooms", [], |row| row.get(0))?;
        Ok(Self { rooms: HashMap::new(), moved: Vec::new(), existing, limit })
    }

    /// Gives a draft its place. `Ok(Err(..))` refuses this draft alone; `Err(..)` is the whole group's failure.
    pub(super) fn append(
        &mut self,
        transaction: &Transaction<'_>,
        draft: &Draft,
        time: Time,
    ) -> rusqlite::Result<Result<Appended, Error>> {
        self.know(transaction, &draft.room, time)?;
        let Some(room) = self.rooms.get_mut(&draft.room) else {
            return Ok(Err(Error::TooManyRooms { limit: self.limit }));
        };
        let seq = room.head + 1;
        let inserted = transaction
            .prepare_cached(
                "INSERT INTO messages (room_id, seq, time, user_id, id, keyed, text) VALUES (?, ?, ?, ?, ?, ?, ?)
                 ON CONFLICT (room_id, user_id, id) WHERE keyed = 1 DO NOTHING",
            )?
            .execute(params![room.id, seq, time.0, draft.user_id, draft.id, draft.keyed, draft.text])?;
        if inserted == 1 {
            room.head = seq;
            if !mem::replace(&mut room.moved, true) {
                self.moved.push(draft.room.clone());
            }
            return Ok(Ok(Appended::Accepted { seq, time }));
        }
        let first = transaction
            .prepare_cached(
                "SELECT seq, time, user_id, id, text FROM messages
                 WHERE room_id = ? AND user_id = ? AND id = ? AND keyed = 1",
            )?
            .query_row(params![room.id, draft.user_id, draft.id], |row| record(&draft.room, row))?;
        Ok(Ok(Appended::Duplicate(Box::new(first))))
    }

    /// Makes sure that the room is known, unless there may be no further one.
    fn know(&mut self, transaction: &Transaction<'_>, name: &RoomName, time: Time) -> rusqlite::Result<()> {
        if self.rooms.contains_key(name) {
            return Ok(());
        }
        let stored = transaction
            .prepare_cached("SELECT id, head FROM rooms WHERE name = ?")?
            .query_row([name.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let (id, head) = match stored {
            Some(found) => found,
            None if self.existing >= self.limit => return Ok(()),
            None => {
                transaction
                    .prepare_cached("INSERT INTO rooms (name, head, created_at) VALUES (?, 0, ?)")?
                    .execute(params![name.as_str(), time.0])?;
                self.existing += 1;
                (transaction.last_insert_rowid(), 0)
            }
        };
        self.rooms.insert(name.clone(), Room { id, head, moved: false });
        Ok(())
    }

    /// Writes the heads that moved; part of every group.
    pub(super) fn store_heads(&mut self, transaction: &Transaction<'_>) -> rusqlite::Result<()> {
        let mut update = transaction.prepare_cached("UPDATE rooms SET head = ? WHERE id = ?")?;
        for name in self.moved.drain(..) {
            if let Some(room) = self.rooms.get_mut(&name) {
                update.execute(params![room.head, room.id])?;
                room.moved = false;
            }
        }
        Ok(())
    }

    /// After a group that failed the file knows better.
    pub(super) fn forget(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        *self = Self::new(connection, self.limit)?;
        Ok(())
    }
}

fn record(room: &RoomName, row: &Row<'_>) -> rusqlite::Result<Record> {
    Ok(Record {
        room: room.clone(),
        seq: row.get(0)?,
        time: Time(row.get(1)?),
        user_id: row.get(2)?,
        id: row.get(3)?,
        text: row.get(4)?,
    })
}

pub(super) fn floor_and_head(connection: &Connection, room: &RoomName) -> rusqlite::Result<(u64, u64)> {
    let mut position = connection.prepare_cached("SELECT floor, head FROM rooms WHERE name = ?")?;
    let found = position.query_row([room.as_str()], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    Ok(found.unwrap_or((0, 0)))
}

/// One page, in one read transaction.
pub(super) fn read(
    connection: &mut Connection,
    room: &RoomName,
    after: u64,
    max: usize,
    page_bytes: usize,
) -> rusqlite::Result<Page> {
    let transaction = connection.transaction()?;
    let (floor, head) = floor_and_head(&transaction, room)?;
    let select = transaction.prepare_cached(
        "SELECT seq, time, user_id, id, text FROM messages
         WHERE room_id = (SELECT id FROM rooms WHERE name = ?) AND seq > ? ORDER BY seq LIMIT ?",
    )?;
    // A cursor beyond what SQLite can hold is beyond every message.
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let limit = i64::try_from(max).unwrap_or(i64::MAX);
    let (records, cut) = take_page(select, room, params![room.as_str(), after, limit], page_bytes)?;
    let through = match records.last() {
        Some(last) if cut || records.len() >= max => last.seq,
        _ => head,
    };
    Ok(Page { records, through, floor, head })
}

/// The same backwards.
pub(super) fn read_before(
    connection: &mut Connection,
    room: &RoomName,
    before: u64,
    max: usize,
    page_bytes: usize,
) -> rusqlite::Result<Page> {
    let transaction = connection.transaction()?;
    let (floor, head) = floor_and_head(&transaction, room)?;
    let select = transaction.prepare_cached(
        "SELECT seq, time, user_id, id, text FROM messages
         WHERE room_id = (SELECT id FROM rooms WHERE name = ?) AND seq < ? ORDER BY seq DESC LIMIT ?",
    )?;
    let limit = i64::try_from(max).unwrap_or(i64::MAX);
    let below = i64::try_from(before).unwrap_or(i64::MAX);
    let (mut records, _) = take_page(select, room, params![room.as_str(), below, limit], page_bytes)?;
    records.reverse();
    Ok(Page { records, through: head.min(before.saturating_sub(1)), floor, head })
}

pub(super) fn room(connection: &Connection, room: &RoomName) -> rusqlite::Result<Option<RoomInfo>> {
    let mut select = connection.prepare_cached("SELECT head, created_at FROM rooms WHERE name = ?")?;
    let info = |row: &Row<'_>| Ok(RoomInfo { name: room.clone(), head: row.get(0)?, created_at: Time(row.get(1)?) });
    select.query_row([room.as_str()], info).optional()
}

pub(super) fn rooms(connection: &Connection, after: Option<&RoomName>, max: usize) -> rusqlite::Result<Vec<RoomInfo>> {
    let mut select =
        connection.prepare_cached("SELECT name, head, created_at FROM rooms WHERE name > ? ORDER BY name LIMIT ?")?;
    let max = i64::try_from(max).unwrap_or(i64::MAX);
    let rows = select.query_map(params![after.map_or("", RoomName::as_str), max], |row| {
        let name: String = row.get(0)?;
        let name = RoomName::new(&name).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
        Ok(RoomInfo { name, head: row.get(1)?, created_at: Time(row.get(2)?) })
    })?;
    rows.collect()
}

/// Says also whether the bytes cut it.
fn take_page(
    mut select: CachedStatement<'_>,
    room: &RoomName,
    params: impl rusqlite::Params,
    page_bytes: usize,
) -> rusqlite::Result<(Vec<Record>, bool)> {
    let mut rows = select.query(params)?;
    let mut records = Vec::new();
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        let record = record(room, row)?;
        bytes += record.user_id.len() + record.id.len() + record.text.len();
        if bytes > page_bytes && !records.is_empty() {
            return Ok((records, true));
        }
        records.push(record);
    }
    Ok((records, false))
}
