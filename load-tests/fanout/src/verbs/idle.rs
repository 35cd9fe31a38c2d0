//! Memory of idle clients.

use anyhow::{Result, ensure};
use async_trait::async_trait;
use clap::Args;
use indicatif::ProgressBar;
use serde::Serialize;
use std::sync::Arc;

use super::{Verb, memory};
use crate::{
    launch::{Kind, Launcher},
    report::{Figures, Run},
    stamp::Room,
    subscriber::Subscriber,
    systems::{Connection, Member, System},
    tally::Tally,
};

/// Measure the server's memory per idle client
///
/// All clients are in one room, with `--streams` streams each, and no messages are published. The figures are the growth of the server's
/// resident memory, measured each time after it has become stable.
///
/// Some clients connect first, so that one-time allocations do not count (`memory_before_bytes` is measured after them). Then every client
/// connects with one stream: `bytes_per_client` is the growth divided by the number of clients; smaller is better. Then the further streams
/// open: `bytes_per_stream` is the growth per further stream. `memory_after_bytes` is measured at the end; the run fails if a stream has
/// ended by then.
///
/// With NATS a stream is a subscription, with the bare TCP server a connection. The kernel's memory for sockets is not included. Memory is
/// allocated in large pieces, so use many clients: the figures of a few mean nothing.
#[derive(Debug, Clone, Args, Serialize)]
pub struct Idle {
    /// Number of clients, with one connection each
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    connections: u32,
    /// Streams per connection
    #[arg(long, value_name = "N", default_value_t = 1)]
    streams: u32,
    /// Clients that connect first and do not count
    #[arg(long, value_name = "N", default_value_t = 16)]
    warm_up: u32,
}

/// Streams per connection, by the hub's default limit. h2 would wait for ever to open one more.
const MOST_STREAMS: u32 = 128;

/// The room of all clients.
const ROOM: Room = 0;

#[async_trait]
impl Verb for Idle {
    fn name(&self) -> &'static str {
        "idle"
    }

    fn settings(&self) -> Result<serde_json::Value> {
        Ok(serde_json::to_value(self)?)
    }

    fn compared(&self) -> &'static str {
        "bytes_per_client"
    }

    async fn run(&self, launcher: &Launcher, kind: Kind, progress: &ProgressBar) -> Result<Run> {
        let Self { connections, streams, warm_up } = *self;
        ensure!(connections > 0 && streams > 0, "--connections and --streams must be at least 1");
        ensure!(streams <= MOST_STREAMS, "--streams must be at most {MOST_STREAMS}, the hub's limit per connection");
        let tally = Tally::new(0, 0)?;
        let server = launcher.start(kind).await?;
        let mut clients = Clients { system: server.system()?, tally: Arc::clone(&tally), clients: Vec::new() };

        progress.set_message("connecting");
        progress.set_length(u64::from(warm_up) + u64::from(connections) * u64::from(streams));
        clients.connect(warm_up, progress).await?;
        let before = memory::settled(server.process).await? as f64;
        clients.connect(connections, progress).await?;
        let connected = memory::settled(server.process).await? as f64;
        let mut run = Run::new(kind);
        let mut after = connected;
        if streams > 1 {
            clients.open_more(warm_up as usize, streams - 1, progress).await?;
            after = memory::settled(server.process).await? as f64;
            let further = f64::from(connections) * f64::from(streams - 1);
            run.figures.insert("bytes_per_stream", (after - connected) / further);
        }
        run.figures.extend(Figures::from([
            ("memory_before_bytes", before),
            ("memory_after_bytes", after),
            ("bytes_per_client", (connected - before) / f64::from(connections)),
        ]));
        // Fails if a stream has ended, since the figures would be too low.
        clients.leave();
        tally.verdict()?;
        server.stop().await?;
        Ok(run)
    }
}

/// The connected clients.
struct Clients {
    system: Box<dyn System>,
    tally: Arc<Tally>,
    clients: Vec<Client>,
}

struct Client {
    connection: Box<dyn Connection>,
    streams: Vec<(Subscriber, Box<dyn Member>)>,
}

impl Clients {
    /// Connects this number of clients, with one stream each.
    async fn connect(&mut self, clients: u32, progress: &ProgressBar) -> Result<()> {
        for _ in 0..clients {
            let mut client = Client { connection: self.system.connect().await?, streams: Vec::new() };
            client.open(self.clients.len(), &self.tally).await?;
            self.clients.push(client);
            progress.inc(1);
        }
        Ok(())
    }

    /// Opens `streams` further streams on every client but the first `but`.
    async fn open_more(&mut self, but: usize, streams: u32, progress: &ProgressBar) -> Result<()> {
        for (number, client) in self.clients.iter_mut().enumerate().skip(but) {
            for _ in 0..streams {
                client.open(number, &self.tally).await?;
                progress.inc(1);
            }
        }
        Ok(())
    }

    fn leave(self) {
        self.clients.iter().flat_map(|client| &client.streams).for_each(|(subscriber, _)| subscriber.leave());
    }
}

impl Client {
    async fn open(&mut self, number: usize, tally: &Arc<Tally>) -> Result<()> {
        let subscriber = Subscriber::new(number, &[ROOM], tally, 0);
        let member = self.connection.join(&[ROOM], subscriber.clone()).await?;
        self.streams.push((subscriber, member));
        Ok(())
    }
}
