//! The writer thread: commits all waiting writes as one group, then emits them on the feeds and answers the callers.

use std::{fs::File, io, thread};

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{mpsc, watch};

use super::{
    alarm::Alarm,
    error::from_sqlite,
    log::RoomLog,
    queue::{Command, Write},
    sessions,
    user_count::UserCount,
    users,
};
use crate::engine::{Appended, Error, FeedItem, ReceiptSender, Refused, UserChange, UserChanges, WriteError};
use crate::types::Time;

/// Size at which a group is closed, in bytes. A larger one would delay its callers, and its burst could overflow the hub's rings.
const GROUP_BYTES: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct WriterThread(thread::JoinHandle<()>);

impl WriterThread {
    pub(super) async fn join(self) {
        let joined = tokio::task::spawn_blocking(|| self.0.join()).await;
        if !matches!(joined, Ok(Ok(()))) {
            tracing::error!("the log writer thread panicked");
        }
    }
}

/// What the thread works with.
pub(super) struct Parts {
    pub(super) connection: Connection,
    pub(super) log: RoomLog,
    pub(super) user_count: UserCount,
    pub(super) inbox: mpsc::Receiver<Command>,
    /// The folder's lock, held until the thread ends.
    pub(super) lock: File,
    pub(super) rooms_feed: mpsc::Sender<FeedItem>,
    pub(super) users_feed: mpsc::Sender<UserChanges>,
    /// Set when a commit failed in a way that leaves unknown what the file holds: nothing may be acknowledged from then on.
    pub(super) stopped: watch::Sender<bool>,
    /// Reports a panic of the thread.
    pub(super) alarm: Alarm,
}

/// Starts the thread.
pub(super) fn start(parts: Parts) -> io::Result<WriterThread> {
    let Parts { connection, log, user_count, inbox, lock, rooms_feed, users_feed, stopped, alarm } = parts;
    let writer = Writer {
        connection,
        log,
        user_count,
        inbox,
        rooms_feed: Some(rooms_feed),
        users_feed,
        users_version: 0,
        stopped,
        _lock: lock,
        _alarm: alarm,
    };
    let thread = thread::Builder::new().name("log-writer".into()).spawn(|| writer.run())?;
    Ok(WriterThread(thread))
}

struct Writer {
    connection: Connection,
    log: RoomLog,
    user_count: UserCount,
    inbox: mpsc::Receiver<Command>,
    /// `None` once sealed.
    rooms_feed: Option<mpsc::Sender<FeedItem>>,
    users_feed: mpsc::Sender<UserChanges>,
    users_version: u64,
    stopped: watch::Sender<bool>,
    _lock: File,
    _alarm: Alarm,
}

/// The outcome of one write within its group's transaction.
enum Outcome {
    Append(Result<Appended, Error>),
    Users(Result<Vec<UserChange>, WriteError>),
    Trim(Result<usize, Error>),
    Session(sessions::Changed),
}

