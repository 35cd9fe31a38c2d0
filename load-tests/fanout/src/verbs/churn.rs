//! A soak: some stay, others come and go.

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
    guest::{Followed, Guest},
    memory::Watch,
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

/// A soak: some stay, others come and go all the time, and memory must not grow (hub only)
///
/// As `fanout`, but beside the steady subscribers, who must get everything, there are others who join a room, stay between 0.1 and 2 s, and
/// leave: a third by half-close, which the hub must answer with OK, a third by a reset, a third by dropping the connection. They must get
/// all messages in order from the first on that they see. Who goes when is the same in every run.
///
/// The server's memory is looked at every second. `memory_growth_percent` is how much more it is in the end than after a minute, or after a
/// tenth of the time if that is shorter than ten minutes: a server that keeps something of everyone who was there grows for as long as it
/// runs. Latencies are those of the steady ones; CPU time is for everything, the coming and going included.
#[derive(Debug, Clone, Args, Serialize)]
pub struct Churn {
    /// Rooms
    #[arg(long, value_name = "N", default_value_t = 1)]
    rooms: u32,
    /// Steady subscribers of each room, besides its publisher
    #[arg(long, value_name = "N", default_value_t = 100)]
    subscribers: u32,
    /// Clients that come and go, each to a room of its choice
    #[arg(long, value_name = "N", default_value_t = 50)]
    churners: u32,
    /// Messages a second, in each room
    #[arg(long, value_name = "N", default_value_t = 50.0)]
    rate: f64,
    /// Bytes of a text
    #[arg(long, value_name = "BYTES", default_value_t = 100)]
    size: usize,
    /// How long
    #[arg(long, value_name = "SECONDS", default_value_t = 600.0)]
    seconds: f64,
    /// Fail if memory grows by more
    #[arg(long, value_name = "PERCENT")]
    most_growth: Option<f64>,
}

/// How often memory is looked at, unless the run is too short for that.
const LOOK: Duration = Duration::from_secs(1);
const LOOKS: f64 = 20.0;

/// When a server has all that it needs to work.
const MINUTE: f64 = 60.0;

/// How long a visit lasts.
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
        ensure!(kind.is_hub(), "only the hub's streams can be left in every way: nothing to compare with");
        let Self { rooms, subscribers, .. } = *self;
        let layout = Layout { rooms, subscribers, rooms_per_stream: 1, connections: 0, publishers: 1 };
        layout.check()?;
        let published = schedule::messages(self.rate * self.seconds);
        let tally = Tally::new(layout.members(), 0)?;
        let server = launcher.start(kind).await?;
        let (audience, publishers) = Audience::gather(layout, &server, &tally, 0, progress).await?;

        let over = Duration::try_from_secs_f64(self.seconds)?;
        let visits = Visits::new(server.hub(), self.rooms, Instant::now() + over, server.patience)?;
        let watch = Watch::start(server.process, LOOK.min(over.div_f64(LOOKS)));
        let meter = Meter::start(&server)?;
        let mut publishing = JoinSet::new();
        for publisher in publishers {
            publishing.spawn(fanout::publish(publisher, published, over, self.size));
        }
        let visiting = visits.begin(self.churners);
        audience.settle(&tally, published, progress).await;
        let mut run = Run::new(kind);
        run.memory = watch.stop();
        // Their time is over as well.
        visiting.join_all().await;
        let deliveries = tally.delivered() + visits.tally.delivered();
        let figures = meter.stop(&server, deliveries, published * u64::from(self.rooms));
        audience.leave(published);

        // First what was wrong: it may be why there are no figures, or why somebody could not publish.
        run.take(&tally)?;
        visits.tally.verdict()?;
        let heard = visits.tally.delivered();
        ensure!(heard > 0 || visits.over.load(Ordering::Relaxed) == 0, "nobody of those who came heard anything");
        run.figures.extend(figures?);
        while let Some(published) = publishing.join_next().await {
            published??;
        }
        run.figures.insert("visits", visits.over.load(Ordering::Relaxed) as f64);
        run.figures.insert("visitors_deliveries", visits.tally.delivered() as f64);
        let growth = growth(&run.memory, MINUTE.min(self.seconds / 10.0));
        run.figures.extend(growth.figures());
        server.stop().await?;
        growth.check(self.most_growth)?;
        Ok(run)
    }
}

/// How memory has grown.
struct Growth {
    early: f64,
    end: f64,
}

