//! The task that looks which rooms hold more than their limits keep, and has the writer remove it, a little at a time.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
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

/// Rooms looked at in one go: the rooms are locked, and a reader is taken, only so long.
const GLANCE: usize = 512;

/// The running task. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Sweep {
    task: JoinHandle<()>,
    stop: DropGuard,
}

impl Sweep {
    /// Starts the task, if any room has a limit.
    pub(super) fn start(sweeper: Sweeper) -> Option<Self> {
        if sweeper.retention.keeps_everything() {
            return None;
        }
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        // Wherever this cuts it off: what it asked of the writer is done or not, and nobody waits for the answer.
        let task = tokio::spawn(async move { _ = stopped.run_until_cancelled_owned(sweeper.run()).await });
        Some(Self { task, stop: stop.drop_guard() })
    }

    pub(super) async fn stop(self) {
        drop(self.stop);
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the removal of old messages failed");
        }
    }
}

/// What the task works with.
pub(super) struct Sweeper {
    pub(super) retention: Retention,
    pub(super) rooms: Arc<Rooms>,
    pub(super) readers: Readers,
    pub(super) queue: Queue,
    pub(super) metrics: Arc<Metrics>,
    /// By a room's id, the time of its oldest message, and the floor right below it: good as long as the floor is that.
    pub(super) oldest: HashMap<i64, (u64, Time)>,
}

impl Sweeper {
    async fn run(mut self) {
        loop {
            match self.sweep().await {
                Ok(()) => {}
                Err(Error::Sealed | Error::Stopped) => return,
                Err(error) => tracing::warn!(%error, "old messages stay for now"),
            }
            tokio::time::sleep(self.retention.interval).await;
        }
    }

    /// Until nothing is due. The rooms take turns, so that a long backlog of one does not hold up the others.
    async fn sweep(&mut self) -> Result<(), Error> {
        let mut due = self.look().await?;
        while let Some(room) = due.pop_front() {
            let removed = self.queue.trim(room.clone(), self.retention.of(&room)).await?;
            self.metrics.removed_messages.add(removed as u64);
            if removed >= CHUNK {
                due.push_back(room);
            }
        }
        Ok(())
    }

    /// The rooms whose oldest message goes.
    async fn look(&mut self) -> Result<VecDeque<RoomName>, Error> {
        let mut due = VecDeque::new();
        let mut last = None;
        loop {
            let rooms = self.rooms.after(last.as_ref(), GLANCE);
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
        // Of an unknown age is what goes by its number only.
        let oldest = self.age(room).unwrap_or(now);
        room.floor < room.head && self.retention.of(name).give_up(room.floor + 1, oldest, room.head, now)
    }

    fn age(&self, room: &Room) -> Option<Time> {
        self.oldest.get(&room.id).filter(|(floor, _)| *floor == room.floor).map(|(_, time)| *time)
    }

    /// Reads how old the oldest messages are, where that matters and is not known.
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

    /// A sweeper whose writer is the test, and the connection that the writer would have.
    struct Played {
        sweeper: Sweeper,
        inbox: mpsc::Receiver<Command>,
        connection: Connection,
        _folder: tempfile::TempDir,
    }

    fn play(limits: RetentionLimits) -> Played {
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
        };
        Played { sweeper, inbox, connection, _folder: folder }
    }

    fn room(name: &str) -> RoomName {
        RoomName::new(name).unwrap()
    }

    fn stands(id: i64, floor: u64, head: u64) -> Room {
        Room { id, head, floor, created_at: Time(0) }
    }

    async fn soon<F: Future>(what: F) -> F::Output {
        tokio::time::timeout(Duration::from_secs(10), what).await.expect("this should have happened long ago")
    }

    /// Plays the writer for one chunk; says of which room.
    async fn answer(inbox: &mut mpsc::Receiver<Command>, outcome: Result<usize, Error>) -> String {
        match soon(inbox.recv()).await {
            Some(Command::Write(Write::Trim { room, reply, .. })) => {
                reply.send(outcome).unwrap();
                room.to_string()
            }
            other => panic!("no chunk: {other:?}"),
        }
    }

    const LAST_FIVE: RetentionLimits = RetentionLimits { messages: NonZeroU64::new(5), age: None };

    #[tokio::test]
    async fn rooms_take_turns_until_nothing_is_due() {
        let Played { mut sweeper, mut inbox, .. } = play(LAST_FIVE);
        let rooms = [("a", stands(1, 0, 900)), ("b", stands(2, 95, 100)), ("c", stands(3, 0, 500))];
        sweeper.rooms.publish(rooms.map(|(name, stands)| (room(name), stands)));
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
    async fn all_rooms_are_looked_at_however_many() {
        let Played { mut sweeper, .. } = play(LAST_FIVE);
        let rooms: Vec<_> = (0..).map(|id| (room(&id.to_string()), stands(id, 0, 6))).take(2 * GLANCE + 1).collect();
        let expected = rooms.len();
        sweeper.rooms.publish(rooms);
        assert_eq!(sweeper.look().await.unwrap().len(), expected);
    }

    #[tokio::test]
    async fn the_age_of_the_oldest_message_is_read_once() {
        let Played { mut sweeper, connection, _folder, .. } =
            play(RetentionLimits { messages: None, age: Some(Duration::from_secs(60)) });
        let now = Time::now().0;
        let insert = "INSERT INTO rooms VALUES (1, 'old', 2, 0, 0, ''), (2, 'young', 2, 0, 0, '');
                      INSERT INTO messages VALUES (1, 1, 0, '', '', 0, ''), (1, 2, NOW, '', '', 0, ''),
                                                  (2, 1, NOW, '', '', 0, ''), (2, 2, 0, '', '', 0, '');";
        connection.execute_batch(&insert.replace("NOW", &now.to_string())).unwrap();
        sweeper.rooms.publish([(room("old"), stands(1, 0, 2)), (room("young"), stands(2, 0, 2))]);
        assert_eq!(sweeper.look().await.unwrap(), [room("old")]);
        // Once more it is looked at without reading; another floor makes another message the oldest.
        sweeper.readers.close();
        assert_eq!(sweeper.look().await.unwrap(), [room("old")]);
        sweeper.rooms.publish([(room("old"), stands(1, 1, 2))]);
        assert!(matches!(sweeper.look().await, Err(Error::Stopped)));
        sweeper.rooms.publish([(room("old"), stands(1, 2, 2))]);
        assert_eq!(sweeper.look().await.unwrap(), [] as [RoomName; 0], "all is gone");
    }

    #[tokio::test]
    async fn what_fails_is_tried_again_until_the_log_takes_no_more() {
        let Played { sweeper, mut inbox, _folder, .. } = play(LAST_FIVE);
        sweeper.rooms.publish([(room("a"), stands(1, 0, 900))]);
        let task = tokio::spawn(sweeper.run());
        for passing in [Error::DiskFull, Error::Unavailable("busy".into())] {
            answer(&mut inbox, Err(passing)).await;
        }
        answer(&mut inbox, Err(Error::Sealed)).await;
        soon(task).await.unwrap();
    }

    #[tokio::test]
    async fn where_everything_is_kept_nothing_runs() {
        assert!(Sweep::start(play(RetentionLimits::default()).sweeper).is_none());
        let mut limited = play(RetentionLimits::default()).sweeper;
        limited.retention.rooms.insert(room("a"), LAST_FIVE);
        soon(Sweep::start(limited).expect("one room has a limit").stop()).await;
    }
}