impl Writer {
    fn run(mut self) {
        while let Some(first) = self.inbox.blocking_recv() {
            // Threads that wait for this processor probably have drafts to add, and a group costs about the same at any size. On an idle
            // machine this returns immediately and adds no latency.
            thread::yield_now();
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
                #[cfg(test)]
                Some(Command::Panic) => panic!("asked to by a test"),
                Some(Command::Write(_)) | None => {}
            }
        }
    }

    /// Collects the waiting writes, up to the next command of another kind, which is returned separately and runs after them.
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
            Err(error) => match self.transient(&error) {
                Some(transient) => self.refuse_most(group, &transient),
                // Whether the file holds this group is unknown. Its dropped senders make the receipts resolve with `Stopped`.
                None => _ = self.stopped.send_replace(true),
            },
        }
    }

    /// Refuses a group that failed for lack of space, but retries its removals alone, because they create space.
    fn refuse_most(&mut self, group: Vec<Write>, error: &Error) {
        let (removals, others): (Vec<_>, Vec<_>) = group.into_iter().partition(Write::only_removes);
        if others.is_empty() {
            return refuse(removals, error);
        }
        refuse(others, error);
        if !removals.is_empty() {
            self.settle(removals);
        }
    }

    fn commit(&mut self, group: &[Write]) -> rusqlite::Result<Vec<Outcome>> {
        let time = Time::now();
        let mut transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut outcomes = Vec::with_capacity(group.len());
        let sealed = self.rooms_feed.is_none();
        for run in group.chunk_by(|one, next| one.draft().is_some() && next.draft().is_some()) {
            match run {
                [Write::Append { .. }, ..] if sealed => {
                    outcomes.extend(run.iter().map(|_| Outcome::Append(Err(Error::Sealed))));
                }
                [Write::Append { .. }, ..] => {
                    let mut insertion = RoomLog::insertion(&transaction)?;
                    for draft in run.iter().filter_map(Write::draft) {
                        outcomes.push(Outcome::Append(self.log.append(&transaction, &mut insertion, draft, time)?));
                    }
                }
                [Write::Users { writes, .. }, ..] => {
                    outcomes.push(Outcome::Users(users::write(&mut transaction, writes, &mut self.user_count)?));
                }
                [Write::Trim { .. }, ..] if sealed => outcomes.push(Outcome::Trim(Err(Error::Sealed))),
                [Write::Trim { room, limits, .. }, ..] => {
                    outcomes.push(Outcome::Trim(Ok(self.log.trim(&transaction, room, *limits, time)?)));
                }
                [Write::Session(change), ..] => outcomes.push(Outcome::Session(change.apply(&transaction, time)?)),
                [] => {}
            }
        }
        self.log.store(&transaction)?;
        transaction.commit()?;
        self.log.publish();
        self.user_count.commit();
        Ok(outcomes)
    }

    /// Returns the error for the callers if the failure is transient and the group was rolled back; `None` if the log must stop.
    fn transient(&mut self, error: &rusqlite::Error) -> Option<Error> {
        use rusqlite::ErrorCode::{DatabaseBusy, DatabaseLocked, DiskFull};
        let is_transient = matches!(error.sqlite_error_code(), Some(DiskFull | DatabaseBusy | DatabaseLocked));
        // Autocommit means that the transaction has ended, which after an error is a rollback.
        if is_transient && self.connection.is_autocommit() {
            self.log.roll_back();
            self.user_count.roll_back();
            tracing::warn!(%error, "refused a group of writes");
            return Some(from_sqlite(error));
        }
        tracing::error!(%error, "a commit failed, and the log accepts no more writes: fix the cause, then restart the server");
        None
    }

    /// Emits a committed group, then answers its callers: when a caller learns of its record, the hub already has it in its feed.
    /// A feed without a reader is skipped.
    fn announce(&mut self, group: Vec<Write>, outcomes: Vec<Outcome>) {
        let mut records = Vec::with_capacity(group.len());
        let mut answers: Vec<(ReceiptSender, Appended)> = Vec::with_capacity(group.len());
        for (write, outcome) in group.into_iter().zip(outcomes) {
            match (write, outcome) {
                (Write::Append { draft, reply, .. }, Outcome::Append(Ok(appended))) => {
                    if let Appended::Accepted { seq, time } = appended {
                        records.push(draft.into_record(seq, time));
                    }
                    answers.push((reply, appended));
                }
                (Write::Append { draft, reply, .. }, Outcome::Append(Err(error))) => {
                    _ = reply.send(Err(Refused::new(Some(draft), error)));
                }
                (Write::Users { reply, .. }, Outcome::Users(outcome)) => _ = reply.send(self.feed_users(outcome)),
                (Write::Trim { reply, .. }, Outcome::Trim(outcome)) => _ = reply.send(outcome),
                (Write::Session(change), Outcome::Session(changed)) => change.answer(changed),
                // Unreachable: outcomes are in the order of their writes, and of the same kind.
                _ => {}
            }
        }
        if let Some(feed) = &self.rooms_feed
            && !records.is_empty()
        {
            _ = feed.blocking_send(FeedItem::Records(records));
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

/// Answers a group of which nothing is in the file.
fn refuse(group: Vec<Write>, error: &Error) {
    for write in group {
        match write {
            Write::Append { draft, reply, .. } => _ = reply.send(Err(Refused::new(Some(draft), error.clone()))),
            Write::Users { reply, .. } => _ = reply.send(Err(error.clone().into())),
            Write::Trim { reply, .. } => _ = reply.send(Err(error.clone())),
            Write::Session(change) => change.refuse(error.clone()),
        }
    }
}
