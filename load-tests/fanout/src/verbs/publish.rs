//! Durable publishing: throughput and latency.

mod window;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use clap::Args;
use indicatif::ProgressBar;
use serde::Serialize;
use tokio::task::{JoinSet, spawn_blocking};

use self::window::{Publisher, shares};
use super::{Verb, audience::Layout};
use crate::{
    launch::{Kind, Launcher, Server},
    report::{Figures, Run},
    systems::sqlite::{self, Rows},
    tally::Tally,
};

/// Messages in flight per stream. Well below the hub's default limit, so that its flow control is not measured.
const INFLIGHT_PER_STREAM: u32 = 64;

/// Measure durable publishing: messages per second, and the time of one
///
/// This is a closed loop: `--window` messages are in flight, and each acknowledgement lets another one be sent. A latency counts from sending
/// to the acknowledgement: with the hub, the sender's own message with its seq; with NATS, the acknowledgement of a JetStream that always
/// syncs; with SQLite, the commit of a group as large as the window. There are no subscribers besides the publishers.
#[derive(Debug, Clone, Args, Serialize)]
pub struct Publish {
    /// Messages in flight, of all publishers together
    #[arg(long, value_name = "N", default_value_t = 512)]
    window: u32,
    /// Approximate total number of messages
    #[arg(long, value_name = "N", default_value_t = 50_000)]
    messages: u64,
    /// Length of a text
    #[arg(long, value_name = "BYTES", default_value_t = 100)]
    size: usize,
    /// Number of publishing streams, each on its own connection, which divide the window [default: one per 64 messages of the window]
    #[arg(long, value_name = "N")]
    publishers: Option<u32>,
    /// Number of rooms [default: one per publisher, which then receives only its own messages]
    #[arg(long, value_name = "N")]
    rooms: Option<u32>,
}

#[async_trait]
impl Verb for Publish {
    fn name(&self) -> &'static str {
        "publish"
    }

    fn settings(&self) -> Result<serde_json::Value> {
        let Layout { rooms, publishers, .. } = self.layout()?;
        let settings = Self { rooms: Some(rooms), publishers: Some(publishers), ..self.clone() };
        Ok(serde_json::to_value(settings)?)
    }

    fn compared(&self) -> &'static str {
        "messages_per_second"
    }

    async fn run(&self, launcher: &Launcher, kind: Kind, progress: &ProgressBar) -> Result<Run> {
        progress.set_message("publishing");
        if kind == Kind::Sqlite {
            self.run_sqlite(launcher, progress).await
        } else {
            self.run_server(launcher, kind, progress).await
        }
    }
}

impl Publish {
    fn layout(&self) -> Result<Layout> {
        let publishers = self.publishers.unwrap_or(self.window.div_ceil(INFLIGHT_PER_STREAM));
        let rooms = self.rooms.unwrap_or(publishers);
        let layout = Layout { rooms, subscribers: 0, rooms_per_stream: 1, connections: 0, publishers };
        layout.check()?;
        let publishers = layout.publishers();
        ensure!(self.window >= publishers, "--window must be at least the number of publishers ({publishers})");
        Ok(Layout { publishers, ..layout })
    }

    /// Number of messages of each publisher in each of its rooms.
    fn share(&self, layout: &Layout) -> u64 {
        self.messages.div_ceil(u64::from(layout.rooms.max(layout.publishers))).max(1)
    }

