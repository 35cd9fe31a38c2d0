//! `rialto-load` measures a chat hub message by message, from publish to delivery, and compares it with other systems.
//!
//! It uses the protocol only and shares no code with the server: any client could observe what it reports. Modules are listed in the order of
//! their dependencies: each uses those below it.

#![allow(unreachable_pub, reason = "in a program `pub` marks what other modules use")]

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
    // An interrupt drops the load, and with it the servers and folders that it created.
    let ended = tokio::select! {
        ended = cli::run(cli::Cli::parse()) => ended,
        signal = terminated() => signal.and_then(|()| Err(anyhow::anyhow!("interrupted"))),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            cli::print(&format!("rialto-load: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn terminated() -> Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}
