//! Who listens and who speaks in a load, and that everyone got everything.

use anyhow::{Result, bail, ensure};
use indicatif::ProgressBar;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    launch::Server,
    report::Figures,
    stamp::Room,
    subscriber::Subscriber,
    systems::{Connection, Member},
    tally::Tally,
};

/// Rooms that one stream may be in, by the hub's default.
const MOST_ROOMS: u32 = 1_000;

/// How many, and who is where.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    /// Rooms, from 0.
    pub rooms: u32,
    /// Subscribers of each.
    pub subscribers: u32,
    /// Rooms that one stream of a subscriber is in.
    pub rooms_per_stream: u32,
    /// Connections that the streams share; 0: each has its own.
    pub connections: u32,
    /// Who speaks, at least.
    pub publishers: u32,
}

/// Everyone in their rooms.
pub struct Audience {
    layout: Layout,
    patience: Duration,
    subscribers: Vec<(Subscriber, Vec<Room>)>,
    /// Who only listens; kept, or they would leave.
    _listeners: Vec<Box<dyn Member>>,
    _connections: Vec<Box<dyn Connection>>,
}

/// Who speaks, and where. A publisher subscribes as well to the rooms in which it speaks.
pub struct Publisher {
    /// Its number.
    pub number: u32,
    /// Where it speaks.
    pub rooms: Vec<Room>,
    /// Its way to speak.
    pub member: Box<dyn Member>,
}

impl Layout {
    /// Fails if not all rooms can be had so.
    pub fn check(&self) -> Result<()> {
        ensure!(self.rooms > 0 && self.rooms_per_stream > 0, "there must be a room");
        ensure!(
            self.rooms.is_multiple_of(self.rooms_per_stream),
            "{} rooms cannot be dealt out to streams of {} each",
            self.rooms,
            self.rooms_per_stream
        );
        let publishers = self.publishers();
        ensure!(
            publishers < self.rooms || publishers.is_multiple_of(self.rooms),
            "{publishers} publishers cannot be dealt out evenly to {} rooms",
            self.rooms
        );
        ensure!(self.rooms_per_stream <= MOST_ROOMS, "a stream can be in at most {MOST_ROOMS} rooms");
        Ok(())
    }

    /// Enough that none has to speak in more rooms than a stream may be in.
    pub fn publishers(&self) -> u32 {
        self.publishers.max(self.rooms.div_ceil(MOST_ROOMS)).max(1)
    }

    /// Where a publisher speaks: either it has rooms of its own, or several share one.
    pub fn rooms_of(&self, publisher: u32) -> Vec<Room> {
        let publishers = self.publishers();
        if publishers >= self.rooms {
            return vec![publisher % self.rooms];
        }
        (0..self.rooms).filter(|room| room % publishers == publisher).collect()
    }

    /// Publishers of a room.
    pub fn speakers(&self, room: Room) -> Vec<u32> {
        let publishers = self.publishers();
        if publishers < self.rooms {
            return vec![room % publishers];
        }
        (0..publishers).filter(|publisher| publisher % self.rooms == room).collect()
    }

    /// Rooms of every stream that only listens.
    fn streams(&self) -> Vec<Vec<Room>> {
        let of = self.rooms_per_stream;
        (0..self.subscribers)
            .flat_map(|_| (0..self.rooms / of).map(move |part| (part * of..(part + 1) * of).collect()))
            .collect()
    }

    /// Streams, of publishers too.
    pub fn members(&self) -> usize {
        self.streams().len() + self.publishers() as usize
    }

    /// Deliveries that a message in each room leads to.
    pub fn deliveries_a_round(&self) -> u64 {
        (0..self.rooms).map(|room| u64::from(self.subscribers) + self.speakers(room).len() as u64).sum()
    }
}

