//! A soak test: some clients stay, others join and leave.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Result, bail, ensure};
use async_trait::async_trait;
use clap::Args;
use fastrand::Rng;
use indicatif::ProgressBar;
use serde::Serialize;
use tokio::{
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};

use super::{
    Verb,
    audience::{Audience, Layout, Meter},
    fanout,
    joined_client::{Followed, JoinedClient},
    memory::Sampler,
};
use crate::{
    check::Violation,
    frames::Seen,
    launch::{Kind, Launcher},
    report::{Figures, Run},
    schedule,
    stamp::{Room, now},
    systems::rialto::{Http2, Rialto},
    tally::Tally,
};

/// Soak test: clients join and leave all the time, and memory must not grow (hub only)
///
/// Like `fanout`, with visitors beside the steady subscribers. A visitor joins a room, stays between 0.1 and 2 s, and leaves: one third by
/// half-close, which the hub must end with OK, one third by a reset, and one third by dropping the connection. It must receive all messages
/// in order from the first one that it receives. Visits are the same in every run. Steady subscribers must receive everything.
///
/// The server's memory is sampled every second. `memory_growth_percent` is its growth from one minute after the start, or from a tenth of the
/// duration if that is shorter, to the end: a server that leaks memory for every visitor grows for as long as it runs. Latencies are those of
/// the steady subscribers; CPU time includes joining and leaving.
#[derive(Debug, Clone, Args, Serialize)]
pub struct Churn {
    /// Number of rooms
    #[arg(long, value_name = "N", default_value_t = 1)]
    rooms: u32,
    /// Steady subscribers per room, besides its publisher
    #[arg(long, value_name = "N", default_value_t = 100)]
    subscribers: u32,
    /// Number of visitors, each of which joins random rooms
    #[arg(long, value_name = "N", default_value_t = 50)]
    churners: u32,
    /// Messages per second and room
    #[arg(long, value_name = "N", default_value_t = 50.0)]
    rate: f64,
    /// Length of a text
    #[arg(long, value_name = "BYTES", default_value_t = 100)]
    size: usize,
    /// Duration
    #[arg(long, value_name = "SECONDS", default_value_t = 600.0)]
    seconds: f64,
    /// Fail if memory grows by more than this
    #[arg(long, value_name = "PERCENT")]
    most_growth: Option<f64>,
}

/// Interval between samples of memory; shorter in a run that would have fewer than [`MIN_SAMPLES`].
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);
const MIN_SAMPLES: f64 = 20.0;

/// Seconds after which a server has warmed up.
const WARM_UP: f64 = 60.0;

/// Shortest and longest visit in seconds.
const SHORTEST: f64 = 0.1;
const LONGEST: f64 = 2.0;

#[async_trait]
impl Verb for Churn {
    fn name(&self) -> &'static str {
        "churn"
    }

    fn settings(&self) -> Result<serde_json::Value> {
        Ok(serde_json::to_value(self)?)
    }

    fn compared(&self) -> &'static str {
        "deliveries_per_cpu_second"
    }

    async fn run(&self, launcher: &Launcher, kind: Kind, progress: &ProgressBar) -> Result<Run> {
        ensure!(kind.is_hub(), "`churn` runs only against the hub: other systems have no half-close and reset");
        let Self { rooms, subscribers, .. } = *self;
        let layout = Layout { rooms, subscribers, rooms_per_stream: 1, connections: 0, publishers: 1 };
        layout.check()?;
        let published = schedule::messages(self.rate * self.seconds);
        let tally = Tally::new(layout.members(), 0)?;
        let server = launcher.start(kind).await?;
        let (audience, publishers) = Audience::gather(layout, &server, &tally, 0, progress).await?;

        let over = Duration::try_from_secs_f64(self.seconds)?;
        let visits = Visits::new(server.hub(), self.rooms, Instant::now() + over, server.patience)?;
        let sampler = Sampler::start(server.process, SAMPLE_INTERVAL.min(over.div_f64(MIN_SAMPLES)));
        let meter = Meter::start(&server)?;
        let mut publishing = JoinSet::new();
        for publisher in publishers {
            publishing.spawn(fanout::publish(publisher, published, over, self.size));
        }
        let visiting = visits.spawn(self.churners);
        audience.settle(&tally, published, progress).await;
        let mut run = Run::new(kind);
        run.memory = sampler.stop();
        // Visits end at the same time.
        visiting.join_all().await;
        let deliveries = tally.delivered() + visits.tally.delivered();
        let figures = meter.stop(&server, deliveries, published * u64::from(self.rooms));
        audience.leave(published);

        // Violations first: they may explain why there are no figures, or why a publisher failed.
        run.take(&tally)?;
        visits.tally.verdict()?;
        let heard = visits.tally.delivered();
        ensure!(heard > 0 || visits.over.load(Ordering::Relaxed) == 0, "no visitor received a message");
        run.figures.extend(figures?);
        while let Some(published) = publishing.join_next().await {
            published??;
        }
        run.figures.insert("visits", visits.over.load(Ordering::Relaxed) as f64);
        run.figures.insert("visitors_deliveries", visits.tally.delivered() as f64);
        let growth = growth(&run.memory, WARM_UP.min(self.seconds / 10.0));
        run.figures.extend(growth.figures());
        server.stop().await?;
        growth.check(self.most_growth)?;
        Ok(run)
    }
}

/// The growth of memory in bytes.
struct Growth {
    early: f64,
    end: f64,
}

/// Computes the growth from this time in seconds to the end.
fn growth(memory: &[(f64, f64)], from: f64) -> Growth {
    let end = memory.last().map_or(0.0, |(_, bytes)| *bytes);
    let early = memory.iter().find(|(seconds, _)| *seconds >= from).map_or(end, |(_, bytes)| *bytes);
    Growth { early, end }
}

