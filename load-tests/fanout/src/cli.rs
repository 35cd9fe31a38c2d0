//! The command tree.

use std::{env, path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use tokio::net::TcpListener;

use crate::{
    alternate::{self, Plan},
    bare::{self, fault::Fault},
    launch::{Address, Kind, Launcher},
    process::Process,
    verbs::{Verb, burst::Burst, churn::Churn, fanout::Fanout, idle::Idle, publish::Publish, reconnect::Reconnect},
};

/// Measures a chat hub message by message, from publish to delivery.
///
/// Each load starts its own server on fresh data, and fails if a delivery is missing, duplicated or out of order.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 120, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    common: Common,
}

const EXAMPLES: &str = "\
Examples:
  rialto-load burst --subscribers 100 --against tcp       cost of a delivery, compared with a bare TCP server
  rialto-load burst --against rialto-tls                  cost of TLS and tokens
  rialto-load fanout --subscribers 5000 --rate 20         latency in a large room
  rialto-load publish --window 1 --against sqlite         time until a message is durable, compared with a bare commit
  rialto-load idle --connections 10 --streams 100         memory of an idle client, and of each further stream
  rialto-load reconnect --clients 1000 --missed 1000      all clients reconnect at once
  rialto-load churn --seconds 3600 --most-growth 5 --svg churn.svg            a soak test of an hour, with a chart of memory
  rialto-load fanout --connect http://127.0.0.1:50051 --pid $(pidof rialto)   against a running hub";

#[derive(Debug, Subcommand)]
enum Command {
    Burst(Burst),
    Fanout(Fanout),
    Idle(Idle),
    Reconnect(Reconnect),
    Churn(Churn),
    Publish(Publish),
    /// Run a minimal server, as a baseline
    Bare(Bare),
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Common options")]
struct Common {
    /// The hub's binary [default: `rialto` beside this program]
    #[arg(long, global = true, value_name = "FILE")]
    rialto: Option<PathBuf>,
    /// The NATS server's binary
    #[arg(long, global = true, value_name = "FILE", default_value = "nats-server")]
    nats_server: PathBuf,
    /// Compare with another system, in alternating runs; may be repeated
    #[arg(long, global = true, value_name = "SYSTEM")]
    against: Vec<Kind>,
    /// Runs of each system [default: 5 with another system, otherwise 1]
    #[arg(long, global = true, value_name = "N")]
    alternations: Option<usize>,
    /// Measure a running server instead of starting one: `http://` is a hub, `tcp://` a bare server, `nats://` a NATS server
    #[arg(long, global = true, value_name = "URL", requires = "pid")]
    connect: Option<String>,
    /// The process ID of that server
    #[arg(long, global = true, value_name = "PID")]
    pid: Option<u32>,
    /// Write all figures as JSON
    #[arg(long, global = true, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw charts of latency and throughput as SVG
    #[arg(long, global = true, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Time without a delivery after which outstanding messages count as missing
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 20.0, hide = true)]
    patience: f64,
}

#[derive(Debug, Args)]
struct Bare {
    /// Kind of server
    #[arg(value_enum)]
    server: BareServer,
    /// Address to listen on
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    listen: String,
    /// Make one fault, to see a load detect it (`tcp` only)
    #[arg(long, value_name = "FAULT")]
    fault: Option<Fault>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum BareServer {
    /// Writes everything it receives to every connection
    Tcp,
    /// Returns a constant from GetUser
    Tonic,
}

/// Runs the command.
pub async fn run(cli: Cli) -> Result<()> {
    // Each subscriber may have a connection of its own.
    rlimit::increase_nofile_limit(u64::MAX).context("cannot raise the limit of open files")?;
    let verb: Box<dyn Verb> = match cli.command {
        Command::Bare(bare) => return serve(bare).await,
        Command::Burst(verb) => Box::new(verb),
        Command::Fanout(verb) => Box::new(verb),
        Command::Idle(verb) => Box::new(verb),
        Command::Reconnect(verb) => Box::new(verb),
        Command::Churn(verb) => Box::new(verb),
        Command::Publish(verb) => Box::new(verb),
    };
    let report = alternate::run(&*verb, &plan(cli.common)?).await?;
    print(&report.tables());
    Ok(())
}

fn plan(common: Common) -> Result<Plan> {
    let beside = || Some(env::current_exe().ok()?.parent()?.join("rialto"));
    let rialto = common.rialto.or_else(beside).context("cannot find the hub's binary: pass it with --rialto")?;
    let running = common.connect.map(|url| running(&url, common.pid)).transpose()?;
    let without_rialto = running.as_ref().is_some_and(|running| running.kind != Kind::Rialto);
    let mut against = common.against;
    against.extend(running.iter().map(|running| running.kind).filter(|kind| *kind != Kind::Rialto));
    Ok(Plan {
        launcher: Launcher {
            rialto,
            nats_server: common.nats_server,
            running: running.into_iter().collect(),
            patience: Duration::try_from_secs_f64(common.patience)?,
        },
        alternations: common.alternations.unwrap_or(if against.is_empty() || without_rialto { 1 } else { 5 }),
        against,
        without_rialto,
        json: common.json,
        svg: common.svg,
    })
}

fn running(url: &str, pid: Option<u32>) -> Result<Address> {
    let (scheme, address) = url.split_once("://").context("--connect takes a URL, such as http://127.0.0.1:50051")?;
    let kind = match scheme {
        "http" => Kind::Rialto,
        "tcp" => Kind::Tcp,
        "nats" => Kind::Nats,
        other => bail!("unknown scheme {other}://: use http://, tcp:// or nats://"),
    };
    let process = Process::new(pid.context("--pid is missing")?)?;
    Ok(Address { kind, address: address.trim_end_matches('/').to_owned(), process })
}

async fn serve(bare: Bare) -> Result<()> {
    let listener =
        TcpListener::bind(&bare.listen).await.with_context(|| format!("cannot listen on {}", bare.listen))?;
    let address = listener.local_addr()?;
    match bare.server {
        BareServer::Tcp => {
            print(&format!("listening on tcp://{address}"));
            Ok(bare::tcp::serve(listener, bare.fault).await?)
        }
        BareServer::Tonic => {
            print(&format!("listening on http://{address}"));
            Ok(bare::tonic::serve(listener).await?)
        }
    }
}

/// Prints a line to standard output, where the figures go.
#[allow(clippy::print_stdout, reason = "this is a command line")]
pub fn print(text: &str) {
    println!("{text}");
}
