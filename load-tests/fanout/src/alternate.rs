//! Runs a load against each system in turn, so that all meet the same machine in the same mood.

use std::{path::PathBuf, time::Duration};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    chart,
    launch::{Kind, Launcher},
    report::Report,
    verbs::Verb,
};

/// What is asked of every load.
#[derive(Debug)]
pub struct Plan {
    /// Starts the systems.
    pub launcher: Launcher,
    /// Other systems to compare the hub to.
    pub against: Vec<Kind>,
    /// The hub is left out: a baseline is looked at alone.
    pub without_rialto: bool,
    /// How often each system has its turn.
    pub alternations: usize,
    /// Where the report for programs goes.
    pub json: Option<PathBuf>,
    /// Where the drawing goes.
    pub svg: Option<PathBuf>,
}

/// Runs the load as planned. The first failure ends it.
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
        // Nobody always goes first.
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
