//! `rialto-load` measures a chat hub message by message, from publish to delivery, beside systems to compare it with.
//!
//! It knows the wire and nothing of the server's inside: what it reports, any client could see. The parts, in the order in which they use
//! each other: a part uses those below its line.

#![allow(
    unreachable_pub,
    reason = "a program: nothing is reachable from outside, and `pub` says that another part uses it"
)]

mod cli;

mod alternate;
mod verbs;

mod launch;
mod systems;

mod chart;
mod report;
mod subscriber;

mod bare;
mod check;
mod frames;
mod process;
mod schedule;
mod stamp;
mod tally;

use rialto_proto as proto;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> ExitCode {
    // Whoever ends it early finds neither servers nor folders left behind: everything is dropped.
    let ended = tokio::select! {
        ended = cli::run(cli::Cli::parse()) => ended,
        signal = told_to_end() => signal.and_then(|()| Err(anyhow::anyhow!("ended early"))),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            cli::say(&format!("rialto-load: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn told_to_end() -> Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}
