//! What a client costs that is there and silent.

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

/// What a client costs that is there and silent: the server's memory
///
/// Every connection is in one room, by as many streams as asked for, and nobody says anything. What counts is by how much the server's
/// resident memory grows, each time once it stands still.
///
/// Some clients come first and stay: what a server allocates once for all is no client's cost. Then memory is looked at
/// (`memory_before_bytes`). Then every connection comes, with one stream: `bytes_per_client` is the growth over the connections; smaller is
/// better. Then the other streams come: `bytes_per_stream` is what each of these further streams has added. That is the end
/// (`memory_after_bytes`); who is not there any more by then fails the run.
///
/// A stream of NATS is a subscription; on a bare TCP server it is a connection. The kernel's memory for sockets is in none of the figures.
/// Memory comes in pages and the allocator takes it in larger pieces, so the figures of a few clients mean nothing.
#[derive(Debug, Clone, Args, Serialize)]
pub struct Idle {
    /// Connections
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    connections: u32,
    /// Streams of each connection
    #[arg(long, value_name = "N", default_value_t = 1)]
    streams: u32,
    /// Clients that come first, and do not count
    #[arg(long, value_name = "N", default_value_t = 16)]
    warm_up: u32,
}

/// Streams that one connection may have, by the hub's default. h2 would wait for ever for one more.
const MOST_STREAMS: u32 = 128;

/// Where everyone is.
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
        ensure!(connections > 0 && streams > 0, "there must be a stream");
        ensure!(streams <= MOST_STREAMS, "a connection can have at most {MOST_STREAMS} streams");
        let tally = Tally::new(0, 0)?;
        let server = launcher.start(kind).await?;
        let mut crowd = Crowd { system: server.system()?, tally: Arc::clone(&tally), clients: Vec::new() };

        progress.set_message("connecting");
        progress.set_length(u64::from(warm_up) + u64::from(connections) * u64::from(streams));
        crowd.come(warm_up, progress).await?;
        let before = memory::settled(server.process).await? as f64;
        crowd.come(connections, progress).await?;
        let connected = memory::settled(server.process).await? as f64;
        let mut run = Run::new(kind);
        let mut after = connected;
        if streams > 1 {
            crowd.open_more(warm_up as usize, streams - 1, progress).await?;
            after = memory::settled(server.process).await? as f64;
            let further = f64::from(connections) * f64::from(streams - 1);
            run.figures.insert("bytes_per_stream", (after - connected) / further);
        }
        run.figures.extend(Figures::from([
            ("memory_before_bytes", before),
            ("memory_after_bytes", after),
            ("bytes_per_client", (connected - before) / f64::from(connections)),
        ]));
        // Everyone must still be there, or the figures are of fewer.
        crowd.leave();
        tally.verdict()?;
        server.stop().await?;
        Ok(run)
    }
}

/// Who is there.
struct Crowd {
    system: Box<dyn System>,
    tally: Arc<Tally>,
    clients: Vec<Client>,
}

struct Client {
    connection: Box<dyn Connection>,
    streams: Vec<(Subscriber, Box<dyn Member>)>,
}

impl Crowd {
    /// So many clients come, with one stream each.
    async fn come(&mut self, clients: u32, progress: &ProgressBar) -> Result<()> {
        for _ in 0..clients {
            let mut client = Client { connection: self.system.connect().await?, streams: Vec::new() };
            client.open(self.clients.len(), &self.tally).await?;
            self.clients.push(client);
            progress.inc(1);
        }
        Ok(())
    }

    /// All but the first clients open so many further streams.
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
