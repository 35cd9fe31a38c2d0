//! Bare SQLite in this process: the cost of inserting the hub's rows and nothing else.

use std::{
    path::Path,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Result, ensure};
use indicatif::ProgressBar;
use rusqlite::{Connection, params};

use super::rialto;
use crate::{
    process,
    stamp::{Stamp, now},
    tally::Tally,
};

/// The rows to insert.
#[derive(Debug, Clone, Copy)]
pub struct Rows {
    /// Number of rooms, which take turns.
    pub rooms: u32,
    /// Total number of messages.
    pub messages: u64,
    /// Messages per transaction.
    pub group: u32,
    /// Length of a text in bytes.
    pub size: usize,
}

/// The hub's table of messages, with the hub's durability.
const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    CREATE TABLE messages (
        room_id INTEGER NOT NULL,
        seq     INTEGER NOT NULL,
        time    INTEGER NOT NULL,
        user_id TEXT    NOT NULL,
        id      TEXT    NOT NULL,
        keyed   INTEGER NOT NULL,
        text    TEXT    NOT NULL,
        PRIMARY KEY (room_id, seq)
    ) STRICT;
    CREATE UNIQUE INDEX published_once ON messages (room_id, user_id, id) WHERE keyed = 1;
";

const INSERT: &str = "INSERT INTO messages (room_id, seq, time, user_id, id, keyed, text) VALUES (?, ?, ?, ?, ?, 0, ?)";

/// Inserts the rows into a new file. Returns the elapsed time and the CPU time. Blocks.
pub fn insert(file: &Path, rows: &Rows, tally: &Tally, progress: &ProgressBar) -> Result<(Duration, Duration)> {
    let mut connection = Connection::open(file)?;
    connection.execute_batch(SCHEMA)?;
    let (cpu, clock) = (process::thread_cpu()?, Instant::now());
    let mut latencies = Vec::new();
    for first in (0..rows.messages).step_by(usize::try_from(rows.group)?) {
        let due = now();
        let transaction = connection.transaction()?;
        let mut insert = transaction.prepare_cached(INSERT)?;
        let time = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos())?;
        let group = first..rows.messages.min(first + u64::from(rows.group));
        for message in group.clone() {
            let (room, nth) = (u32::try_from(message % u64::from(rows.rooms))?, message / u64::from(rows.rooms));
            let text = Stamp { room, publisher: 0, nth, due }.text(rows.size);
            // As long as the hub's ids, and ascending like them.
            let id = format!("0190163d-8694-739b-aea5-{message:012x}");
            insert.execute(params![room, i64::try_from(nth)? + 1, time, rialto::USER, id, text])?;
        }
        drop(insert);
        transaction.commit()?;
        let count = group.end - group.start;
        latencies.resize(usize::try_from(count)?, 0);
        latencies.fill(now().saturating_sub(due));
        tally.record(0, &latencies);
        progress.inc(count);
    }
    let (took, cpu) = (clock.elapsed(), process::thread_cpu()?.saturating_sub(cpu));
    let kept: i64 = connection.query_row("SELECT count(*) FROM messages", [], |row| row.get(0))?;
    ensure!(kept == i64::try_from(rows.messages)?, "the file has {kept} rows instead of {}", rows.messages);
    Ok((took, cpu))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_in_the_file_in_its_room() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("bare.db");
        let rows = Rows { rooms: 3, messages: 100, group: 32, size: 60 };
        let tally = Tally::new(1, 0).unwrap();
        insert(&file, &rows, &tally, &ProgressBar::hidden()).unwrap();
        assert_eq!(tally.latencies().unwrap().len(), 100);
        let connection = Connection::open(&file).unwrap();
        let last = "SELECT count(*), max(seq), max(length(text)) FROM messages WHERE room_id = 0";
        let last = connection.query_row(last, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
        assert_eq!(last.unwrap(), (34_u32, 34_u32, 60_u32));
    }
}