impl Audience {
    /// Connects everyone. `block`: messages of each room that a subscriber must have before a block of it is complete.
    pub async fn gather(
        layout: Layout,
        server: &Server,
        tally: &Arc<Tally>,
        block: u64,
        progress: &ProgressBar,
    ) -> Result<(Self, Vec<Publisher>)> {
        let system = server.system()?;
        let streams = layout.streams();
        progress.set_length(streams.len() as u64);
        progress.set_message("connecting");
        let connections = if layout.connections == 0 { streams.len() } else { layout.connections as usize };
        let mut audience = Self {
            layout,
            patience: server.patience,
            subscribers: Vec::new(),
            _listeners: Vec::new(),
            _connections: Vec::new(),
        };
        for _ in 0..connections.min(streams.len()) {
            audience._connections.push(system.connect().await?);
        }
        for (number, rooms) in streams.into_iter().enumerate() {
            let subscriber = Subscriber::new(number, &rooms, tally, block * rooms.len() as u64);
            let Some(connection) = audience._connections.get(number % connections) else { bail!("no connection") };
            audience._listeners.push(connection.join(&rooms, subscriber.clone()).await?);
            audience.subscribers.push((subscriber, rooms));
            progress.inc(1);
        }
        let mut publishers = Vec::new();
        for number in 0..layout.publishers() {
            let rooms = layout.rooms_of(number);
            let subscriber = Subscriber::new(audience.subscribers.len(), &rooms, tally, block * rooms.len() as u64);
            let connection = system.connect().await?;
            let member = connection.join(&rooms, subscriber.clone()).await?;
            audience._connections.push(connection);
            audience.subscribers.push((subscriber, rooms.clone()));
            publishers.push(Publisher { number, rooms, member });
        }
        Ok((audience, publishers))
    }

    /// Waits until everyone has got what was published: so many messages of each room, by each of its publishers.
    pub async fn settle(&self, tally: &Tally, published: u64, progress: &ProgressBar) {
        let expected = self.layout.deliveries_a_round() * published * self.speakers_a_room();
        progress.set_message("delivering");
        progress.set_length(expected);
        tally.wait_for(expected, self.patience, progress).await;
    }

    /// Publishers of each room: [`Layout::check`] sees to it that every room has as many.
    fn speakers_a_room(&self) -> u64 {
        self.layout.speakers(0).len() as u64
    }

    /// Counts what never came, and lets everyone go.
    pub fn leave(self, published: u64) {
        for (subscriber, rooms) in &self.subscribers {
            for room in rooms {
                let speakers = self.layout.speakers(*room);
                speakers.iter().for_each(|publisher| subscriber.count_missing(*room, *publisher, published));
                subscriber.count_foreign(*room, &speakers, published);
            }
            subscriber.leave();
        }
    }
}

/// The step in which the system counts processor time.
const TICK: Duration = Duration::from_millis(10);

/// Processor time and clock of a server under load.
pub struct Meter {
    cpu: Duration,
    clock: Instant,
}

impl Meter {
    /// From now on.
    pub fn start(server: &Server) -> Result<Self> {
        Ok(Self { cpu: server.process.cpu()?, clock: Instant::now() })
    }

    /// Until now, in which so many deliveries of so many messages were made.
    pub fn stop(self, server: &Server, deliveries: u64, messages: u64) -> Result<Figures> {
        let seconds = self.clock.elapsed().as_secs_f64();
        // Less than a tick of the system's clock counts as one: a run as short as that measures nothing, and must divide by something.
        let cpu = (server.process.cpu()? - self.cpu).max(TICK).as_secs_f64();
        let deliveries = deliveries as f64;
        Ok(Figures::from([
            ("messages", messages as f64),
            ("deliveries", deliveries),
            ("seconds", seconds),
            ("deliveries_per_second", deliveries / seconds),
            ("server_cpu_seconds", cpu),
            ("deliveries_per_cpu_second", deliveries / cpu),
            ("server_cpu_us_per_delivery", cpu * 1e6 / deliveries),
            ("memory_bytes", server.process.memory()? as f64),
        ]))
    }
}
