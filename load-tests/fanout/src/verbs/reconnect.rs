//! Everyone comes back at once.

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
    guest::{Followed, Guest, Place},
    memory::Watch,
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

/// Everyone comes back at once, and is told what it has missed (hub only)
///
/// A room has messages in its log. All clients connect at the same moment, as after a restart of the server or of the network, and each
/// resumes by `join` with `after_seq` and `epoch` at a place of its own: the first has missed all messages, the last nearly none. Meanwhile
/// someone goes on speaking. Each must be told that nothing is missing, and get what it has missed, once and in order, and then what is
/// said live.
///
/// The figures are of the time from the first connection until the last client has caught up with what the room held when it joined:
/// `caught_up_…_us` is how long clients took, connecting included. A connection that the server does not take is tried again a little
/// later, and counted in `refused_connections`. Latencies are those of single deliveries, and count from when everyone
/// came back, or from when the message was due if that was later.
#[derive(Debug, Clone, Args, Serialize)]
pub struct Reconnect {
    /// Clients
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    clients: usize,
    /// Messages that they have missed: the first all, the others evenly fewer
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    missed: usize,
    /// Messages a second that are said meanwhile
    #[arg(long, value_name = "N", default_value_t = 20.0)]
    rate: f64,
    /// Bytes of a text
    #[arg(long, value_name = "BYTES", default_value_t = 100)]
    size: usize,
}

/// Where everyone is, and who speaks.
const ROOM: Room = 0;
const AUTHOR: u32 = 0;

/// Messages that are said when everyone has caught up: everyone must have become live.
const AFTERWARDS: usize = 10;

/// Messages that the author says before it listens: their echo fits into its window.
const AT_ONCE: usize = 64;

/// A storm is short: the peak of memory would be missed by rare looks.
const LOOK: Duration = Duration::from_millis(20);

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
        ensure!(kind.is_hub(), "only the hub can be resumed: nothing to compare with");
        ensure!(self.clients > 0 && self.rate > 0.0, "there must be a client, and someone who speaks");
        let server = launcher.start(kind).await?;
        let hub = Arc::new(server.hub());
        let mut author = Author::enter(&hub, self.size).await?;
        progress.set_message("publishing");
        author.publish(self.missed).await?;
        let places: Vec<_> =
            (0..self.clients).map(|number| author.place(number * self.missed / self.clients)).collect();

        let storm = Storm::new(places, server.patience)?;
        let watch = Watch::start(server.process, LOOK);
        let meter = Meter::start(&server)?;
        let came = storm.begin(&hub);
        let (enough, told) = watch::channel(false);
        let speaking = tokio::spawn(author.speak(self.rate, told));
        storm.all_caught_up(progress).await;
        let mut run = Run::new(kind);
        let figures = meter.stop(&server, storm.tally.delivered(), self.missed as u64);
        run.memory = watch.stop();
        enough.send_replace(true);
        let said = speaking.await??;
        storm.end(came, said, progress).await;

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

/// Who has filled the room, and goes on speaking.
struct Author {
    guest: Guest,
    followed: Followed,
    epoch: String,
    /// The last `seq` of the room before it spoke.
    head: u64,
    /// Of each message, in the order in which they were said.
    seqs: Vec<u64>,
    size: usize,
    /// Lives as long as the stream needs it.
    _connection: Http2,
}

impl Author {
    async fn enter(hub: &Rialto, size: usize) -> Result<Self> {
        let connection = hub.open().await?;
        let mut guest = Guest::open(&connection).await?;
        guest.join(ROOM, None).await?;
        let followed = Followed::live(ROOM);
        let (epoch, seqs) = (String::new(), Vec::new());
        let mut author = Self { guest, followed, epoch, head: 0, seqs, size, _connection: connection };
        loop {
            author.listen().await?;
            if let Some(joined) = author.followed.joined() {
                (author.epoch, author.head) = (joined.epoch.clone(), joined.head_seq);
                return Ok(author);
            }
        }
    }

    /// Says so many messages, and waits until they are committed.
    async fn publish(&mut self, messages: usize) -> Result<()> {
        let end = self.seqs.len() + messages;
        while self.seqs.len() < end {
            let first = self.seqs.len();
            let text =
                |nth: usize| Stamp { room: ROOM, publisher: AUTHOR, nth: nth as u64, due: now() }.text(self.size);
            let last = end.min(first + AT_ONCE);
            self.guest.say(ROOM, (first..last).map(text)).await?;
            while self.seqs.len() < last {
                self.listen().await?;
            }
        }
        Ok(())
    }

    async fn listen(&mut self) -> Result<()> {
        let Self { guest, followed, seqs, .. } = self;
        let mut wrong = None;
        let see = |seen: Seen<'_>| match followed.see(seen) {
            Ok(None) => {}
            Ok(Some(_)) => seqs.push(followed.last_seq()),
            Err(found) => wrong = Some(found),
        };
        ensure!(guest.next(see).await?, "the author's stream has ended");
        match wrong {
            Some((violation, example)) => bail!("the author got {violation}: {example}"),
            None => Ok(()),
        }
    }

    /// Where a client goes on that has the first so many messages.
    fn place(&self, has: usize) -> (Place, u64) {
        let after_seq = has.checked_sub(1).and_then(|last| self.seqs.get(last)).copied().unwrap_or(self.head);
        (Place { after_seq, epoch: self.epoch.clone() }, has as u64)
    }

    /// Speaks until it is told that it is enough, and a little longer. Says how many messages there are now.
    async fn speak(mut self, rate: f64, enough: watch::Receiver<bool>) -> Result<u64> {
        let mut ticks = interval(Duration::from_secs_f64(1.0 / rate));
        while !*enough.borrow() {
            ticks.tick().await;
            self.publish(1).await?;
        }
        self.publish(AFTERWARDS).await?;
        Ok(self.seqs.len() as u64)
    }
}

