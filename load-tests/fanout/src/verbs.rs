//! The loads, one per file.

mod audience;
pub mod burst;
pub mod churn;
pub mod fanout;
pub mod idle;
mod joined_client;
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
    /// Its name.
    fn name(&self) -> &'static str;

    /// Its settings, for the report.
    fn settings(&self) -> Result<serde_json::Value>;

    /// The figure by which systems are compared.
    fn compared(&self) -> &'static str;

    /// Runs once against a freshly started system. Fails if there was a violation.
    async fn run(&self, launcher: &Launcher, kind: Kind, progress: &ProgressBar) -> Result<Run>;
}
