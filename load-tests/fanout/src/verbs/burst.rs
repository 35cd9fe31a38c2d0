//! Messages as fast as the system takes them, each delivered to everyone in its room.

use std::sync::Arc;

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
    stamp::{Stamp, now},
    tally::Tally,
};

/// Publish as fast as the system takes messages
///
/// Each message is delivered to everyone in its room. Publishers stay at most `--ahead` blocks ahead of the slowest subscriber, so that the
/// load measures delivery and not the length of a queue. Latencies count from when a message was sent, and say little here.
#[derive(Debug, Clone, Args, Serialize)]
pub struct Burst {
    /// Number of rooms
    #[arg(long, value_name = "N", default_value_t = 1)]
    rooms: u32,
    /// Subscribers per room, besides its publishers
    #[arg(long, value_name = "N", default_value_t = 100)]
    subscribers: u32,
    /// Rooms per stream; there are rooms x subscribers / N streams
    #[arg(long, value_name = "N", default_value_t = 1)]
    rooms_per_stream: u32,
    /// Connections shared by the streams; 0 gives each stream its own
    #[arg(long, value_name = "N", default_value_t = 0)]
    connections: u32,
    /// Number of publishing streams
    #[arg(long, value_name = "N", default_value_t = 8)]
    publishers: u32,
    /// Approximate total number of messages
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    messages: u64,
    /// Length of a text
    #[arg(long, value_name = "BYTES", default_value_t = 100)]
    size: usize,
    /// Messages per block
    #[arg(long, value_name = "N", default_value_t = 512)]
    block: u64,
    /// Blocks by which publishers may be ahead of the slowest subscriber
    #[arg(long, value_name = "N", default_value_t = 2)]
    ahead: u64,
}

#[async_trait]
impl Verb for Burst {
    fn name(&self) -> &'static str {
        "burst"
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
        let publishers_per_room = layout.publishers_of(0).len() as u64;
        let messages_per_round = u64::from(self.rooms) * publishers_per_room;
        // Messages of each publisher in each of its rooms, per block.
        let share = (self.block / messages_per_round).max(1);
        let blocks = self.messages.div_ceil(share * messages_per_round);
        let tally = Tally::new(layout.members(), blocks)?;
        let server = launcher.start(kind).await?;
        let (audience, publishers) =
            Audience::gather(layout, &server, &tally, share * publishers_per_room, progress).await?;

        let meter = Meter::start(&server)?;
        let mut publishing = JoinSet::new();
        for publisher in publishers {
            let pace = Pace { blocks, share, ahead: self.ahead.max(1), size: self.size };
            publishing.spawn(publish(publisher, pace, Arc::clone(&tally)));
        }
        audience.settle(&tally, blocks * share, progress).await;
        let mut run = Run::new(kind);
        let figures = meter.stop(&server, tally.delivered(), blocks * share * messages_per_round);
        // After a failure a publisher may be waiting for a block that will never complete.
        publishing.shutdown().await;
        audience.leave(blocks * share);
        // Violations first: they may explain why there are no figures.
        run.take(&tally)?;
        run.figures.extend(figures?);
        server.stop().await?;
        Ok(run)
    }
}

#[derive(Debug, Clone, Copy)]
struct Pace {
    blocks: u64,
    share: u64,
    ahead: u64,
    size: usize,
}

/// Messages to send at a time.
const AT_ONCE: u64 = 64;

async fn publish(mut publisher: Publisher, pace: Pace, tally: Arc<Tally>) -> Result<()> {
    for block in 0..pace.blocks {
        tally.wait_for_block((block + 1).saturating_sub(pace.ahead)).await;
        for first in (0..pace.share).step_by(usize::try_from(AT_ONCE)?) {
            let due = now();
            let mut texts = Vec::new();
            for nth in first..pace.share.min(first + AT_ONCE) {
                for room in &publisher.rooms {
                    let nth = block * pace.share + nth;
                    let stamp = Stamp { room: *room, publisher: publisher.number, nth, due };
                    texts.push((*room, stamp.text(pace.size)));
                }
            }
            publisher.member.publish(texts).await?;
        }
    }
    // Keeps the stream open until everything is delivered, since it also receives.
    std::future::pending().await
}
