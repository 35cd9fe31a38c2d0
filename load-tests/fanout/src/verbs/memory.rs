//! A server's memory: its stable value, and samples during a load.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Result;
use tokio::{task::JoinSet, time::interval};

use crate::process::Process;

/// Interval between samples while waiting for a stable value.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(100);

/// Memory is stable when this many samples in a row differ by at most [`TOLERANCE`] bytes.
const SAMPLES: usize = 10;
const TOLERANCE: u64 = 64 * 1024;

/// Time after which the current value is used although it is not stable.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Waits until the process's memory is stable, and returns it in bytes.
pub async fn settled(process: Process) -> Result<u64> {
    let (mut ticks, began) = (interval(SAMPLE_INTERVAL), Instant::now());
    let mut seen = VecDeque::new();
    loop {
        ticks.tick().await;
        let memory = process.memory()?;
        seen.push_back(memory);
        if is_stable(&seen) || began.elapsed() > TIMEOUT {
            return Ok(memory);
        }
        if seen.len() == SAMPLES {
            seen.pop_front();
        }
    }
}

fn is_stable(seen: &VecDeque<u64>) -> bool {
    let (lowest, highest) = (seen.iter().min(), seen.iter().max());
    seen.len() == SAMPLES && highest.zip(lowest).is_some_and(|(highest, lowest)| highest - lowest <= TOLERANCE)
}

/// Samples a process's memory until it is stopped or dropped.
#[derive(Debug)]
pub struct Sampler {
    samples: Arc<Mutex<Vec<(f64, f64)>>>,
    _sampling: JoinSet<()>,
}

impl Sampler {
    /// Starts sampling at this interval.
    pub fn start(process: Process, every: Duration) -> Self {
        let samples = Arc::new(Mutex::new(Vec::new()));
        let (taken, began) = (Arc::clone(&samples), Instant::now());
        let mut sampling = JoinSet::new();
        sampling.spawn(async move {
            let mut ticks = interval(every);
            // Ends with the process. The load notices that end by itself.
            while let Ok(memory) = process.memory() {
                let sample = (began.elapsed().as_secs_f64(), memory as f64);
                taken.lock().unwrap_or_else(PoisonError::into_inner).push(sample);
                ticks.tick().await;
            }
        });
        Self { samples, _sampling: sampling }
    }

    /// Stops, and returns the samples: seconds since the start, and bytes.
    pub fn stop(self) -> Vec<(f64, f64)> {
        std::mem::take(&mut *self.samples.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growing_memory_is_not_stable() {
        let samples = |step| (0..SAMPLES as u64).map(|nth| nth * step).collect::<VecDeque<_>>();
        assert!(is_stable(&samples(4_096)));
        assert!(!is_stable(&samples(TOLERANCE / 4)));
        assert!(!is_stable(&VecDeque::from([1; SAMPLES - 1])));
    }
}
