//! The thread that writes: it commits everything that waits as one group, then tells the feeds and the callers.

use std::{fs::File, io, thread};

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{mpsc, watch};

use super::{
    from_sqlite,
    log::Log,
    queue::{Command, Write},
    sessions, users,
};
use crate::engine::{Appended, Error, Fed, Refused, Reply, UserChange, UserChanges, WriteError};
use crate::types::Time;

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
    Session(sessions::Changed),
}

impl Writer {
    fn run(mut self) {
        while let Some(first) = self.inbox.blocking_recv() {
            // Threads that want this processor now most likely have drafts to add, and a group costs about the same however large it is. When
            // there is none, this returns at once: nothing is added to the time of a group on a machine that has time.
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
                    let mut insertion = Log::insertion(&transaction)?;
                    for draft in run.iter().filter_map(Write::draft) {
                        outcomes.push(Outcome::Append(self.log.append(&transaction, &mut insertion, draft, time)?));
                    }
                }
                [Write::Users { writes, .. }, ..] => {
                    outcomes.push(Outcome::Users(users::write(&mut transaction, writes)?));
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
            Write::Session(change) => change.refuse(error.clone()),
        }
    }
}
