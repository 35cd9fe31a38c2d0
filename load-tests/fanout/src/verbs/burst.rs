//! As many messages as the system takes, each to everyone in its room.

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

/// As many messages as the system takes, each to everyone in its room.
///
/// The publishers are at most some blocks of messages ahead of the slowest subscriber, so that what is measured is the delivery of
/// messages and not the length of a queue. Latencies count from when a message was handed over, and say little here.
#[derive(Debug, Clone, Args, Serialize)]
pub struct Burst {
    /// Rooms
    #[arg(long, value_name = "N", default_value_t = 1)]
    rooms: u32,
    /// Subscribers of each room, besides its publishers
    #[arg(long, value_name = "N", default_value_t = 100)]
    subscribers: u32,
    /// Rooms that one stream is in; the streams are rooms x subscribers / this
    #[arg(long, value_name = "N", default_value_t = 1)]
    rooms_per_stream: u32,
    /// Connections that the streams share; 0: each has its own
    #[arg(long, value_name = "N", default_value_t = 0)]
    connections: u32,
    /// Streams that publish
    #[arg(long, value_name = "N", default_value_t = 8)]
    publishers: u32,
    /// Messages in all, about
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    messages: u64,
    /// Bytes of a text
    #[arg(long, value_name = "BYTES", default_value_t = 100)]
    size: usize,
    /// Messages of a block
    #[arg(long, value_name = "N", default_value_t = 512)]
    block: u64,
    /// Blocks that the publishers may be ahead
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
        let speakers = layout.speakers(0).len() as u64;
        let voices = u64::from(self.rooms) * speakers;
        // Of each publisher, in each of its rooms: in a block, and in all.
        let share = (self.block / voices).max(1);
        let blocks = self.messages.div_ceil(share * voices);
        let tally = Tally::new(layout.members(), blocks)?;
        let server = launcher.start(kind).await?;
        let (audience, publishers) = Audience::gather(layout, &server, &tally, share * speakers, progress).await?;

        let meter = Meter::start(&server)?;
        let mut publishing = JoinSet::new();
        for publisher in publishers {
            let pace = Pace { blocks, share, ahead: self.ahead.max(1), size: self.size };
            publishing.spawn(publish(publisher, pace, Arc::clone(&tally)));
        }
        audience.settle(&tally, blocks * share, progress).await;
        let mut run = Run::new(kind);
        let figures = meter.stop(&server, tally.delivered(), blocks * share * voices);
        // Whoever waits for a block that will never be complete need not wait for it.
        publishing.shutdown().await;
        audience.leave(blocks * share);
        // First what was wrong: it may be why there are no figures.
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

/// Messages that are handed over at once.
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
            publisher.member.say(texts).await?;
        }
    }
    // Its stream stays open until everything is delivered: it receives as well.
    std::future::pending().await
}
