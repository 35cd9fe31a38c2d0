//! Reads pages of messages, each from one snapshot of the file.

use bytes::Bytes;
use rusqlite::{CachedStatement, Connection, Error, OptionalExtension, Row, params, types::Type};

use crate::engine::{Page, Record, RecordKind, UnknownKind};
use crate::types::{RoomName, Time};

/// Decodes a row of `seq, time, user_id, id, text, kind, target, body`.
pub(super) fn record(room: &RoomName, row: &Row<'_>) -> rusqlite::Result<Record> {
    Ok(Record {
        room: room.clone(),
        seq: row.get(0)?,
        time: Time(row.get(1)?),
        user_id: row.get(2)?,
        id: row.get(3)?,
        text: row.get(4)?,
        kind: RecordKind::try_from(row.get::<_, i64>(5)?).map_err(undecodable)?,
        target: row.get(6)?,
        body: row.get_ref(7)?.as_blob_or_null()?.map_or_else(Bytes::new, Bytes::copy_from_slice),
    })
}

fn undecodable(unknown: UnknownKind) -> Error {
    Error::FromSqlConversionFailure(5, Type::Integer, unknown.into())
}

fn floor_and_head(connection: &Connection, room: &RoomName) -> rusqlite::Result<(u64, u64)> {
    let mut position = connection.prepare_cached("SELECT floor, head FROM rooms WHERE name = ?")?;
    let found = position.query_row([room.as_str()], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    Ok(found.unwrap_or((0, 0)))
}

/// Reads the page that begins after a `seq`, in one read transaction.
pub(super) fn read(
    connection: &mut Connection,
    room: &RoomName,
    after: u64,
    max: usize,
    page_bytes: usize,
) -> rusqlite::Result<Page> {
    const FORWARDS: &str = "SELECT seq, time, user_id, id, text, kind, target, body FROM messages
         WHERE room_id = (SELECT id FROM rooms WHERE name = ?) AND seq > ? ORDER BY seq LIMIT ?";
    let (mut page, cut) = select_page(connection, room, FORWARDS, after, max, page_bytes)?;
    page.through = match page.records.last() {
        Some(last) if cut || page.records.len() >= max => last.seq,
        None if max == 0 => after.min(page.head),
        _ => page.head,
    };
    page.reached_floor = after <= page.floor;
    Ok(page)
}

/// Reads the page that ends before a `seq`, in one read transaction.
pub(super) fn read_before(
    connection: &mut Connection,
    room: &RoomName,
    before: u64,
    max: usize,
    page_bytes: usize,
) -> rusqlite::Result<Page> {
    const BACKWARDS: &str = "SELECT seq, time, user_id, id, text, kind, target, body FROM messages
         WHERE room_id = (SELECT id FROM rooms WHERE name = ?) AND seq < ? ORDER BY seq DESC LIMIT ?";
    let (mut page, _) = select_page(connection, room, BACKWARDS, before, max, page_bytes)?;
    page.records.reverse();
    page.through = page.head.min(before.saturating_sub(1));
    // This engine assigns every number, so the record after the floor is the first one.
    let first = page.records.first().map_or(page.through.saturating_add(1), |record| record.seq);
    page.reached_floor = first <= page.floor + 1;
    Ok(page)
}

/// Runs a select from a `seq` on, together with the room's position. Also returns whether the limit in bytes cut the page.
fn select_page(
    connection: &mut Connection,
    room: &RoomName,
    select: &str,
    from: u64,
    max: usize,
    page_bytes: usize,
) -> rusqlite::Result<(Page, bool)> {
    let transaction = connection.transaction()?;
    let (floor, head) = floor_and_head(&transaction, room)?;
    let select = transaction.prepare_cached(select)?;
    // A number that SQLite cannot hold is above every message.
    let from = i64::try_from(from).unwrap_or(i64::MAX);
    let limit = i64::try_from(max).unwrap_or(i64::MAX);
    let (records, cut) = take_page(select, room, params![room.as_str(), from, limit], page_bytes)?;
    Ok((Page { records, through: head, reached_floor: false, floor, head }, cut))
}

/// Reads the time of the first message above the floor, for rooms given by id and floor. Rooms without messages are left out.
pub(super) fn oldest(connection: &Connection, rooms: &[(i64, u64)]) -> rusqlite::Result<Vec<(i64, (u64, Time))>> {
    let mut select =
        connection.prepare_cached("SELECT time FROM messages WHERE room_id = ? AND seq > ? ORDER BY seq LIMIT 1")?;
    let mut times = Vec::with_capacity(rooms.len());
    for (id, floor) in rooms {
        let time = select.query_row(params![id, floor], |row| Ok(Time(row.get(0)?))).optional()?;
        times.extend(time.map(|time| (*id, (*floor, time))));
    }
    Ok(times)
}

/// Decodes rows up to the limit in bytes. Also returns whether that limit cut the page.
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
        bytes += record.user_id.len() + record.id.len() + record.text.len() + record.body.len();
        if bytes > page_bytes && !records.is_empty() {
            return Ok((records, true));
        }
        records.push(record);
    }
    Ok((records, false))
}
