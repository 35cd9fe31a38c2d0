//! All clients reconnect at once.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use async_trait::async_trait;
use clap::Args;
use hdrhistogram::Histogram;
use indicatif::ProgressBar;
use serde::Serialize;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{interval, sleep},
};

use super::{
    Verb,
    audience::Meter,
    joined_client::{Followed, JoinedClient, Position},
    memory::Sampler,
};
use crate::{
    check::Violation,
    frames::Seen,
    launch::{Kind, Launcher},
    report::{Figures, Run},
    stamp::{Room, Stamp, now},
    systems::rialto::{Http2, Rialto},
    tally::Tally,
};

/// Reconnect all clients at once, and deliver what they missed (hub only)
///
/// The log of a room has messages. All clients connect at the same moment, as after a restart of the server or the network, and each resumes
/// with `join`, `after_seq` and `epoch` from a position of its own: the first has missed all messages, the last nearly none. Meanwhile an
/// author publishes. Each client must receive `joined` with `recovered`, then the messages that it missed, once and in order, then live ones.
///
/// The figures cover the time from the first connection until the last client has caught up with the head that `joined` reported.
/// `caught_up_…_us` are the clients' times to catch up, connecting included. A failed connection is retried after a short delay, and counted
/// in `refused_connections`. Latencies are those of single deliveries, from the start of the reconnect or from when the message was due,
/// whichever is later.
#[derive(Debug, Clone, Args, Serialize)]
pub struct Reconnect {
    /// Number of clients
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    clients: usize,
    /// Messages that the first client has missed; the others have missed evenly fewer
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    missed: usize,
    /// Messages per second that are published meanwhile
    #[arg(long, value_name = "N", default_value_t = 20.0)]
    rate: f64,
    /// Length of a text
    #[arg(long, value_name = "BYTES", default_value_t = 100)]
    size: usize,
}

/// The room of all clients, and its one publisher.
const ROOM: Room = 0;
const AUTHOR: u32 = 0;

/// Messages published after all clients have caught up, to check that all of them are live.
const AFTERWARDS: usize = 10;

/// Messages that the author sends before it reads: few enough that their echo fits into its flow-control window.
const AT_ONCE: usize = 64;

/// Interval between samples of memory; short, because the peak is short.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(20);

#[async_trait]
impl Verb for Reconnect {
    fn name(&self) -> &'static str {
        "reconnect"
    }

    fn settings(&self) -> Result<serde_json::Value> {
        Ok(serde_json::to_value(self)?)
    }

    fn compared(&self) -> &'static str {
        "deliveries_per_cpu_second"
    }

    async fn run(&self, launcher: &Launcher, kind: Kind, progress: &ProgressBar) -> Result<Run> {
        ensure!(kind.is_hub(), "`reconnect` runs only against the hub: other systems cannot resume");
        ensure!(self.clients > 0 && self.rate > 0.0, "--clients must be at least 1, and --rate above 0");
        let server = launcher.start(kind).await?;
        let hub = Arc::new(server.hub());
        let mut author = Author::enter(&hub, self.size).await?;
        progress.set_message("publishing");
        author.publish(self.missed).await?;
        let positions: Vec<_> =
            (0..self.clients).map(|number| author.position(number * self.missed / self.clients)).collect();

        let storm = Storm::new(positions, server.patience)?;
        let watch = Sampler::start(server.process, SAMPLE_INTERVAL);
        let meter = Meter::start(&server)?;
        let clients = storm.connect_all(&hub);
        let (stop, stopped) = watch::channel(false);
        let publishing = tokio::spawn(author.publish_until(self.rate, stopped));
        storm.all_caught_up(progress).await;
        let mut run = Run::new(kind);
        let figures = meter.stop(&server, storm.tally.delivered(), self.missed as u64);
        run.memory = watch.stop();
        stop.send_replace(true);
        let published = publishing.await??;
        storm.end(clients, published, progress).await;

        run.take(&storm.tally)?;
        run.figures.extend(figures?);
        run.figures.extend(storm.figures()?);
        run.figures.extend(peak(&run.memory));
        server.stop().await?;
        Ok(run)
    }
}

fn peak(memory: &[(f64, f64)]) -> Figures {
    let bytes = || memory.iter().map(|(_, bytes)| *bytes);
    let (before, peak) = (bytes().next().unwrap_or(0.0), bytes().fold(0.0, f64::max));
    Figures::from([("memory_before_bytes", before), ("memory_peak_bytes", peak)])
}