/// From this time on.
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
                bail!("memory has grown by {percent:.1} %, from {:.0} to {:.0} bytes", self.early, self.end)
            }
            _ => Ok(()),
        }
    }
}

/// Those who come and go.
#[derive(Debug, Clone)]
struct Visits {
    hub: Rialto,
    rooms: Room,
    until: Instant,
    patience: Duration,
    tally: Arc<Tally>,
    /// How many were there and have gone.
    over: Arc<AtomicU64>,
}

/// Ways to go.
#[derive(Debug, Clone, Copy)]
enum Way {
    HalfClose,
    Reset,
    Drop,
}

const WAYS: [Way; 3] = [Way::HalfClose, Way::Reset, Way::Drop];

impl Visits {
    fn new(hub: Rialto, rooms: Room, until: Instant, patience: Duration) -> Result<Self> {
        Ok(Self { hub, rooms, until, patience, tally: Tally::new(0, 0)?, over: Arc::default() })
    }

    /// So many come and go.
    fn begin(&self, visitors: u32) -> JoinSet<()> {
        let mut all = JoinSet::new();
        for visitor in 0..visitors {
            let visits = self.clone();
            all.spawn(async move {
                if let Err(error) = visits.come_and_go(visitor).await {
                    visits.tally.violation(Violation::Ended, 1, || format!("visitor {visitor}: {error:#}"));
                }
            });
        }
        all
    }

    async fn come_and_go(&self, visitor: u32) -> Result<()> {
        let mut random = Rng::with_seed(u64::from(visitor));
        // It outlives the streams on it, unless the visitor goes by dropping it.
        let mut connection = None;
        while Instant::now() < self.until {
            let open = match connection.take() {
                Some(open) => open,
                None => self.hub.open().await?,
            };
            let way = random.choice(WAYS).unwrap_or(Way::Drop);
            self.visit(visitor, &open, &mut random, way).await?;
            self.over.fetch_add(1, Ordering::Relaxed);
            if !matches!(way, Way::Drop) {
                connection = Some(open);
            }
        }
        Ok(())
    }

    async fn visit(&self, visitor: u32, connection: &Http2, random: &mut Rng, way: Way) -> Result<()> {
        let room = random.u32(0..self.rooms);
        let stay = Duration::from_secs_f64(SHORTEST + random.f64() * (LONGEST - SHORTEST));
        let until = self.until.min(Instant::now() + stay);
        let mut visit = Visit { visitor, room, followed: Followed::live(room), tally: &self.tally };
        let mut guest = Guest::open(connection).await?;
        guest.join(room, None).await?;
        while let Ok(more) = timeout_at(until, guest.next(|seen| visit.see(seen))).await {
            ensure!(more?, "the stream has ended");
        }
        match way {
            Way::HalfClose => {
                guest.half_close()?;
                // It has said nothing: the hub owes it no more than the end. What is on its way still counts.
                let end = async {
                    while guest.next(|seen| visit.see(seen)).await? {}
                    anyhow::Ok(())
                };
                match timeout(self.patience, end).await {
                    Ok(end) => end?,
                    Err(_) => bail!("a half-close was not answered"),
                }
                // Even then the answer to its join was owed.
                if visit.followed.joined().is_none() {
                    visit.wrong(Violation::Unexpected, 1, "an end without a word to the join");
                }
            }
            Way::Reset => guest.reset(),
            Way::Drop => drop(guest),
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
            Err((violation, example)) => self.wrong(violation, 1, &example),
        }
    }

    /// Counts what was left out between what came.
    fn end(&self) {
        let missing = self.followed.missing(None);
        if missing > 0 {
            self.wrong(Violation::Gap, missing, "between others that came");
        }
    }

    fn wrong(&self, violation: Violation, count: u64, example: &str) {
        self.tally.violation(violation, count, || format!("visitor {}, room {}: {example}", self.visitor, self.room));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_counts_from_when_the_server_has_warmed_up() {
        let memory = [(0.0, 50.0), (59.9, 90.0), (60.9, 100.0), (61.9, 130.0), (62.9, 125.0)];
        let growth = growth(&memory, 60.0);
        assert_eq!((growth.early, growth.end), (100.0, 125.0));
        assert!(growth.check(None).is_ok() && growth.check(Some(25.0)).is_ok());
        let said = growth.check(Some(24.0)).unwrap_err().to_string();
        assert!(said.contains("grown by 25.0 %"), "{said}");
    }
}
