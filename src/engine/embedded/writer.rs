//! The thread that writes: it commits everything that waits as one group, then tells the feeds and the callers.

use std::{fs::File, io, thread};

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{mpsc, watch};

use super::{
    from_sqlite,
    log::Log,
    queue::{Command, Write},
    users,
};
use crate::engine::{Appended, Draft, Error, Fed, Record, Refused, Reply, Time, UserChange, UserChanges, WriteError};

/// Bytes of one group, at which the next begins: a transaction that lasts, or a burst that overflows the rings, would harm others.
const GROUP_BYTES: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct WriterThread(thread::JoinHandle<()>);

impl WriterThread {
    pub(super) async fn join(self) {
        let joined = tokio::task::spawn_blocking(|| self.0.join()).await;
        if !matches!(joined, Ok(Ok(()))) {
            tracing::error!("the writer of the log panicked");
        }
    }
}

/// Starts the thread, which keeps the folder's lock until it ends.
pub(super) fn start(
    connection: Connection,
    log: Log,
    inbox: mpsc::Receiver<Command>,
    lock: File,
    rooms_feed: mpsc::Sender<Fed>,
    users_feed: mpsc::Sender<UserChanges>,
    stopped: watch::Sender<bool>,
) -> io::Result<WriterThread> {
    let writer = Writer {
        connection,
        log,
        inbox,
        rooms_feed: Some(rooms_feed),
        users_feed,
        users_version: 0,
        stopped,
        _lock: lock,
    };
    let thread = thread::Builder::new().name("log-writer".into()).spawn(|| writer.run())?;
    Ok(WriterThread(thread))
}

struct Writer {
    connection: Connection,
    log: Log,
    inbox: mpsc::Receiver<Command>,
    /// Absent once sealed.
    rooms_feed: Option<mpsc::Sender<Fed>>,
    users_feed: mpsc::Sender<UserChanges>,
    users_version: u64,
    /// A commit failed: whether the file has it is unknown, so nothing may be acknowledged any more.
    stopped: watch::Sender<bool>,
    _lock: File,
}

/// What a write led to inside its group's transaction.
enum Outcome {
    Append(Result<Appended, Error>),
    Users(Result<Vec<UserChange>, WriteError>),
    Trim(Result<usize, Error>),
}

impl Writer {
    fn run(mut self) {
        while let Some(first) = self.inbox.blocking_recv() {
            let (group, then) = self.group(first);
            if !group.is_empty() {
                self.settle(group);
            }
            match then {
                Some(Command::Seal { sealed }) => {
                    self.rooms_feed = None;
                    _ = sealed.send(());
                }
                Some(Command::Close) => return,
                Some(Command::Write(_)) | None => {}
            }
        }
    }

    /// All writes that wait, up to a command of another kind, which comes after them.
    fn group(&mut self, first: Command) -> (Vec<Write>, Option<Command>) {
        let mut group = Vec::new();
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(command) = next {
            match command {
                Command::Write(write) => {
                    bytes += write.size();
                    group.push(write);
                }
                other => return (group, Some(other)),
            }
            next = if bytes < GROUP_BYTES { self.inbox.try_recv().ok() } else { None };
        }
        (group, None)
    }

    fn settle(&mut self, group: Vec<Write>) {
        if *self.stopped.borrow() {
            return refuse(group, &Error::Stopped);
        }
        match self.commit(&group) {
            Ok(outcomes) => self.announce(group, outcomes),
            Err(error) => match self.passing(&error) {
                Some(passing) => self.refuse_most(group, &passing),
                // Whether this group is in the file is unknown. Unanswered, its receipts say that the log has stopped.
                None => _ = self.stopped.send_replace(true),
            },
        }
    }

    /// What makes space must not fail with what wants it: it is tried again by itself.
    fn refuse_most(&mut self, group: Vec<Write>, error: &Error) {
        let (trims, others): (Vec<_>, Vec<_>) =
            group.into_iter().partition(|write| matches!(write, Write::Trim { .. }));
        if others.is_empty() {
            return refuse(trims, error);
        }
        refuse(others, error);
        if !trims.is_empty() {
            self.settle(trims);
        }
    }

    fn commit(&mut self, group: &[Write]) -> rusqlite::Result<Vec<Outcome>> {
        let time = Time::now();
        let mut transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut outcomes = Vec::with_capacity(group.len());
        for write in group {
            outcomes.push(match write {
                Write::Append { .. } if self.rooms_feed.is_none() => Outcome::Append(Err(Error::Sealed)),
                Write::Append { draft, .. } => Outcome::Append(self.log.append(&transaction, draft, time)?),
                Write::Users { writes, .. } => Outcome::Users(users::write(&mut transaction, writes)?),
                Write::Trim { .. } if self.rooms_feed.is_none() => Outcome::Trim(Err(Error::Sealed)),
                Write::Trim { room, limits, .. } => {
                    Outcome::Trim(Ok(self.log.trim(&transaction, room, *limits, time)?))
                }
            });
        }
        self.log.store(&transaction)?;
        transaction.commit()?;
        self.log.publish();
        Ok(outcomes)
    }

    /// What the callers of a group that failed are told, if the next group may do better and nothing of this one is in the file.
    fn passing(&mut self, error: &rusqlite::Error) -> Option<Error> {
        use rusqlite::ErrorCode::{DatabaseBusy, DatabaseLocked, DiskFull};
        let passes = matches!(error.sqlite_error_code(), Some(DiskFull | DatabaseBusy | DatabaseLocked));
        // Out of the transaction is: rolled back.
        if passes && self.connection.is_autocommit() {
            self.log.forget();
            tracing::warn!(%error, "a group of writes was refused");
            return Some(from_sqlite(error));
        }
        tracing::error!(%error, "the log has stopped: restart the server when the cause is mended");
        None
    }

