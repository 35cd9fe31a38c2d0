//! Runs a load against each system in turn, so that all of them run under the same conditions of the machine.

use std::{path::PathBuf, time::Duration};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    chart,
    launch::{Kind, Launcher},
    report::Report,
    verbs::Verb,
};

/// The options that every load has.
#[derive(Debug)]
pub struct Plan {
    /// Starts the systems.
    pub launcher: Launcher,
    /// Other systems to compare the hub with.
    pub against: Vec<Kind>,
    /// Leaves the hub out, to measure a baseline alone.
    pub without_rialto: bool,
    /// Number of runs of each system.
    pub alternations: usize,
    /// File for the report as JSON; `None` writes none.
    pub json: Option<PathBuf>,
    /// File for the charts as SVG; `None` draws none.
    pub svg: Option<PathBuf>,
}

/// Runs the load as planned. Stops at the first error.
pub async fn run(verb: &dyn Verb, plan: &Plan) -> Result<Report> {
    let mut systems = plan.against.clone();
    if !plan.without_rialto {
        systems.insert(0, Kind::Rialto);
    }
    let mut report = Report { verb: verb.name(), settings: verb.settings()?, runs: Vec::new(), ratios: Vec::new() };
    for turn in 0..plan.alternations {
        for kind in &systems {
            let progress = progress(&format!("{} {}/{}", kind.name(), turn + 1, plan.alternations));
            let run = verb.run(&plan.launcher, *kind, &progress).await;
            progress.finish_and_clear();
            report.runs.push(run?);
        }
        // Reversed each round, so that no system always runs first.
        systems.reverse();
    }
    report.compare(verb.compared());
    if let Some(path) = &plan.json {
        report.write(path)?;
    }
    if let Some(path) = &plan.svg {
        chart::draw(&report, path)?;
    }
    Ok(report)
}

fn progress(title: &str) -> ProgressBar {
    let bar = ProgressBar::new(0).with_prefix(title.to_owned());
    let style = "{prefix:>14} {msg:>12} {wide_bar} {human_pos}/{human_len} {elapsed}";
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
