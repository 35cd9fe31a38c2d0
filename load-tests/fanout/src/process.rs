//! CPU time and memory of a measured process, as the operating system reports them.

use std::time::Duration;

use anyhow::{Context, Result};
use procfs::{
    FromRead,
    process::{Process as Proc, Stat},
};

/// A process, by its ID.
#[derive(Debug, Clone, Copy)]
pub struct Process {
    pid: i32,
}

impl Process {
    /// The process with this ID.
    pub fn new(pid: u32) -> Result<Self> {
        Ok(Self { pid: i32::try_from(pid)? })
    }

    /// CPU time used so far in user and system mode, in steps of 10 ms.
    pub fn cpu(&self) -> Result<Duration> {
        Ok(cpu(&self.proc()?.stat()?))
    }

    /// Resident memory in bytes.
    pub fn memory(&self) -> Result<u64> {
        let status = self.proc()?.status()?;
        let kib = status.vmrss.context("the system does not report the process's memory")?;
        Ok(kib * 1024)
    }

    fn proc(&self) -> Result<Proc> {
        Proc::new(self.pid).with_context(|| format!("cannot read the process {}", self.pid))
    }
}

/// CPU time used so far by the calling thread, in steps of 10 ms.
pub fn thread_cpu() -> Result<Duration> {
    Ok(cpu(&Stat::from_file("/proc/thread-self/stat")?))
}

fn cpu(stat: &Stat) -> Duration {
    let ticks = stat.utime + stat.stime;
    Duration::from_secs_f64(ticks as f64 / procfs::ticks_per_second() as f64)
}
