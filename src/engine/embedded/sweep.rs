//! The retention task: finds rooms that exceed their limits, and asks the writer to remove messages in small chunks.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    alarm::Alarm,
    log::CHUNK,
    pages,
    queue::Queue,
    readers::Readers,
    rooms::{Room, Rooms},
};
use crate::{
    engine::{Error, Retention},
    metrics::Metrics,
    types::{RoomName, Time},
};

/// Number of rooms examined per step, which bounds how long the rooms are locked and a reader is used.
const ROOMS_PER_STEP: usize = 512;

/// The running task. Dropping this ends it.
#[derive(Debug)]
pub(super) struct Sweep {
    task: JoinHandle<()>,
    stop: DropGuard,
}

impl Sweep {
    /// Starts the task if any room has a limit.
    pub(super) fn start(sweeper: Sweeper) -> Option<Self> {
        if sweeper.retention.keeps_everything() {
            return None;
        }
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        // Cancellation is safe at any await: a removal that was requested completes or not, and its answer is not needed.
        let task = tokio::spawn(async move { _ = stopped.run_until_cancelled_owned(sweeper.run()).await });
        Some(Self { task, stop: stop.drop_guard() })
    }

    pub(super) async fn stop(self) {
        drop(self.stop);
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the retention task panicked");
        }
    }
}

/// The state of the task.
pub(super) struct Sweeper {
    pub(super) retention: Retention,
    pub(super) rooms: Arc<Rooms>,
    pub(super) readers: Readers,
    pub(super) queue: Queue,
    pub(super) metrics: Arc<Metrics>,
    /// By room id: the floor, and the time of the oldest message above it. Valid while the room still has that floor.
    pub(super) oldest: HashMap<i64, (u64, Time)>,
    /// Reports a panic of the task.
    pub(super) _alarm: Alarm,
}

impl Sweeper {
    async fn run(mut self) {
        loop {
            match self.sweep().await {
                Ok(()) => {}
                Err(Error::Sealed | Error::Stopped) => return,
                Err(error) => tracing::warn!(%error, "cannot remove old messages now; retrying at the next interval"),
            }
            tokio::time::sleep(self.retention.interval).await;
        }
    }

    /// Removes messages until no room exceeds its limits. Rooms take turns, so that a long backlog of one does not delay others.
    async fn sweep(&mut self) -> Result<(), Error> {
        let mut due = self.find_due().await?;
        while let Some(room) = due.pop_front() {
            let removed = self.queue.trim(room.clone(), self.retention.of(&room)).await?;
            self.metrics.removed_messages.add(removed as u64);
            if removed >= CHUNK {
                due.push_back(room);
            }
        }
        Ok(())
    }

    /// Finds the rooms whose oldest message exceeds a limit.
    async fn find_due(&mut self) -> Result<VecDeque<RoomName>, Error> {
        let mut due = VecDeque::new();
        let mut last = None;
        loop {
            let rooms = self.rooms.after(last.as_ref(), ROOMS_PER_STEP);
            last = rooms.last().map(|(name, _)| name.clone());
            if last.is_none() {
                return Ok(due);
            }
            self.learn_ages(&rooms).await?;
            let now = Time::now();
            due.extend(rooms.into_iter().filter(|(name, room)| self.is_due(name, room, now)).map(|(name, _)| name));
        }
    }

    fn is_due(&self, name: &RoomName, room: &Room, now: Time) -> bool {
        // An unknown age is not limited: the message is judged by its number only.
        let oldest = self.age(room).unwrap_or(now);
        room.floor < room.head && self.retention.of(name).are_exceeded_by(room.floor + 1, oldest, room.head, now)
    }

    fn age(&self, room: &Room) -> Option<Time> {
        self.oldest.get(&room.id).filter(|(floor, _)| *floor == room.floor).map(|(_, time)| *time)
    }

