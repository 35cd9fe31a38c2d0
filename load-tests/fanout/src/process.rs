//! A process that is measured: its processor time and its memory, as the system tells them.

use std::time::Duration;

use anyhow::{Context, Result};
use procfs::{
    FromRead,
    process::{Process as Proc, Stat},
};

/// A process by its number.
#[derive(Debug, Clone, Copy)]
pub struct Process {
    pid: i32,
}

impl Process {
    /// The process of this number.
    pub fn new(pid: u32) -> Result<Self> {
        Ok(Self { pid: i32::try_from(pid)? })
    }

    /// Processor time that it has used, in user and system mode, in ticks of 10 ms.
    pub fn cpu(&self) -> Result<Duration> {
        Ok(cpu(&self.proc()?.stat()?))
    }

    /// Bytes of memory that it has in use (resident).
    pub fn memory(&self) -> Result<u64> {
        let status = self.proc()?.status()?;
        let kib = status.vmrss.context("the system does not tell the process's memory")?;
        Ok(kib * 1024)
    }

    fn proc(&self) -> Result<Proc> {
        Proc::new(self.pid).with_context(|| format!("the process {} cannot be looked at", self.pid))
    }
}

/// Processor time of the thread that asks, likewise.
pub fn thread_cpu() -> Result<Duration> {
    Ok(cpu(&Stat::from_file("/proc/thread-self/stat")?))
}

fn cpu(stat: &Stat) -> Duration {
    let ticks = stat.utime + stat.stime;
    Duration::from_secs_f64(ticks as f64 / procfs::ticks_per_second() as f64)
}
