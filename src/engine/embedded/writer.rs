//! The thread that writes: it commits everything that waits as one group, then tells the feeds and the callers.

use std::{fs::File, io, sync::Arc, thread};

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::{Settings, from_sqlite, log::Log, users};
use crate::engine::{
    Appended, Draft, Error, Receipt, Record, Refused, Reply, Time, UserChange, UserChanges, UserWrite, WriteError,
};

/// The bounded way to the writer. Both limits hold at once: a place is given when there is one under each.
#[derive(Debug)]
pub(super) struct Queue {
    commands: mpsc::Sender<Command>,
    bytes: Arc<Semaphore>,
    max_bytes: usize,
}

#[derive(Debug)]
enum Command {
    Append { draft: Draft, reply: Reply, _bytes: OwnedSemaphorePermit },
    WriteUsers { writes: Vec<UserWrite>, reply: oneshot::Sender<Result<u64, WriteError>> },
    Close,
}

impl Queue {
    pub(super) async fn append(&self, draft: Draft) -> Result<Receipt, Refused> {
        let size = u32::try_from(draft.size().min(self.max_bytes)).unwrap_or(u32::MAX);
        let Ok(bytes) = Arc::clone(&self.bytes).acquire_many_owned(size).await else {
            return Err(Refused::new(Some(draft), Error::Stopped));
        };
        let Ok(place) = self.commands.reserve().await else {
            return Err(Refused::new(Some(draft), Error::Stopped));
        };
        let (reply, receipt) = Receipt::pair();
        place.send(Command::Append { draft, reply, _bytes: bytes });
        Ok(receipt)
    }

    pub(super) async fn write_users(&self, writes: Vec<UserWrite>) -> Result<u64, WriteError> {
        let (reply, outcome) = oneshot::channel();
        let sent = self.commands.send(Command::WriteUsers { writes, reply }).await;
        sent.map_err(|_| Error::Stopped)?;
        outcome.await.map_err(|_| Error::Stopped)?
    }

    /// What was accepted before is still committed.
    pub(super) async fn close(&self) {
        // A writer that is gone already is closed too.
        _ = self.commands.send(Command::Close).await;
    }
}

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
    settings: &Settings,
    lock: File,
    rooms_feed: mpsc::Sender<Vec<Record>>,
    users_feed: mpsc::Sender<UserChanges>,
) -> io::Result<(Queue, WriterThread)> {
    let max_bytes = settings.queue_bytes.min(Semaphore::MAX_PERMITS);
    let (commands, inbox) = mpsc::channel(settings.queue_drafts);
    let queue = Queue { commands, bytes: Arc::new(Semaphore::new(max_bytes)), max_bytes };
    let writer =
        Writer { connection, log, inbox, rooms_feed, users_feed, users_version: 0, state: State::Open, _lock: lock };
    let thread = thread::Builder::new().name("log-writer".into()).spawn(|| writer.run())?;
    Ok((queue, WriterThread(thread)))
}

struct Writer {
    connection: Connection,
    log: Log,
    inbox: mpsc::Receiver<Command>,
    rooms_feed: mpsc::Sender<Vec<Record>>,
    users_feed: mpsc::Sender<UserChanges>,
    users_version: u64,
    state: State,
    _lock: File,
}

enum State {
    Open,
    /// A commit failed: whether the file has it is unknown, so nothing may be acknowledged any more.
    Stopped,
    Closing,
}

/// What a command led to inside its group's transaction.
enum Outcome {
    Append(Result<Appended, Error>),
    WriteUsers(Result<Vec<UserChange>, WriteError>),
    Close,
}

impl Writer {
    fn run(mut self) {
        while !matches!(self.state, State::Closing) {
            let Some(first) = self.inbox.blocking_recv() else { break };
            let group = self.group(first);
            self.settle(group);
        }
    }

    /// Everything that waits. The queue's limits bound it.
    fn group(&mut self, first: Command) -> Vec<Command> {
        let mut group = vec![first];
        while group.len() < self.inbox.max_capacity() {
            let Ok(next) = self.inbox.try_recv() else { break };
            group.push(next);
        }
        group
    }