    /// Runs against a server.
    async fn run_server(&self, launcher: &Launcher, kind: Kind, progress: &ProgressBar) -> Result<Run> {
        let layout = self.layout()?;
        let share = self.share(&layout);
        let server = launcher.start_durable(kind).await?;
        let system = server.system()?;
        let (mut publishers, mut connections) = (Vec::new(), Vec::new());
        for (number, window) in (0..).zip(shares(self.window, layout.publishers)) {
            let connection = system.connect().await?;
            publishers.push(Publisher::join(&*connection, &layout, number, share, window).await?);
            connections.push(connection);
        }
        let tallies: Vec<_> = publishers.iter().map(|publisher| Arc::clone(&publisher.tally)).collect();
        let messages = publishers.iter().map(|publisher| publisher.total).sum();
        progress.set_length(messages);

        let meter = Meter::start(&server)?;
        let mut publishing = JoinSet::new();
        for publisher in publishers {
            publishing.spawn(publisher.publish(self.size, progress.clone()));
        }
        // Holds finished publishers, so that their streams stay open until all are done.
        let mut done = Vec::new();
        let mut failed = None;
        while let Some(published) = publishing.join_next().await {
            match published? {
                Ok(publisher) => done.push(publisher),
                Err(error) => failed = Some(error),
            }
        }
        let figures = meter.stop(&server, messages);
        done.iter().for_each(Publisher::leave);
        let mut run = Run::new(kind);
        // Violations first: they say more than the error of one publisher.
        take(&mut run, &tallies)?;
        if let Some(error) = failed {
            return Err(error);
        }
        run.figures.extend(figures?);
        server.stop().await?;
        Ok(run)
    }

    /// Runs against SQLite, without a server.
    async fn run_sqlite(&self, launcher: &Launcher, progress: &ProgressBar) -> Result<Run> {
        let layout = self.layout()?;
        let messages = self.share(&layout) * u64::from(layout.rooms.max(layout.publishers));
        let rows = Rows { rooms: layout.rooms, messages, group: self.window, size: self.size };
        let folder = launcher.folder()?;
        let (file, tally, progress) = (folder.path().join("bare.db"), Tally::new(1, 0)?, progress.clone());
        progress.set_length(messages);
        let counts = Arc::clone(&tally);
        let (took, cpu) = spawn_blocking(move || sqlite::insert(&file, &rows, &counts, &progress)).await??;
        let mut run = Run::new(Kind::Sqlite);
        run.figures = figures(messages, took, cpu);
        take(&mut run, &[tally])?;
        Ok(run)
    }
}

/// Adds what the publishers received. Fails if there was a violation.
fn take(run: &mut Run, tallies: &[Arc<Tally>]) -> Result<()> {
    tallies.iter().try_for_each(|tally| tally.verdict())?;
    let (first, others) = tallies.split_first().context("there is no publisher")?;
    let mut latencies = first.latencies()?;
    run.throughput = first.throughput();
    for tally in others {
        latencies.add(tally.latencies()?)?;
        // All publishers began at the same time.
        let throughput = tally.throughput();
        run.throughput.resize(run.throughput.len().max(throughput.len()), 0.0);
        run.throughput.iter_mut().zip(throughput).for_each(|(sum, part)| *sum += part);
    }
    run.take_latencies(&latencies);
    Ok(())
}

/// Measures CPU time and elapsed time of a server.
struct Meter {
    cpu: Duration,
    clock: Instant,
}

impl Meter {
    fn start(server: &Server) -> Result<Self> {
        Ok(Self { cpu: server.process.cpu()?, clock: Instant::now() })
    }

    fn stop(self, server: &Server, messages: u64) -> Result<Figures> {
        let took = self.clock.elapsed();
        let mut figures = figures(messages, took, server.process.cpu()?.saturating_sub(self.cpu));
        figures.insert("memory_bytes", server.process.memory()? as f64);
        Ok(figures)
    }
}

fn figures(messages: u64, took: Duration, cpu: Duration) -> Figures {
    let (messages, seconds, cpu) = (messages as f64, took.as_secs_f64(), cpu.as_secs_f64());
    Figures::from([
        ("messages", messages),
        ("seconds", seconds),
        ("messages_per_second", messages / seconds),
        ("server_cpu_seconds", cpu),
        ("messages_per_cpu_second", messages / cpu),
        ("server_cpu_us_per_message", cpu * 1e6 / messages),
    ])
}
