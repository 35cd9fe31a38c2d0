//! The combined counts of a run's subscribers.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use hdrhistogram::Histogram;
use indicatif::ProgressBar;
use tokio::sync::watch;

use crate::{check::Violation, stamp::now};

/// Number of histograms; enough that subscribers on different threads rarely contend for one.
const SHARDS: usize = 16;

/// The highest latency in microseconds; longer ones count as this.
const LONGEST: u64 = 600 * 1_000_000;

/// Interval by which deliveries are counted for the throughput chart.
pub const BUCKET: Duration = Duration::from_millis(100);

/// Number of buckets: an hour. Later deliveries are not drawn.
const BUCKETS: usize = 10 * 60 * 60;

/// The counts of a run.
#[derive(Debug)]
pub struct Tally {
    began: u64,
    shards: Vec<Mutex<Histogram<u64>>>,
    delivered: AtomicU64,
    buckets: Vec<AtomicU64>,
    violations: Mutex<BTreeMap<Violation, (u64, String)>>,
    blocks: Blocks,
}

/// How many subscribers have received each block of messages, which shows how far the slowest is.
#[derive(Debug)]
struct Blocks {
    subscribers: u64,
    got: Vec<AtomicU64>,
    complete: watch::Sender<u64>,
}

/// Interval between checks whether all deliveries have arrived.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

impl Tally {
    /// Creates the tally of a run that begins now, in which each subscriber receives `blocks` blocks of messages.
    pub fn new(subscribers: usize, blocks: u64) -> Result<Arc<Self>> {
        let shards =
            (0..SHARDS).map(|_| Histogram::new_with_max(LONGEST, 3).map(Mutex::new)).collect::<Result<_, _>>()?;
        let blocks = Blocks {
            subscribers: subscribers as u64,
            got: (0..blocks).map(|_| AtomicU64::new(0)).collect(),
            complete: watch::Sender::new(0),
        };
        Ok(Arc::new(Self {
            began: now(),
            shards,
            delivered: AtomicU64::new(0),
            buckets: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
            violations: Mutex::default(),
            blocks,
        }))
    }

    /// Records one chunk's deliveries by their latencies in nanoseconds.
    pub fn record(&self, subscriber: usize, latencies: &[u64]) {
        let count = latencies.len() as u64;
        if let Some(shard) = self.shards.get(subscriber % SHARDS) {
            let mut histogram = lock(shard);
            // Microseconds with three significant digits are finer than the clock.
            latencies.iter().for_each(|latency| histogram.saturating_record(latency / 1_000));
        }
        let bucket = now().saturating_sub(self.began) / u64::try_from(BUCKET.as_nanos()).unwrap_or(u64::MAX);
        if let Some(bucket) = usize::try_from(bucket).ok().and_then(|bucket| self.buckets.get(bucket)) {
            bucket.fetch_add(count, Ordering::Relaxed);
        }
        self.delivered.fetch_add(count, Ordering::Relaxed);
    }

    /// Records that a subscriber has received these blocks.
    pub fn got_blocks(&self, blocks: Range<u64>) {
        self.blocks.got(blocks);
    }

    /// Records violations.
    pub fn violation(&self, violation: Violation, count: u64, example: impl FnOnce() -> String) {
        let mut violations = lock(&self.violations);
        let (total, _) = violations.entry(violation).or_insert_with(|| (0, example()));
        *total += count;
    }

    /// Number of deliveries so far.
    pub fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    /// Waits for this number of deliveries, or until none has arrived for `patience`.
    pub async fn wait_for(&self, deliveries: u64, patience: Duration, progress: &ProgressBar) {
        let mut polls = tokio::time::interval(POLL_INTERVAL);
        let (mut last, mut since) = (0, Instant::now());
        while last < deliveries && since.elapsed() < patience {
            polls.tick().await;
            let delivered = self.delivered();
            if delivered > last {
                (last, since) = (delivered, Instant::now());
                progress.set_position(delivered);
            }
        }
    }

    /// Waits until every subscriber has received the first `blocks` blocks.
    pub async fn wait_for_block(&self, blocks: u64) {
        let mut complete = self.blocks.complete.subscribe();
        // Cannot fail: the sender lives as long as `self`.
        _ = complete.wait_for(|complete| *complete >= blocks).await;
    }

    /// All latencies in microseconds.
    pub fn latencies(&self) -> Result<Histogram<u64>> {
        let mut all = Histogram::new_with_max(LONGEST, 3)?;
        for shard in &self.shards {
            all.add(&*lock(shard))?;
        }
        Ok(all)
    }

    /// Deliveries per second, one value per [`BUCKET`], from the first delivery to the last.
    pub fn throughput(&self) -> Vec<f64> {
        let mut counts: Vec<_> = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect();
        counts.truncate(counts.iter().rposition(|count| *count > 0).map_or(0, |last| last + 1));
        let first = counts.iter().position(|count| *count > 0).unwrap_or(0);
        counts.into_iter().skip(first).map(|count| count as f64 / BUCKET.as_secs_f64()).collect()
    }

    /// Fails if there was a violation, and lists them.
    pub fn verdict(&self) -> Result<()> {
        let violations = lock(&self.violations);
        if violations.is_empty() {
            return Ok(());
        }
        let listed: Vec<_> = violations
            .iter()
            .map(|(violation, (count, example))| format!("{count} {violation} (first: {example})"))
            .collect();
        bail!("wrong deliveries: {}", listed.join("; "))
    }
}

impl Blocks {
    fn got(&self, blocks: Range<u64>) {
        let complete = blocks
            .filter_map(|block| self.got.get(usize::try_from(block).ok()?))
            .filter(|got| got.fetch_add(1, Ordering::AcqRel) + 1 == self.subscribers)
            .count();
        if complete > 0 {
            self.complete.send_modify(|blocks| *blocks += complete as u64);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_block_is_complete_when_the_slowest_subscriber_has_it() {
        let tally = Tally::new(2, 3).unwrap();
        let complete = || *tally.blocks.complete.borrow();
        tally.got_blocks(0..2);
        assert_eq!(complete(), 0);
        tally.got_blocks(0..1);
        assert_eq!(complete(), 1);
        tally.got_blocks(1..3);
        assert_eq!(complete(), 2);
        tally.got_blocks(2..3);
        assert_eq!(complete(), 3);
        tally.wait_for_block(3).await;
    }

    #[tokio::test]
    async fn waiting_ends_with_the_last_delivery() {
        let tally = Tally::new(2, 0).unwrap();
        tally.record(0, &[1; 3]);
        tally.record(1, &[1; 2]);
        tally.wait_for(5, Duration::MAX, &ProgressBar::hidden()).await;
        assert_eq!(tally.delivered(), 5);
        assert_eq!(tally.latencies().unwrap().len(), 5);
    }

    #[test]
    fn a_run_with_violations_fails_and_lists_them() {
        let tally = Tally::new(1, 0).unwrap();
        assert!(tally.verdict().is_ok());
        tally.violation(Violation::Duplicate, 1, || "room 3".to_owned());
        tally.violation(Violation::Duplicate, 2, || "room 4".to_owned());
        let listed = tally.verdict().unwrap_err().to_string();
        assert!(listed.contains("3 delivered twice (first: room 3)"), "{listed}");
    }
}
