//! Messages at a steady rate, each delivered to everyone in its room.

use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use clap::Args;
use indicatif::ProgressBar;
use serde::Serialize;
use tokio::task::JoinSet;

use super::{
    Verb,
    audience::{Audience, Layout, Meter, Publisher},
};
use crate::{
    launch::{Kind, Launcher},
    report::Run,
    schedule,
    stamp::Stamp,
    tally::Tally,
};

/// Publish at a steady rate
///
/// Each message is delivered to everyone in its room. This is an open loop: every message is due at a fixed time, whether or not earlier ones
/// were delivered, and its latency counts from that time to its delivery.
#[derive(Debug, Clone, Args, Serialize)]
pub struct Fanout {
    /// Number of rooms
    #[arg(long, value_name = "N", default_value_t = 1)]
    rooms: u32,
    /// Subscribers per room, besides its publisher
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    subscribers: u32,
    /// Rooms per stream; there are rooms x subscribers / N streams
    #[arg(long, value_name = "N", default_value_t = 1)]
    rooms_per_stream: u32,
    /// Connections shared by the streams; 0 gives each stream its own
    #[arg(long, value_name = "N", default_value_t = 0)]
    connections: u32,
    /// Number of publishing streams; raised to what it takes to be in every room
    #[arg(long, value_name = "N", default_value_t = 1)]
    publishers: u32,
    /// Messages per second and room
    #[arg(long, value_name = "N", default_value_t = 50.0)]
    rate: f64,
    /// Length of a text
    #[arg(long, value_name = "BYTES", default_value_t = 100)]
    size: usize,
    /// Time for which messages are published
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    seconds: f64,
}

#[async_trait]
impl Verb for Fanout {
    fn name(&self) -> &'static str {
        "fanout"
    }

    fn settings(&self) -> Result<serde_json::Value> {
        Ok(serde_json::to_value(self)?)
    }

    fn compared(&self) -> &'static str {
        "deliveries_per_cpu_second"
    }

    async fn run(&self, launcher: &Launcher, kind: Kind, progress: &ProgressBar) -> Result<Run> {
        let layout = Layout {
            rooms: self.rooms,
            subscribers: self.subscribers,
            rooms_per_stream: self.rooms_per_stream,
            connections: self.connections,
            publishers: self.publishers,
        };
        layout.check()?;
        // Messages of each publisher in each of its rooms.
        let published = schedule::messages(self.rate * self.seconds / layout.publishers_of(0).len() as f64);
        let tally = Tally::new(layout.members(), 0)?;
        let server = launcher.start(kind).await?;
        let (audience, publishers) = Audience::gather(layout, &server, &tally, 0, progress).await?;

        let meter = Meter::start(&server)?;
        let over = Duration::from_secs_f64(self.seconds);
        let mut publishing = JoinSet::new();
        for publisher in publishers {
            publishing.spawn(publish(publisher, published, over, self.size));
        }
        audience.settle(&tally, published, progress).await;
        let messages = published * u64::from(self.rooms) * layout.publishers_of(0).len() as u64;
        let mut run = Run::new(kind);
        let figures = meter.stop(&server, tally.delivered(), messages);
        audience.leave(published);
        // Violations first: they may explain why there are no figures, or why a publisher failed.
        run.take(&tally)?;
        run.figures.extend(figures?);
        // Keeps the publishers' streams open until here, since they also receive.
        while let Some(published) = publishing.join_next().await {
            published??;
        }
        server.stop().await?;
        Ok(run)
    }
}

/// Publishes `published` messages to each of the publisher's rooms, evenly over `over`. Returns the publisher, because dropping it ends its
/// stream.
pub async fn publish(mut publisher: Publisher, published: u64, over: Duration, size: usize) -> Result<Publisher> {
    let rooms = publisher.rooms.len() as u64;
    let total = published * rooms;
    let mut due = schedule::evenly(total, total as f64 / over.as_secs_f64());
    let mut ready = Vec::new();
    while due.recv_many(&mut ready, 64).await > 0 {
        let text = |due: schedule::Due| {
            let room = *publisher.rooms.get(usize::try_from(due.nth % rooms).ok()?)?;
            let stamp = Stamp { room, publisher: publisher.number, nth: due.nth / rooms, due: due.at };
            Some((room, stamp.text(size)))
        };
        publisher.member.publish(ready.drain(..).filter_map(text).collect()).await?;
    }
    Ok(publisher)
}