    /// Reads the times of the oldest messages where they matter and are not known.
    async fn learn_ages(&mut self, rooms: &[(RoomName, Room)]) -> Result<(), Error> {
        let asked = rooms.iter().filter(|(name, room)| {
            room.floor < room.head && self.retention.of(name).age.is_some() && self.age(room).is_none()
        });
        let asked: Vec<_> = asked.map(|(_, room)| (room.id, room.floor)).collect();
        if !asked.is_empty() {
            self.oldest.extend(self.readers.read(move |connection| pages::oldest(connection, &asked)).await?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        num::{NonZeroU64, NonZeroUsize},
        time::Duration,
    };

    use rusqlite::Connection;
    use tokio::sync::mpsc;

    use super::{
        super::{
            queue::{Command, Write},
            schema,
        },
        *,
    };
    use crate::engine::RetentionLimits;

    /// A sweeper whose writer is played by the test, and the connection that the writer would have.
    struct Fixture {
        sweeper: Sweeper,
        inbox: mpsc::Receiver<Command>,
        connection: Connection,
        _folder: tempfile::TempDir,
    }

    fn fixture(limits: RetentionLimits) -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("rialto.db");
        let mut connection = Connection::open(&file).unwrap();
        schema::prepare(&mut connection, &file).unwrap();
        let (queue, inbox) = Queue::new(1, 1);
        let sweeper = Sweeper {
            retention: Retention { limits, interval: Duration::from_millis(1), ..Retention::default() },
            rooms: Arc::new(Rooms::load(&connection).unwrap()),
            readers: Readers::open(&file, NonZeroUsize::MIN).unwrap(),
            queue,
            metrics: Arc::default(),
            oldest: HashMap::new(),
            _alarm: Alarm::new("retention sweeper").0,
        };
        Fixture { sweeper, inbox, connection, _folder: folder }
    }

    fn room(name: &str) -> RoomName {
        RoomName::new(name).unwrap()
    }

    fn at(id: i64, floor: u64, head: u64) -> Room {
        Room { id, head, floor, created_at: Time(0) }
    }

    async fn soon<F: Future>(what: F) -> F::Output {
        tokio::time::timeout(Duration::from_secs(10), what).await.expect("timed out")
    }

    /// Answers one removal as the writer; returns its room.
    async fn answer(inbox: &mut mpsc::Receiver<Command>, outcome: Result<usize, Error>) -> String {
        match soon(inbox.recv()).await {
            Some(Command::Write(Write::Trim { room, reply, .. })) => {
                reply.send(outcome).unwrap();
                room.to_string()
            }
            other => panic!("not a removal: {other:?}"),
        }
    }

    const LAST_FIVE: RetentionLimits = RetentionLimits { messages: NonZeroU64::new(5), age: None };

    #[tokio::test]
    async fn rooms_take_turns_until_nothing_is_due() {
        let Fixture { mut sweeper, mut inbox, .. } = fixture(LAST_FIVE);
        let rooms = [("a", at(1, 0, 900)), ("b", at(2, 95, 100)), ("c", at(3, 0, 500))];
        sweeper.rooms.publish(rooms.map(|(name, state)| (room(name), state)));
        let writer = async {
            let mut order = Vec::new();
            for removed in [CHUNK, CHUNK, CHUNK, 0, 7] {
                order.push(answer(&mut inbox, Ok(removed)).await);
            }
            order
        };
        let (swept, order) = soon(async { tokio::join!(sweeper.sweep(), writer) }).await;
        swept.unwrap();
        assert_eq!(order, ["a", "c", "a", "c", "a"]);
        assert_eq!(sweeper.metrics.removed_messages.get(), 3 * CHUNK as u64 + 7);
    }

    #[tokio::test]
    async fn every_room_is_examined_also_when_there_are_several_steps() {
        let Fixture { mut sweeper, .. } = fixture(LAST_FIVE);
        let rooms: Vec<_> =
            (0..).map(|id| (room(&id.to_string()), at(id, 0, 6))).take(2 * ROOMS_PER_STEP + 1).collect();
        let expected = rooms.len();
        sweeper.rooms.publish(rooms);
        assert_eq!(sweeper.find_due().await.unwrap().len(), expected);
    }

    #[tokio::test]
    async fn the_time_of_the_oldest_message_is_read_once() {
        let Fixture { mut sweeper, connection, _folder, .. } =
            fixture(RetentionLimits { messages: None, age: Some(Duration::from_secs(60)) });
        let now = Time::now().0;
        let insert = "INSERT INTO rooms VALUES (1, 'old', 2, 0, 0, ''), (2, 'young', 2, 0, 0, '');
                      INSERT INTO messages (room_id, seq, time, user_id, id, keyed, text) VALUES (1, 1, 0, '', '', 0, ''), (1, 2, NOW, '', '', 0, ''),
                                                  (2, 1, NOW, '', '', 0, ''), (2, 2, 0, '', '', 0, '');";
        connection.execute_batch(&insert.replace("NOW", &now.to_string())).unwrap();
        sweeper.rooms.publish([(room("old"), at(1, 0, 2)), (room("young"), at(2, 0, 2))]);
        assert_eq!(sweeper.find_due().await.unwrap(), [room("old")]);
        // The second scan reads nothing; after a change of the floor another message is the oldest.
        sweeper.readers.close();
        assert_eq!(sweeper.find_due().await.unwrap(), [room("old")]);
        sweeper.rooms.publish([(room("old"), at(1, 1, 2))]);
        assert!(matches!(sweeper.find_due().await, Err(Error::Stopped)));
        sweeper.rooms.publish([(room("old"), at(1, 2, 2))]);
        assert_eq!(sweeper.find_due().await.unwrap(), [] as [RoomName; 0], "no message is left");
    }

    #[tokio::test]
    async fn a_failed_removal_is_retried_until_the_log_is_sealed() {
        let Fixture { sweeper, mut inbox, _folder, .. } = fixture(LAST_FIVE);
        sweeper.rooms.publish([(room("a"), at(1, 0, 900))]);
        let task = tokio::spawn(sweeper.run());
        for transient in [Error::DiskFull, Error::Unavailable("busy".into())] {
            answer(&mut inbox, Err(transient)).await;
        }
        answer(&mut inbox, Err(Error::Sealed)).await;
        soon(task).await.unwrap();
    }

    #[tokio::test]
    async fn no_task_runs_if_everything_is_kept() {
        assert!(Sweep::start(fixture(RetentionLimits::default()).sweeper).is_none());
        let mut limited = fixture(RetentionLimits::default()).sweeper;
        limited.retention.rooms.insert(room("a"), LAST_FIVE);
        soon(Sweep::start(limited).expect("one room has a limit").stop()).await;
    }
}
