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
    // Blocking work that nobody waits for any more must not hold the process.
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

    // Without a certificate there is nothing to read again, and a terminal that closes ends what runs in it.
    let mut hangup = if config.tls.is_enabled() { Some(signal(SignalKind::hangup())?) } else { None };

    let server = server::start(config).await?;
    match config.auth.mode {
        AuthMode::Open if config.insecure => {
            tracing::warn!("open mode with --insecure: whoever can connect can do everything");
        }
        AuthMode::Open => tracing::info!("open mode: whoever can connect from this machine can do everything"),
        AuthMode::Token if config.insecure && !config.tls.is_enabled() => {
            tracing::warn!("tokens without TLS, with --insecure: whoever is on the way to a client reads them");
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
        () = signalled() => Err("ended at once by a second signal".into()),
    }
}

async fn hung_up(hangup: &mut Option<Signal>) {
    match hangup {
        Some(hangup) => _ = hangup.recv().await,
        None => pending().await,
    }
}

/// Every connection takes a descriptor; the soft limit is often far below what the system grants.
fn raise_descriptor_limit() {
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) => tracing::debug!(limit, "open files"),
        Err(error) => tracing::warn!(%error, "the limit of open files stays as it is"),
    }
}