/// Those who come back.
struct Storm {
    tally: Arc<Tally>,
    clients: Vec<Arc<Client>>,
    arrivals: Arc<Arrivals>,
    patience: Duration,
}

/// How far they are.
#[derive(Debug, Default)]
struct Arrivals {
    caught_up: AtomicUsize,
    /// Those whose streams have ended: nobody need wait for them.
    gone: AtomicUsize,
    /// Attempts to connect that failed: the server could not take so many at once.
    refused: AtomicUsize,
    /// To those who have not caught up. What is said live goes on also if the others have been forgotten.
    deliveries: AtomicU64,
}

struct Client {
    number: usize,
    place: Place,
    first: u64,
    followed: Mutex<Followed>,
    /// How long it took.
    caught_up: Mutex<Option<Duration>>,
}

/// How long a client waits that was refused.
const AGAIN: Duration = Duration::from_millis(100);

/// How often is looked whether everyone has caught up.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

impl Storm {
    fn new(places: Vec<(Place, u64)>, patience: Duration) -> Result<Self> {
        let client = |(number, (place, first)): (usize, (Place, u64))| {
            let followed = Mutex::new(Followed::from(ROOM, place.clone(), first));
            Arc::new(Client { number, place, first, followed, caught_up: Mutex::default() })
        };
        let clients = places.into_iter().enumerate().map(client).collect();
        Ok(Self { tally: Tally::new(0, 0)?, clients, arrivals: Arc::default(), patience })
    }

    /// Everyone connects. They stay until what is returned is dropped.
    fn begin(&self, hub: &Arc<Rialto>) -> JoinSet<()> {
        let began = (Instant::now(), now());
        let mut came = JoinSet::new();
        for client in &self.clients {
            let (client, hub, patience) = (Arc::clone(client), Arc::clone(hub), self.patience);
            let (tally, arrivals) = (Arc::clone(&self.tally), Arc::clone(&self.arrivals));
            came.spawn(async move {
                if let Err(error) = client.resume(&hub, &tally, patience, began, &arrivals).await {
                    arrivals.gone.fetch_add(1, Ordering::Release);
                    let example = || format!("client {}: {error:#}", client.number);
                    tally.violation(Violation::Ended, 1, example);
                }
            });
        }
        came
    }

    /// Waits for everyone, as long as something comes.
    async fn all_caught_up(&self, progress: &ProgressBar) {
        progress.set_message("catching up");
        progress.set_length(self.clients.len() as u64);
        let mut looks = interval(LOOK_AGAIN);
        let (mut last, mut since) = ((0, 0, 0), Instant::now());
        while last.0 + last.1 < self.clients.len() && since.elapsed() < self.patience {
            looks.tick().await;
            let Arrivals { caught_up, gone, deliveries, .. } = &*self.arrivals;
            let order = Ordering::Acquire;
            let now = (caught_up.load(order), gone.load(order), deliveries.load(order));
            if now != last {
                (last, since) = (now, Instant::now());
                progress.set_position(now.0 as u64);
            }
        }
    }

    /// Waits until everyone has got what was said in all, counts what never came, and lets everyone go.
    async fn end(&self, mut came: JoinSet<()>, said: u64, progress: &ProgressBar) {
        let expected = self.clients.iter().map(|client| said - client.first).sum();
        self.tally.wait_for(expected, self.patience, progress).await;
        came.shutdown().await;
        for client in &self.clients {
            let missing = lock(&client.followed).missing(Some(said));
            if missing > 0 {
                self.tally.violation(Violation::Gap, missing, || format!("client {}", client.number));
            }
        }
    }

    /// How long clients took to catch up.
    fn figures(&self) -> Result<Figures> {
        let mut took = Histogram::<u64>::new(3)?;
        for client in &self.clients {
            let time = (*lock(&client.caught_up)).context("a client has not caught up")?;
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
    /// Connects, resumes, and stays.
    async fn resume(
        &self,
        hub: &Rialto,
        tally: &Tally,
        patience: Duration,
        (began, storm): (Instant, u64),
        arrivals: &Arrivals,
    ) -> Result<()> {
        let (_connection, mut guest) = connect(hub, began + patience, &arrivals.refused).await?;
        guest.join(ROOM, Some(self.place.clone())).await?;
        let mut latencies = Vec::new();
        loop {
            let see = |seen: Seen<'_>| match lock(&self.followed).see(seen) {
                Ok(None) => {}
                // What was missed is due when everyone comes back.
                Ok(Some(stamp)) => latencies.push(now().saturating_sub(stamp.due.max(storm))),
                Err((violation, example)) => {
                    tally.violation(violation, 1, || format!("client {}: {example}", self.number));
                }
            };
            ensure!(guest.next(see).await?, "the stream has ended");
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

/// Connects, again and again like any client, as a server may be refusing while all come at once.
async fn connect(hub: &Rialto, until: Instant, refused: &AtomicUsize) -> Result<(Http2, Guest)> {
    loop {
        let attempt = async {
            let connection = hub.open().await?;
            let guest = Guest::open(&connection).await?;
            Ok((connection, guest))
        };
        match attempt.await {
            Err(_) if Instant::now() < until => _ = refused.fetch_add(1, Ordering::Relaxed),
            done => return done,
        }
        sleep(AGAIN).await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
