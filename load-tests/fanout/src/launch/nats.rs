//! Starts a NATS server.

use std::{
    fs,
    path::Path,
    process::{Command as StdCommand, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpStream,
    process::{Child, Command},
    time::{sleep, timeout},
};

use super::START;

/// Bytes that may be pending for a client, and how long a write may take. With its defaults (64 MiB, 10 s) the server drops a client that
/// is briefly behind, and a run on a busy machine would fail. The load measures the cost of deliveries, not when the server gives up.
const MAX_PENDING: u64 = 256 << 20;
const WRITE_DEADLINE: &str = "60s";

/// Interval between checks whether the server listens.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// The file in which the server publishes its ports.
#[derive(Deserialize)]
struct Ports {
    nats: Vec<String>,
}

/// Starts a NATS server that keeps its files in this folder. `durable`: with JetStream, which syncs every message.
pub async fn spawn(binary: &Path, folder: &Path, durable: bool) -> Result<(Child, String)> {
    let (config, log) = (folder.join("nats.json"), folder.join("log"));
    // Its configuration language is a superset of JSON.
    let mut settings = json!({
        "host": "127.0.0.1",
        "port": -1,
        "ports_file_dir": folder,
        "log_file": log,
        "max_pending": MAX_PENDING,
        "write_deadline": WRITE_DEADLINE,
    });
    if let (true, Some(settings)) = (durable, settings.as_object_mut()) {
        settings.insert("jetstream".to_owned(), json!({ "store_dir": folder, "sync_interval": "always" }));
    }
    fs::write(&config, settings.to_string())?;

    let mut command = StdCommand::new(binary);
    command.arg("--config").arg(&config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = Command::from(command).kill_on_drop(true).spawn().with_context(|| {
        format!("cannot start {}: pass the NATS server's binary with --nats-server", binary.display())
    })?;
    let started = timeout(START, wait(&mut child, folder)).await.context("it did not listen in time").flatten();
    match started {
        Ok(address) => Ok((child, address)),
        Err(error) => Err(error.context(format!("the NATS server: {}", fs::read_to_string(log).unwrap_or_default()))),
    }
}

/// Waits until the server accepts a connection, and returns its address.
async fn wait(child: &mut Child, folder: &Path) -> Result<String> {
    loop {
        if let Some(status) = child.try_wait()? {
            bail!("it ended: {status}");
        }
        if let Some(address) = address(folder)? {
            let mut greeting = String::new();
            BufReader::new(TcpStream::connect(&address).await?).read_line(&mut greeting).await?;
            return Ok(address);
        }
        sleep(POLL_INTERVAL).await;
    }
}

/// Reads the server's address from its ports file. `None` if the file is missing or incomplete.
fn address(folder: &Path) -> Result<Option<String>> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "ports")
            && let Ok(Ports { nats }) = serde_json::from_slice(&fs::read(path)?)
        {
            return Ok(nats.first().and_then(|url| url.split_once("://")).map(|(_, address)| address.to_owned()));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_from_a_whole_file_of_ports() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("nats-server_7.ports");
        assert_eq!(address(folder.path()).unwrap(), None);
        fs::write(&file, r#"{"nats":["nats://127.0"#).unwrap();
        assert_eq!(address(folder.path()).unwrap(), None);
        fs::write(&file, r#"{"nats":["nats://127.0.0.1:40779"]}"#).unwrap();
        assert_eq!(address(folder.path()).unwrap().as_deref(), Some("127.0.0.1:40779"));
    }

    #[tokio::test]
    async fn a_program_that_ends_at_once_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let error = spawn(Path::new("/bin/false"), folder.path(), true).await.unwrap_err();
        assert!(format!("{error:#}").contains("it ended"), "{error:#}");
    }
}