    /// The feeds first: when a caller hears of its record, the hub is about to. A feed whose reader is gone has nobody to tell.
    fn announce(&mut self, group: Vec<Write>, outcomes: Vec<Outcome>) {
        let mut records = Vec::with_capacity(group.len());
        let mut answers: Vec<(Reply, Appended)> = Vec::with_capacity(group.len());
        for (write, outcome) in group.into_iter().zip(outcomes) {
            match (write, outcome) {
                (Write::Append { draft, reply, .. }, Outcome::Append(Ok(appended))) => {
                    if let Appended::Accepted { seq, time } = appended {
                        records.push(into_record(draft, seq, time));
                    }
                    answers.push((reply, appended));
                }
                (Write::Append { draft, reply, .. }, Outcome::Append(Err(error))) => {
                    _ = reply.send(Err(Refused::new(Some(draft), error)));
                }
                (Write::Users { reply, .. }, Outcome::Users(outcome)) => _ = reply.send(self.feed_users(outcome)),
                (Write::Trim { reply, .. }, Outcome::Trim(outcome)) => _ = reply.send(outcome),
                // Outcomes stand in the order of their writes, each of its kind.
                _ => {}
            }
        }
        if let Some(feed) = &self.rooms_feed
            && !records.is_empty()
        {
            _ = feed.blocking_send(Fed::Records(records));
        }
        for (reply, appended) in answers {
            _ = reply.send(Ok(appended));
        }
    }

    fn feed_users(&mut self, outcome: Result<Vec<UserChange>, WriteError>) -> Result<u64, WriteError> {
        let changes = outcome?;
        self.users_version += 1;
        _ = self.users_feed.blocking_send(UserChanges { version: self.users_version, changes });
        Ok(self.users_version)
    }
}

/// Nothing of this group is in the file.
fn refuse(group: Vec<Write>, error: &Error) {
    for write in group {
        match write {
            Write::Append { draft, reply, .. } => _ = reply.send(Err(Refused::new(Some(draft), error.clone()))),
            Write::Users { reply, .. } => _ = reply.send(Err(error.clone().into())),
            Write::Trim { reply, .. } => _ = reply.send(Err(error.clone())),
        }
    }
}

fn into_record(draft: Draft, seq: u64, time: Time) -> Record {
    Record { room: draft.room, seq, time, user_id: draft.user_id, id: draft.id, text: draft.text }
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroU64, path::Path, sync::Arc};

    use futures_util::FutureExt;
    use tokio::sync::{Semaphore, oneshot};

    use super::{
        super::{rooms::Rooms, schema},
        *,
    };
    use crate::engine::{Limits, Receipt, RoomName};

    fn append(bytes: usize) -> (Write, Receipt) {
        let draft = Draft {
            room: RoomName::default(),
            user_id: "ada".into(),
            id: String::new(),
            keyed: false,
            text: "x".repeat(bytes),
        };
        let (reply, receipt) = Receipt::pair();
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        (Write::Append { draft, reply, _bytes: permit }, receipt)
    }

    /// A writer in this folder, with nobody at its feeds.
    fn writer(folder: &Path) -> Writer {
        let file = folder.join("rialto.db");
        let mut connection = Connection::open(&file).unwrap();
        schema::prepare(&mut connection, &file).unwrap();
        let log = Log::new(Arc::new(Rooms::load(&connection).unwrap()), 1);
        Writer {
            connection,
            log,
            inbox: mpsc::channel(1).1,
            rooms_feed: Some(mpsc::channel(1).0),
            users_feed: mpsc::channel(1).0,
            users_version: 0,
            stopped: watch::Sender::new(false),
            _lock: tempfile::tempfile().unwrap(),
        }
    }

    fn trim() -> (Write, oneshot::Receiver<Result<usize, Error>>) {
        let (reply, trimmed) = oneshot::channel();
        let limits = Limits { messages: NonZeroU64::new(2), age: None };
        (Write::Trim { room: RoomName::default(), limits, reply }, trimmed)
    }

    #[test]
    fn a_sealed_log_is_not_trimmed() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = writer(folder.path());
        writer.rooms_feed = None;
        let (write, trimmed) = trim();
        writer.settle(vec![write]);
        assert!(matches!(trimmed.blocking_recv(), Ok(Err(Error::Sealed))));
    }

    /// Publishes that fail must not take down with them the removal that would help them.
    #[test]
    fn what_makes_space_does_not_fail_with_what_wants_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = writer(folder.path());
        schema::limit(&writer.connection, 256 << 10).unwrap();
        let mut taken = 0;
        let refused = loop {
            let (write, receipt) = append(10_000);
            writer.settle(vec![write]);
            match receipt.now_or_never().unwrap() {
                Ok(_) => taken += 1,
                Err(refused) => break refused,
            }
        };
        assert!(matches!(refused.error, Error::DiskFull) && refused.draft.is_some());

        let (first, first_receipt) = append(10_000);
        let (second, second_receipt) = append(10_000);
        let (trim, trimmed) = trim();
        writer.settle(vec![first, trim, second]);
        for receipt in [first_receipt, second_receipt] {
            assert!(matches!(receipt.now_or_never().unwrap().unwrap_err().error, Error::DiskFull));
        }
        assert_eq!(trimmed.blocking_recv().unwrap().unwrap(), taken - 2);
        let (write, receipt) = append(10_000);
        writer.settle(vec![write]);
        assert!(
            matches!(receipt.now_or_never().unwrap(), Ok(Appended::Accepted { seq, .. }) if seq == taken as u64 + 1)
        );
    }
}
