//! Starts what is measured: each time anew, on fresh data.

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

/// Which system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// The hub.
    Rialto,
    /// The hub with TLS and tokens.
    RialtoTls,
    /// A bare TCP server that writes the same bytes to every connection.
    Tcp,
    /// A NATS server; for `publish`, JetStream with a log that is synced.
    Nats,
    /// SQLite in this process, without a server; for `publish`.
    Sqlite,
}

impl Kind {
    /// As it is called in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rialto => "rialto",
            Self::RialtoTls => "rialto-tls",
            Self::Tcp => "tcp",
            Self::Nats => "nats",
            Self::Sqlite => "sqlite",
        }
    }

    /// The hub, in whatever way.
    pub fn is_hub(self) -> bool {
        matches!(self, Self::Rialto | Self::RialtoTls)
    }
}

/// Knows where the programs are.
#[derive(Debug, Clone)]
pub struct Launcher {
    /// The hub's binary.
    pub rialto: PathBuf,
    /// The NATS server's.
    pub nats_server: PathBuf,
    /// Systems that run already: measured instead of one that is started.
    pub running: Vec<Address>,
    /// For how long a load waits for what does not come.
    pub patience: Duration,
}

/// A system that runs.
#[derive(Debug, Clone)]
pub struct Address {
    /// Which it is.
    pub kind: Kind,
    /// `host:port`.
    pub address: String,
    /// Its process.
    pub process: Process,
}

/// A system that was started; it ends when this is dropped.
#[derive(Debug)]
pub struct Server {
    /// `host:port`.
    pub address: String,
    /// Its process.
    pub process: Process,
    /// Without a delivery for so long, what is missing will not come.
    pub patience: Duration,
    kind: Kind,
    durable: bool,
    access: Option<Access>,
    child: Option<Child>,
    _folder: Option<TempDir>,
}

/// For the line in which a server says where it listens.
const START: Duration = Duration::from_secs(30);

impl Launcher {
    /// Starts a system that fans messages out, and keeps them only if it always does.
    pub async fn start(&self, kind: Kind) -> Result<Server> {
        self.start_as(kind, false).await
    }

    /// Starts a system that keeps every message before it says so.
    pub async fn start_durable(&self, kind: Kind) -> Result<Server> {
        if kind == Kind::Tcp {
            bail!("a bare TCP server keeps nothing");
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
            Kind::Sqlite => bail!("there is no server {}", kind.name()),
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

    /// A fresh folder, on a disk if there is one.
    pub fn folder(&self) -> Result<TempDir> {
        folder::fresh(&self.rialto)
    }

    fn hub(&self, folder: &Path) -> Command {
        let mut command = Command::new(&self.rialto);
        command.args(["serve", "--listen", "127.0.0.1:0", "--log", "warn", "--data"]).arg(folder);
        command
    }
}

/// Starts a server that says `listening on SCHEME://ADDRESS` as its first line.
async fn spawn(mut command: Command) -> Result<(Child, String)> {
    let program = command.as_std().get_program().to_owned();
    let command = clean(&mut command).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().with_context(|| format!("{} does not start", program.display()))?;
    let output = child.stdout.take().context("no output")?;
    let mut line = String::new();
    timeout(START, BufReader::new(output).read_line(&mut line)).await.context("the server does not listen")??;
    let address = line.trim().rsplit_once("://").map(|(_, address)| address.to_owned());
    Ok((child, address.with_context(|| format!("{} did not say where it listens", program.display()))?))
}

/// Nothing that is set for another server may reach this one.
fn clean(command: &mut Command) -> &mut Command {
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("RIALTO_")) {
        command.env_remove(name);
    }
    command
}

impl Server {
    /// The way to it, for loads that are the same for every system.
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

    /// The way to a hub, for loads that are only for one.
    pub fn hub(&self) -> Rialto {
        Rialto { address: self.address.clone(), access: self.access.clone() }
    }

    /// Ends it.
    pub async fn stop(mut self) -> Result<()> {
        if let Some(child) = &mut self.child {
            child.kill().await?;
        }
        Ok(())
    }
}
