//! Starts the system to measure: a new process on fresh data for each run.

mod folder;
mod nats;
mod secure;

use std::{
    env,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

use crate::{
    process::Process,
    systems::{
        System,
        jetstream::JetStream,
        nats::Nats,
        rialto::{Access, Rialto},
        tcp::Tcp,
    },
};

/// A system to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// The hub.
    Rialto,
    /// The hub with TLS and tokens.
    RialtoTls,
    /// A bare TCP server that writes the same bytes to every connection.
    Tcp,
    /// A NATS server; for `publish`, JetStream that syncs every message.
    Nats,
    /// SQLite in this process, without a server; only for `publish`.
    Sqlite,
}

impl Kind {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rialto => "rialto",
            Self::RialtoTls => "rialto-tls",
            Self::Tcp => "tcp",
            Self::Nats => "nats",
            Self::Sqlite => "sqlite",
        }
    }

    /// Whether it is the hub, plain or with TLS.
    pub fn is_hub(self) -> bool {
        matches!(self, Self::Rialto | Self::RialtoTls)
    }
}

/// Starts systems.
#[derive(Debug, Clone)]
pub struct Launcher {
    /// The hub's binary.
    pub rialto: PathBuf,
    /// The NATS server's binary.
    pub nats_server: PathBuf,
    /// Running systems, which are measured instead of started.
    pub running: Vec<Address>,
    /// Time without a delivery after which outstanding messages count as missing.
    pub patience: Duration,
}

/// A running system.
#[derive(Debug, Clone)]
pub struct Address {
    /// Its kind.
    pub kind: Kind,
    /// `host:port`.
    pub address: String,
    /// Its process.
    pub process: Process,
}

/// A system under measurement. One that was started ends when this is dropped.
#[derive(Debug)]
pub struct Server {
    /// `host:port`.
    pub address: String,
    /// Its process.
    pub process: Process,
    /// Time without a delivery after which outstanding messages count as missing.
    pub patience: Duration,
    kind: Kind,
    durable: bool,
    access: Option<Access>,
    child: Option<Child>,
    _folder: Option<TempDir>,
}

/// Time for a server to print the address on which it listens.
const START: Duration = Duration::from_secs(30);

impl Launcher {
    /// Starts a system that fans out messages. Only the hub stores them.
    pub async fn start(&self, kind: Kind) -> Result<Server> {
        self.start_as(kind, false).await
    }

    /// Starts a system that stores every message before it acknowledges it.
    pub async fn start_durable(&self, kind: Kind) -> Result<Server> {
        if kind == Kind::Tcp {
            bail!("a bare TCP server stores nothing: durable publishing cannot be measured");
        }
        self.start_as(kind, true).await
    }

    async fn start_as(&self, kind: Kind, durable: bool) -> Result<Server> {
        if let Some(running) = self.running.iter().find(|running| running.kind == kind) {
            let Address { address, process, .. } = running.clone();
            return Ok(Server {
                address,
                process,
                patience: self.patience,
                kind,
                durable,
                access: None,
                child: None,
                _folder: None,
            });
        }
        let folder = self.folder()?;
        let mut access = None;
        let (child, address) = match kind {
            Kind::Rialto => spawn(self.hub(folder.path())).await?,
            Kind::RialtoTls => {
                let (child, address, opened) =
                    secure::spawn(self.hub(folder.path()), &self.rialto, folder.path()).await?;
                access = Some(opened);
                (child, address)
            }
            Kind::Tcp => {
                let mut command = Command::new(env::current_exe()?);
                command.args(["bare", "tcp"]);
                spawn(command).await?
            }
            Kind::Nats => nats::spawn(&self.nats_server, folder.path(), durable).await?,
            Kind::Sqlite => bail!("{} has no server", kind.name()),
        };
        let process = Process::new(child.id().context("the server has ended")?)?;
        Ok(Server {
            address,
            process,
            patience: self.patience,
            kind,
            durable,
            access,
            child: Some(child),
            _folder: Some(folder),
        })
    }

    /// Creates a fresh folder, on a disk if there is one.
    pub fn folder(&self) -> Result<TempDir> {
        folder::fresh(&self.rialto)
    }

    fn hub(&self, folder: &Path) -> Command {
        let mut command = Command::new(&self.rialto);
        command.args(["serve", "--listen", "127.0.0.1:0", "--log", "warn", "--data"]).arg(folder);
        command
    }
}

/// Starts a server whose first line of output is `listening on SCHEME://ADDRESS`, and returns that address.
async fn spawn(mut command: Command) -> Result<(Child, String)> {
    let program = command.as_std().get_program().to_owned();
    let command = without_settings(&mut command).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
    let output = child.stdout.take().context("no output")?;
    let mut line = String::new();
    timeout(START, BufReader::new(output).read_line(&mut line)).await.context("the server does not listen")??;
    let address = line.trim().rsplit_once("://").map(|(_, address)| address.to_owned());
    Ok((
        child,
        address.with_context(|| format!("{} did not print the address on which it listens", program.display()))?,
    ))
}

/// Removes the settings in this process's environment, which are meant for another server.
fn without_settings(command: &mut Command) -> &mut Command {
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("RIALTO_")) {
        command.env_remove(name);
    }
    command
}

impl Server {
    /// The system's client, for loads that run against any system.
    pub fn system(&self) -> Result<Box<dyn System>> {
        let address = self.address.clone();
        Ok(match self.kind {
            Kind::Rialto | Kind::RialtoTls => Box::new(self.hub()),
            Kind::Tcp => Box::new(Tcp { address }),
            Kind::Nats if self.durable => Box::new(JetStream { address }),
            Kind::Nats => Box::new(Nats { address }),
            Kind::Sqlite => bail!("{} does not fan out", self.kind.name()),
        })
    }

    /// The hub's client, for loads that run only against a hub.
    pub fn hub(&self) -> Rialto {
        Rialto { address: self.address.clone(), access: self.access.clone() }
    }

    /// Stops a system that was started.
    pub async fn stop(mut self) -> Result<()> {
        if let Some(child) = &mut self.child {
            child.kill().await?;
        }
        Ok(())
    }
}
