//! The subscribers and publishers of a load, and the check that every subscriber received everything.

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

/// Rooms per stream, by the hub's default limit.
const MOST_ROOMS: u32 = 1_000;

/// The number of rooms, streams and connections, and which publisher is in which room.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    /// Number of rooms. They are numbered from 0.
    pub rooms: u32,
    /// Subscribers per room.
    pub subscribers: u32,
    /// Rooms per stream of a subscriber.
    pub rooms_per_stream: u32,
    /// Connections shared by the streams; 0 gives each stream its own.
    pub connections: u32,
    /// Minimum number of publishers.
    pub publishers: u32,
}

/// The joined subscribers.
pub struct Audience {
    layout: Layout,
    patience: Duration,
    subscribers: Vec<(Subscriber, Vec<Room>)>,
    /// Streams that only subscribe. Held because dropping them leaves the rooms.
    _listeners: Vec<Box<dyn Member>>,
    _connections: Vec<Box<dyn Connection>>,
}

/// A publisher. It also subscribes to the rooms that it publishes to.
pub struct Publisher {
    /// Its number.
    pub number: u32,
    /// The rooms that it publishes to.
    pub rooms: Vec<Room>,
    /// Its stream.
    pub member: Box<dyn Member>,
}

impl Layout {
    /// Fails if rooms cannot be distributed evenly over streams and publishers.
    pub fn check(&self) -> Result<()> {
        ensure!(self.rooms > 0 && self.rooms_per_stream > 0, "--rooms and --rooms-per-stream must be at least 1");
        ensure!(
            self.rooms.is_multiple_of(self.rooms_per_stream),
            "{} rooms cannot be distributed evenly over streams of {} rooms each",
            self.rooms,
            self.rooms_per_stream
        );
        let publishers = self.publishers();
        ensure!(
            publishers < self.rooms || publishers.is_multiple_of(self.rooms),
            "{publishers} publishers cannot be distributed evenly over {} rooms",
            self.rooms
        );
        ensure!(self.rooms_per_stream <= MOST_ROOMS, "a stream can be in at most {MOST_ROOMS} rooms");
        Ok(())
    }

    /// Number of publishers: enough that none exceeds the limit of rooms per stream.
    pub fn publishers(&self) -> u32 {
        self.publishers.max(self.rooms.div_ceil(MOST_ROOMS)).max(1)
    }

    /// The rooms of a publisher: either it has rooms of its own, or several publishers share one.
    pub fn rooms_of(&self, publisher: u32) -> Vec<Room> {
        let publishers = self.publishers();
        if publishers >= self.rooms {
            return vec![publisher % self.rooms];
        }
        (0..self.rooms).filter(|room| room % publishers == publisher).collect()
    }

    /// The publishers of a room.
    pub fn publishers_of(&self, room: Room) -> Vec<u32> {
        let publishers = self.publishers();
        if publishers < self.rooms {
            return vec![room % publishers];
        }
        (0..publishers).filter(|publisher| publisher % self.rooms == room).collect()
    }

    /// The rooms of every stream that only subscribes.
    fn streams(&self) -> Vec<Vec<Room>> {
        let of = self.rooms_per_stream;
        (0..self.subscribers)
            .flat_map(|_| (0..self.rooms / of).map(move |part| (part * of..(part + 1) * of).collect()))
            .collect()
    }

    /// Number of streams, including those of publishers.
    pub fn members(&self) -> usize {
        self.streams().len() + self.publishers() as usize
    }

    /// Number of deliveries that one message in each room causes.
    pub fn deliveries_per_round(&self) -> u64 {
        (0..self.rooms).map(|room| u64::from(self.subscribers) + self.publishers_of(room).len() as u64).sum()
    }
}

impl Audience {
    /// Connects all subscribers and publishers. `block`: messages per room in a block; 0 disables blocks.
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

    /// Waits until every subscriber has received `published` messages of each publisher in each of its rooms.
    pub async fn settle(&self, tally: &Tally, published: u64, progress: &ProgressBar) {
        let expected = self.layout.deliveries_per_round() * published * self.publishers_per_room();
        progress.set_message("delivering");
        progress.set_length(expected);
        tally.wait_for(expected, self.patience, progress).await;
    }

    /// Publishers per room; the same for every room, as [`Layout::check`] ensures.
    fn publishers_per_room(&self) -> u64 {
        self.layout.publishers_of(0).len() as u64
    }

    /// Counts missing and unpublished messages, and ends the streams.
    pub fn leave(self, published: u64) {
        for (subscriber, rooms) in &self.subscribers {
            for room in rooms {
                let publishers = self.layout.publishers_of(*room);
                publishers.iter().for_each(|publisher| subscriber.count_missing(*room, *publisher, published));
                subscriber.count_foreign(*room, &publishers, published);
            }
            subscriber.leave();
        }
    }
}

/// The resolution of CPU time.
const TICK: Duration = Duration::from_millis(10);

/// Measures CPU time and elapsed time of a server under load.
pub struct Meter {
    cpu: Duration,
    clock: Instant,
}

impl Meter {
    /// Starts measuring.
    pub fn start(server: &Server) -> Result<Self> {
        Ok(Self { cpu: server.process.cpu()?, clock: Instant::now() })
    }

    /// Stops measuring. `deliveries` and `messages` were made since the start.
    pub fn stop(self, server: &Server, deliveries: u64, messages: u64) -> Result<Figures> {
        let seconds = self.clock.elapsed().as_secs_f64();
        // At least one tick, to avoid a division by zero in a run that is too short to measure.
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
