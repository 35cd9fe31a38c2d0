//! `rialto serve`.

use std::{future::pending, io::Write, time::Duration};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{outcome::Outcome, runtime::runtime, settings::Settings};
use crate::{
    config::{AuthMode, Config},
    server::{self, Server},
    telemetry,
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
    let signalled = async || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };

    // Without TLS there is nothing to reload, and SIGHUP keeps its usual meaning: the terminal has closed.
    let hangup = if config.tls.is_enabled() { Some(signal(SignalKind::hangup())?) } else { None };

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

    run_until_ended(server, signalled, hangup).await
}

/// Runs the server until a signal or the failure of an actor, and shuts it down. A second signal ends it at once.
async fn run_until_ended(mut server: Server, mut signalled: impl AsyncFnMut(), mut hangup: Option<Signal>) -> Outcome {
    loop {
        tokio::select! {
            () = signalled() => break,
            _ = server.failed() => break,
            () = hung_up(&mut hangup) => server.reload(),
        }
    }
    tokio::select! {
        ended = server.shutdown() => Ok(ended?),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_failure_of_an_actor_ends_the_process_with_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let listen = "127.0.0.1:0".parse().unwrap();
        let config = Config { listen, data: folder.path().into(), ..Config::default() };
        let server = server::start(&config).await.unwrap();
        server.end_actor("hub");
        let ended = run_until_ended(server, async || pending().await, None).await;
        assert_eq!(ended.unwrap_err().to_string(), "the hub ended before the server was shut down");
    }
}