impl Growth {
    fn percent(&self) -> f64 {
        if self.early > 0.0 { (self.end / self.early - 1.0) * 100.0 } else { 0.0 }
    }

    fn figures(&self) -> Figures {
        Figures::from([
            ("memory_after_minute_bytes", self.early),
            ("memory_end_bytes", self.end),
            ("memory_growth_percent", self.percent()),
        ])
    }

    fn check(&self, most: Option<f64>) -> Result<()> {
        let percent = self.percent();
        match most {
            Some(most) if percent > most => {
                bail!(
                    "memory has grown by {percent:.1} %, from {:.0} to {:.0} bytes (--most-growth {most})",
                    self.early,
                    self.end
                )
            }
            _ => Ok(()),
        }
    }
}

/// The visitors.
#[derive(Debug, Clone)]
struct Visits {
    hub: Rialto,
    rooms: Room,
    until: Instant,
    patience: Duration,
    tally: Arc<Tally>,
    /// Number of finished visits.
    over: Arc<AtomicU64>,
}

/// A way to leave.
#[derive(Debug, Clone, Copy)]
enum Exit {
    HalfClose,
    Reset,
    Drop,
}

const EXITS: [Exit; 3] = [Exit::HalfClose, Exit::Reset, Exit::Drop];

impl Visits {
    fn new(hub: Rialto, rooms: Room, until: Instant, patience: Duration) -> Result<Self> {
        Ok(Self { hub, rooms, until, patience, tally: Tally::new(0, 0)?, over: Arc::default() })
    }

    /// Starts the visitors.
    fn spawn(&self, visitors: u32) -> JoinSet<()> {
        let mut all = JoinSet::new();
        for visitor in 0..visitors {
            let visits = self.clone();
            all.spawn(async move {
                if let Err(error) = visits.visit_repeatedly(visitor).await {
                    visits.tally.violation(Violation::Ended, 1, || format!("visitor {visitor}: {error:#}"));
                }
            });
        }
        all
    }

    async fn visit_repeatedly(&self, visitor: u32) -> Result<()> {
        let mut random = Rng::with_seed(u64::from(visitor));
        // Reused for the next visit, unless the visitor left by dropping it.
        let mut connection = None;
        while Instant::now() < self.until {
            let open = match connection.take() {
                Some(open) => open,
                None => self.hub.open().await?,
            };
            let exit = random.choice(EXITS).unwrap_or(Exit::Drop);
            self.visit(visitor, &open, &mut random, exit).await?;
            self.over.fetch_add(1, Ordering::Relaxed);
            if !matches!(exit, Exit::Drop) {
                connection = Some(open);
            }
        }
        Ok(())
    }

    async fn visit(&self, visitor: u32, connection: &Http2, random: &mut Rng, exit: Exit) -> Result<()> {
        let room = random.u32(0..self.rooms);
        let stay = Duration::from_secs_f64(SHORTEST + random.f64() * (LONGEST - SHORTEST));
        let until = self.until.min(Instant::now() + stay);
        let mut visit = Visit { visitor, room, followed: Followed::live(room), tally: &self.tally };
        let mut client = JoinedClient::open(connection).await?;
        client.join(room, None).await?;
        while let Ok(more) = timeout_at(until, client.next(|seen| visit.see(seen))).await {
            ensure!(more?, "the stream has ended");
        }
        match exit {
            Exit::HalfClose => {
                client.half_close()?;
                // The visitor sent no message, so only the end is due. Messages in flight still count.
                let end = async {
                    while client.next(|seen| visit.see(seen)).await? {}
                    anyhow::Ok(())
                };
                match timeout(self.patience, end).await {
                    Ok(end) => end?,
                    Err(_) => bail!("the stream did not end after a half-close"),
                }
                // The answer to the join was due even then.
                if visit.followed.joined().is_none() {
                    visit.violation_seen(Violation::Unexpected, 1, "the stream ended without `joined`");
                }
            }
            Exit::Reset => client.reset(),
            Exit::Drop => drop(client),
        }
        visit.end();
        Ok(())
    }
}

struct Visit<'a> {
    visitor: u32,
    room: Room,
    followed: Followed,
    tally: &'a Tally,
}

impl Visit<'_> {
    fn see(&mut self, seen: Seen<'_>) {
        match self.followed.see(seen) {
            Ok(None) => {}
            Ok(Some(stamp)) => self.tally.record(self.visitor as usize, &[now().saturating_sub(stamp.due)]),
            Err((violation, example)) => self.violation_seen(violation, 1, &example),
        }
    }

    /// Counts the messages that are missing between the first and the last one received.
    fn end(&self) {
        let missing = self.followed.missing(None);
        if missing > 0 {
            self.violation_seen(Violation::Gap, missing, "between the first and the last one received");
        }
    }

    fn violation_seen(&self, violation: Violation, count: u64, example: &str) {
        self.tally.violation(violation, count, || format!("visitor {}, room {}: {example}", self.visitor, self.room));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_counts_from_the_end_of_warm_up() {
        let memory = [(0.0, 50.0), (59.9, 90.0), (60.9, 100.0), (61.9, 130.0), (62.9, 125.0)];
        let growth = growth(&memory, 60.0);
        assert_eq!((growth.early, growth.end), (100.0, 125.0));
        assert!(growth.check(None).is_ok() && growth.check(Some(25.0)).is_ok());
        let error = growth.check(Some(24.0)).unwrap_err().to_string();
        assert!(error.contains("grown by 25.0 %"), "{error}");
    }
}
