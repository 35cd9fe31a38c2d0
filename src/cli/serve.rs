//! `rialto serve`.

use std::{future::pending, io::Write, time::Duration};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Outcome, Settings, runtime};
use crate::{
    config::{AuthMode, Config},
    server, telemetry,
};

pub(super) fn run(settings: Settings) -> Outcome {
    let config = settings.load()?.config;
    telemetry::init(&config.logging)?;
    raise_descriptor_limit();
    let runtime = runtime()?;
    let outcome = runtime.block_on(serve(&config));
    // Blocking work whose result is no longer needed must not delay the exit.
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}

async fn serve(config: &Config) -> Outcome {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut signalled = async || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };

    // Without TLS there is nothing to reload, and SIGHUP keeps its usual meaning: the terminal has closed.
    let mut hangup = if config.tls.is_enabled() { Some(signal(SignalKind::hangup())?) } else { None };

    let server = server::start(config).await?;
    match config.auth.mode {
        AuthMode::Open if config.insecure => {
            tracing::warn!("auth.mode is open, with --insecure: every client that can connect may do everything");
        }
        AuthMode::Open => tracing::info!("auth.mode is open: every client on this machine may do everything"),
        AuthMode::Token if config.insecure && !config.tls.is_enabled() => {
            tracing::warn!("tokens are sent without TLS, with --insecure: they can be read on the network");
        }
        AuthMode::Token => {}
    }
    let mut stdout = std::io::stdout();
    let scheme = if config.tls.is_enabled() { "https" } else { "http" };
    writeln!(stdout, "listening on {scheme}://{}", server.address())?;
    stdout.flush()?;

    loop {
        tokio::select! {
            () = signalled() => break,
            () = hung_up(&mut hangup) => server.reload(),
        }
    }
    tokio::select! {
        () = server.shutdown() => Ok(()),
        () = signalled() => Err("a second signal ended the shutdown early".into()),
    }
}

async fn hung_up(hangup: &mut Option<Signal>) {
    match hangup {
        Some(hangup) => _ = hangup.recv().await,
        None => pending().await,
    }
}

/// Raises the soft limit of open files to the hard limit: every connection takes a descriptor.
fn raise_descriptor_limit() {
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) => tracing::debug!(limit, "open files"),
        Err(error) => tracing::warn!(%error, "cannot raise the limit of open files"),
    }
}
