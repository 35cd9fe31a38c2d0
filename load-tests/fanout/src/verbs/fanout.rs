//! Messages at a steady rate, each to everyone in its room.

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

/// Messages at a steady rate, each to everyone in its room.
///
/// An open loop: every message has a time at which it is due, whatever became of those before it, and its latency counts from then until it
/// was delivered.
#[derive(Debug, Clone, Args, Serialize)]
pub struct Fanout {
    /// Rooms
    #[arg(long, value_name = "N", default_value_t = 1)]
    rooms: u32,
    /// Subscribers of each room, besides its publisher
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    subscribers: u32,
    /// Rooms that one stream is in; the streams are rooms x subscribers / this
    #[arg(long, value_name = "N", default_value_t = 1)]
    rooms_per_stream: u32,
    /// Connections that the streams share; 0: each has its own
    #[arg(long, value_name = "N", default_value_t = 0)]
    connections: u32,
    /// Streams that publish; at least as many as it takes to be in every room
    #[arg(long, value_name = "N", default_value_t = 1)]
    publishers: u32,
    /// Messages a second, in each room
    #[arg(long, value_name = "N", default_value_t = 50.0)]
    rate: f64,
    /// Bytes of a text
    #[arg(long, value_name = "BYTES", default_value_t = 100)]
    size: usize,
    /// How long messages are published
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
        // Of each publisher, in each of its rooms.
        let published = schedule::messages(self.rate * self.seconds / layout.speakers(0).len() as f64);
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
        let messages = published * u64::from(self.rooms) * layout.speakers(0).len() as u64;
        let mut run = Run::new(kind);
        let figures = meter.stop(&server, tally.delivered(), messages);
        audience.leave(published);
        // First what was wrong: it may be why there are no figures, or why somebody could not publish.
        run.take(&tally)?;
        run.figures.extend(figures?);
        // The publishers' streams stay open until then: they receive as well.
        while let Some(published) = publishing.join_next().await {
            published??;
        }
        server.stop().await?;
        Ok(run)
    }
}

/// Publishes so many messages in each of its rooms, evenly over this time. Gives the publisher back: its stream ends with it.
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
        publisher.member.say(ready.drain(..).filter_map(text).collect()).await?;
    }
    Ok(publisher)
}