    fn settle(&mut self, group: Vec<Command>) {
        if matches!(self.state, State::Stopped) {
            return self.refuse(group, &Error::Stopped);
        }
        match self.commit(&group) {
            Ok(outcomes) => self.announce(group, outcomes),
            Err(error) => match self.failed(&error) {
                Error::Stopped => self.abandon(&group),
                passing => self.refuse(group, &passing),
            },
        }
    }

    fn commit(&mut self, group: &[Command]) -> rusqlite::Result<Vec<Outcome>> {
        let time = Time::now();
        let mut transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut outcomes = Vec::with_capacity(group.len());
        for command in group {
            outcomes.push(match command {
                Command::Append { draft, .. } => Outcome::Append(self.log.append(&transaction, draft, time)?),
                Command::WriteUsers { writes, .. } => Outcome::WriteUsers(users::write(&mut transaction, writes)?),
                Command::Close => Outcome::Close,
            });
        }
        self.log.store_heads(&transaction)?;
        transaction.commit()?;
        Ok(outcomes)
    }

    /// What a failed commit means from now on.
    fn failed(&mut self, error: &rusqlite::Error) -> Error {
        use rusqlite::ErrorCode::{DatabaseBusy, DatabaseLocked, DiskFull};
        let passing = matches!(error.sqlite_error_code(), Some(DiskFull | DatabaseBusy | DatabaseLocked));
        let meaning = from_sqlite(error);
        if passing && self.log.forget(&self.connection).is_ok() {
            tracing::warn!(%error, "a group of writes was refused");
            return meaning;
        }
        tracing::error!(%error, "the log has stopped: restart the server when the cause is mended");
        Error::Stopped
    }

    /// The feeds first: when a caller hears of its record, the hub is about to. A feed whose reader is gone has nobody to tell.
    fn announce(&mut self, group: Vec<Command>, outcomes: Vec<Outcome>) {
        let mut records = Vec::with_capacity(group.len());
        let mut answers: Vec<(Reply, Appended)> = Vec::with_capacity(group.len());
        for (command, outcome) in group.into_iter().zip(outcomes) {
            match (command, outcome) {
                (Command::Append { draft, reply, .. }, Outcome::Append(Ok(appended))) => {
                    if let Appended::Accepted { seq, time } = appended {
                        records.push(into_record(draft, seq, time));
                    }
                    answers.push((reply, appended));
                }
                (Command::Append { draft, reply, .. }, Outcome::Append(Err(error))) => {
                    _ = reply.send(Err(Refused::new(Some(draft), error)));
                }
                (Command::WriteUsers { reply, .. }, Outcome::WriteUsers(Ok(changes))) => {
                    self.users_version += 1;
                    let version = self.users_version;
                    drop(self.users_feed.blocking_send(UserChanges { version, changes }));
                    _ = reply.send(Ok(version));
                }
                (Command::WriteUsers { reply, .. }, Outcome::WriteUsers(Err(error))) => drop(reply.send(Err(error))),
                (Command::Close, _) => self.state = State::Closing,
                (Command::Append { .. }, _) | (Command::WriteUsers { .. }, _) => {}
            }
        }
        if !records.is_empty() {
            drop(self.rooms_feed.blocking_send(records));
        }
        for (reply, appended) in answers {
            _ = reply.send(Ok(appended));
        }
    }

    /// Whether this group is in the file is unknown. Unanswered, its receipts say that the log has stopped.
    fn abandon(&mut self, group: &[Command]) {
        self.state =
            if group.iter().any(|command| matches!(command, Command::Close)) { State::Closing } else { State::Stopped };
    }

    /// Nothing of this group is in the file.
    fn refuse(&mut self, group: Vec<Command>, error: &Error) {
        for command in group {
            match command {
                Command::Append { draft, reply, .. } => drop(reply.send(Err(Refused::new(Some(draft), error.clone())))),
                Command::WriteUsers { reply, .. } => drop(reply.send(Err(error.clone().into()))),
                Command::Close => self.state = State::Closing,
            }
        }
    }
}

fn into_record(draft: Draft, seq: u64, time: Time) -> Record {
    Record { room: draft.room, seq, time, user_id: draft.user_id, id: draft.id, text: draft.text }
}