/// The publisher that fills the room, and continues while clients reconnect.
struct Author {
    client_stream: JoinedClient,
    followed: Followed,
    epoch: String,
    /// The room's last `seq` before the author published.
    head: u64,
    /// The `seq` of each message, in the order of publication.
    seqs: Vec<u64>,
    size: usize,
    /// Held because dropping it ends the stream.
    _connection: Http2,
}

impl Author {
    async fn enter(hub: &Rialto, size: usize) -> Result<Self> {
        let connection = hub.open().await?;
        let mut client_stream = JoinedClient::open(&connection).await?;
        client_stream.join(ROOM, None).await?;
        let followed = Followed::live(ROOM);
        let (epoch, seqs) = (String::new(), Vec::new());
        let mut author = Self { client_stream, followed, epoch, head: 0, seqs, size, _connection: connection };
        loop {
            author.listen().await?;
            if let Some(joined) = author.followed.joined() {
                (author.epoch, author.head) = (joined.epoch.clone(), joined.head_seq);
                return Ok(author);
            }
        }
    }

    /// Publishes this number of messages, and waits until they are committed.
    async fn publish(&mut self, messages: usize) -> Result<()> {
        let end = self.seqs.len() + messages;
        while self.seqs.len() < end {
            let first = self.seqs.len();
            let text =
                |nth: usize| Stamp { room: ROOM, publisher: AUTHOR, nth: nth as u64, due: now() }.text(self.size);
            let last = end.min(first + AT_ONCE);
            self.client_stream.publish(ROOM, (first..last).map(text)).await?;
            while self.seqs.len() < last {
                self.listen().await?;
            }
        }
        Ok(())
    }

    async fn listen(&mut self) -> Result<()> {
        let Self { client_stream, followed, seqs, .. } = self;
        let mut violated = None;
        let see = |seen: Seen<'_>| match followed.see(seen) {
            Ok(None) => {}
            Ok(Some(_)) => seqs.push(followed.last_seq()),
            Err(found) => violated = Some(found),
        };
        ensure!(client_stream.next(see).await?, "the author's stream has ended");
        match violated {
            Some((violation, example)) => bail!("the author received messages {violation}: {example}"),
            None => Ok(()),
        }
    }

    /// The position of a client that has the first `has` messages.
    fn position(&self, has: usize) -> (Position, u64) {
        let after_seq = has.checked_sub(1).and_then(|last| self.seqs.get(last)).copied().unwrap_or(self.head);
        (Position { after_seq, epoch: self.epoch.clone() }, has as u64)
    }

    /// Publishes at this rate until `stop` is true, then [`AFTERWARDS`] more. Returns the total number of messages.
    async fn publish_until(mut self, rate: f64, stop: watch::Receiver<bool>) -> Result<u64> {
        let mut ticks = interval(Duration::from_secs_f64(1.0 / rate));
        while !*stop.borrow() {
            ticks.tick().await;
            self.publish(1).await?;
        }
        self.publish(AFTERWARDS).await?;
        Ok(self.seqs.len() as u64)
    }
}

/// The reconnecting clients.
struct Storm {
    tally: Arc<Tally>,
    clients: Vec<Arc<Client>>,
    arrivals: Arc<Arrivals>,
    patience: Duration,
}

/// The clients' progress.
#[derive(Debug, Default)]
struct Arrivals {
    caught_up: AtomicUsize,
    /// Clients whose stream has ended, which are not waited for.
    gone: AtomicUsize,
    /// Failed attempts to connect.
    refused: AtomicUsize,
    /// Deliveries to clients that have not caught up. Live deliveries do not count, since they continue even if other clients stall.
    deliveries: AtomicU64,
}

struct Client {
    number: usize,
    position: Position,
    first: u64,
    followed: Mutex<Followed>,
    /// The time it took to catch up; `None` until then.
    caught_up: Mutex<Option<Duration>>,
}

/// Delay before a failed connection is retried.
const RETRY_DELAY: Duration = Duration::from_millis(100);

/// Interval between checks whether all clients have caught up.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

impl Storm {
    fn new(positions: Vec<(Position, u64)>, patience: Duration) -> Result<Self> {
        let client = |(number, (position, first)): (usize, (Position, u64))| {
            let followed = Mutex::new(Followed::from(ROOM, position.clone(), first));
            Arc::new(Client { number, position, first, followed, caught_up: Mutex::default() })
        };
        let clients = positions.into_iter().enumerate().map(client).collect();
        Ok(Self { tally: Tally::new(0, 0)?, clients, arrivals: Arc::default(), patience })
    }

