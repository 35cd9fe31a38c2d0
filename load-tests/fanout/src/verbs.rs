//! The loads, one a file.

mod audience;
pub mod burst;
pub mod churn;
pub mod fanout;
mod guest;
pub mod idle;
mod memory;
pub mod publish;
pub mod reconnect;

use anyhow::Result;
use async_trait::async_trait;
use indicatif::ProgressBar;

use crate::{
    launch::{Kind, Launcher},
    report::Run,
};

/// A load.
#[async_trait]
pub trait Verb: Send + Sync {
    /// As it is called.
    fn name(&self) -> &'static str;

    /// How it is set, for the report.
    fn settings(&self) -> Result<serde_json::Value>;

    /// The figure in which systems are compared.
    fn compared(&self) -> &'static str;

    /// Runs it once against a system that is started for it. Fails if a single delivery is not what it must be.
    async fn run(&self, launcher: &Launcher, kind: Kind, progress: &ProgressBar) -> Result<Run>;
}
