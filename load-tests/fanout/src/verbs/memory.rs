//! A server's memory: when nothing happens any more, and while a load goes on.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Result;
use tokio::{task::JoinSet, time::interval};

use crate::process::Process;

/// How often is looked whether it stands still.
const LOOK: Duration = Duration::from_millis(100);

/// It stands still when so many looks in a row differ by no more than this.
const LOOKS: usize = 10;
const STILL: u64 = 64 * 1024;

/// A server that is never quiet is taken as it is after this.
const LONGEST: Duration = Duration::from_secs(15);

/// Bytes, once they stand still.
pub async fn settled(process: Process) -> Result<u64> {
    let (mut looks, began) = (interval(LOOK), Instant::now());
    let mut seen = VecDeque::new();
    loop {
        looks.tick().await;
        let memory = process.memory()?;
        seen.push_back(memory);
        if stands_still(&seen) || began.elapsed() > LONGEST {
            return Ok(memory);
        }
        if seen.len() == LOOKS {
            seen.pop_front();
        }
    }
}

fn stands_still(seen: &VecDeque<u64>) -> bool {
    let (lowest, highest) = (seen.iter().min(), seen.iter().max());
    seen.len() == LOOKS && highest.zip(lowest).is_some_and(|(highest, lowest)| highest - lowest <= STILL)
}

/// Looks at a process again and again, until it is told to stop.
#[derive(Debug)]
pub struct Watch {
    samples: Arc<Mutex<Vec<(f64, f64)>>>,
    _looking: JoinSet<()>,
}

impl Watch {
    /// From now on.
    pub fn start(process: Process, every: Duration) -> Self {
        let samples = Arc::new(Mutex::new(Vec::new()));
        let (taken, began) = (Arc::clone(&samples), Instant::now());
        let mut looking = JoinSet::new();
        looking.spawn(async move {
            let mut looks = interval(every);
            // A process that has ended has no memory: the load finds out by itself that it has.
            while let Ok(memory) = process.memory() {
                let sample = (began.elapsed().as_secs_f64(), memory as f64);
                taken.lock().unwrap_or_else(PoisonError::into_inner).push(sample);
                looks.tick().await;
            }
        });
        Self { samples, _looking: looking }
    }

    /// What was seen: seconds since the start, and bytes.
    pub fn stop(self) -> Vec<(f64, f64)> {
        std::mem::take(&mut *self.samples.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_still_grows_does_not_stand_still() {
        let looks = |step| (0..LOOKS as u64).map(|nth| nth * step).collect::<VecDeque<_>>();
        assert!(stands_still(&looks(4_096)));
        assert!(!stands_still(&looks(STILL / 4)));
        assert!(!stands_still(&VecDeque::from([1; LOOKS - 1])));
    }
}