    /// Connects all clients. Dropping the returned set disconnects them.
    fn connect_all(&self, hub: &Arc<Rialto>) -> JoinSet<()> {
        let began = (Instant::now(), now());
        let mut clients = JoinSet::new();
        for client in &self.clients {
            let (client, hub, patience) = (Arc::clone(client), Arc::clone(hub), self.patience);
            let (tally, arrivals) = (Arc::clone(&self.tally), Arc::clone(&self.arrivals));
            clients.spawn(async move {
                if let Err(error) = client.resume(&hub, &tally, patience, began, &arrivals).await {
                    arrivals.gone.fetch_add(1, Ordering::Release);
                    let example = || format!("client {}: {error:#}", client.number);
                    tally.violation(Violation::Ended, 1, example);
                }
            });
        }
        clients
    }

    /// Waits until every client has caught up or failed, or there is no progress for `patience`.
    async fn all_caught_up(&self, progress: &ProgressBar) {
        progress.set_message("catching up");
        progress.set_length(self.clients.len() as u64);
        let mut polls = interval(POLL_INTERVAL);
        let (mut last, mut since) = ((0, 0, 0), Instant::now());
        while last.0 + last.1 < self.clients.len() && since.elapsed() < self.patience {
            polls.tick().await;
            let Arrivals { caught_up, gone, deliveries, .. } = &*self.arrivals;
            let order = Ordering::Acquire;
            let now = (caught_up.load(order), gone.load(order), deliveries.load(order));
            if now != last {
                (last, since) = (now, Instant::now());
                progress.set_position(now.0 as u64);
            }
        }
    }

    /// Waits until every client has received all `published` messages, disconnects the clients, and counts missing messages.
    async fn end(&self, mut clients: JoinSet<()>, published: u64, progress: &ProgressBar) {
        let expected = self.clients.iter().map(|client| published - client.first).sum();
        self.tally.wait_for(expected, self.patience, progress).await;
        clients.shutdown().await;
        for client in &self.clients {
            let missing = lock(&client.followed).missing(Some(published));
            if missing > 0 {
                self.tally.violation(Violation::Gap, missing, || format!("client {}", client.number));
            }
        }
    }

    /// The clients' times to catch up.
    fn figures(&self) -> Result<Figures> {
        let mut took = Histogram::<u64>::new(3)?;
        for client in &self.clients {
            let time = (*lock(&client.caught_up)).context("a client has not caught up in time")?;
            took.record(u64::try_from(time.as_micros())?)?;
        }
        let at = |quantile| took.value_at_quantile(quantile) as f64;
        Ok(Figures::from([
            ("caught_up_p50_us", at(0.5)),
            ("caught_up_p99_us", at(0.99)),
            ("caught_up_max_us", at(1.0)),
            ("refused_connections", self.arrivals.refused.load(Ordering::Relaxed) as f64),
        ]))
    }
}

impl Client {
    /// Connects, resumes, and receives until the stream ends.
    async fn resume(
        &self,
        hub: &Rialto,
        tally: &Tally,
        patience: Duration,
        (began, storm): (Instant, u64),
        arrivals: &Arrivals,
    ) -> Result<()> {
        let (_connection, mut client_stream) = connect(hub, began + patience, &arrivals.refused).await?;
        client_stream.join(ROOM, Some(self.position.clone())).await?;
        let mut latencies = Vec::new();
        loop {
            let see = |seen: Seen<'_>| match lock(&self.followed).see(seen) {
                Ok(None) => {}
                // A missed message is due at the start of the reconnect.
                Ok(Some(stamp)) => latencies.push(now().saturating_sub(stamp.due.max(storm))),
                Err((violation, example)) => {
                    tally.violation(violation, 1, || format!("client {}: {example}", self.number));
                }
            };
            ensure!(client_stream.next(see).await?, "the stream has ended");
            tally.record(self.number, &latencies);
            let mut took = lock(&self.caught_up);
            if took.is_none() {
                arrivals.deliveries.fetch_add(latencies.len() as u64, Ordering::Release);
                if lock(&self.followed).caught_up() {
                    *took = Some(began.elapsed());
                    arrivals.caught_up.fetch_add(1, Ordering::Release);
                }
            }
            latencies.clear();
        }
    }
}

/// Connects, and retries until `until`: the server may refuse connections while all clients connect at once.
async fn connect(hub: &Rialto, until: Instant, refused: &AtomicUsize) -> Result<(Http2, JoinedClient)> {
    loop {
        let attempt = async {
            let connection = hub.open().await?;
            let client_stream = JoinedClient::open(&connection).await?;
            Ok((connection, client_stream))
        };
        match attempt.await {
            Err(_) if Instant::now() < until => _ = refused.fetch_add(1, Ordering::Relaxed),
            done => return done,
        }
        sleep(RETRY_DELAY).await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
