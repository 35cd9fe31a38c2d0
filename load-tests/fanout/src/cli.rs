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
/// Each load starts its own server on fresh data, and fails if a single delivery is missing, doubled or out of order.
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
  rialto-load burst --subscribers 100 --against tcp       what a delivery costs, beside a bare TCP server
  rialto-load burst --against rialto-tls                  what TLS and tokens cost
  rialto-load fanout --subscribers 5000 --rate 20         latency in a large room
  rialto-load publish --window 1 --against sqlite         how long a message takes to be safe, beside a bare commit
  rialto-load idle --connections 10 --streams 100         what a silent client costs, and each further stream of it
  rialto-load reconnect --clients 1000 --missed 1000      everyone comes back at once
  rialto-load churn --seconds 3600 --most-growth 5 --svg churn.svg            a soak of an hour, with a picture of memory
  rialto-load fanout --connect http://127.0.0.1:50051 --pid $(pidof rialto)   against a hub that runs already";

#[derive(Debug, Subcommand)]
enum Command {
    Burst(Burst),
    Fanout(Fanout),
    Idle(Idle),
    Reconnect(Reconnect),
    Churn(Churn),
    Publish(Publish),
    /// A server with nothing in it, to compare with
    Bare(Bare),
}

#[derive(Debug, Args)]
#[command(next_help_heading = "What is measured")]
struct Common {
    /// The hub's binary [default: `rialto` beside this program]
    #[arg(long, global = true, value_name = "FILE")]
    rialto: Option<PathBuf>,
    /// The NATS server's binary
    #[arg(long, global = true, value_name = "FILE", default_value = "nats-server")]
    nats_server: PathBuf,
    /// Compare with another system, in turns; can be given several times
    #[arg(long, global = true, value_name = "SYSTEM")]
    against: Vec<Kind>,
    /// Turns of each system [default: 5 with another system, otherwise 1]
    #[arg(long, global = true, value_name = "N")]
    alternations: Option<usize>,
    /// Measure a server that runs already instead of starting one: `http://` a hub, `tcp://` a bare server, `nats://` a NATS server
    #[arg(long, global = true, value_name = "URL", requires = "pid")]
    connect: Option<String>,
    /// The process of that server
    #[arg(long, global = true, value_name = "PID")]
    pid: Option<u32>,
    /// Write everything that was measured as JSON
    #[arg(long, global = true, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw latency and throughput
    #[arg(long, global = true, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Without a delivery for so long, what is missing will not come
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 20.0, hide = true)]
    patience: f64,
}

#[derive(Debug, Args)]
struct Bare {
    /// Which
    #[arg(value_enum)]
    server: BareServer,
    /// Where it listens
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    listen: String,
    /// Do one thing wrong, to see a load find it (`tcp` only)
    #[arg(long, value_name = "FAULT")]
    fault: Option<Fault>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum BareServer {
    /// Writes what comes to every connection
    Tcp,
    /// Answers GetUser with a constant
    Tonic,
}

/// Does what the command line says.
pub async fn run(cli: Cli) -> Result<()> {
    // One connection a subscriber, at both ends.
    rlimit::increase_nofile_limit(u64::MAX).context("the limit of open files cannot be raised")?;
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
    say(&report.tables());
    Ok(())
}

fn plan(common: Common) -> Result<Plan> {
    let beside = || Some(env::current_exe().ok()?.parent()?.join("rialto"));
    let rialto = common.rialto.or_else(beside).context("where is the hub's binary? Say it by --rialto")?;
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
    let (scheme, address) = url.split_once("://").context("a server's URL, such as http://127.0.0.1:50051")?;
    let kind = match scheme {
        "http" => Kind::Rialto,
        "tcp" => Kind::Tcp,
        "nats" => Kind::Nats,
        other => bail!("{other}:// is no system that is known here"),
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
            say(&format!("listening on tcp://{address}"));
            Ok(bare::tcp::serve(listener, bare.fault).await?)
        }
        BareServer::Tonic => {
            say(&format!("listening on http://{address}"));
            Ok(bare::tonic::serve(listener).await?)
        }
    }
}

/// Standard output is where the figures go.
#[allow(clippy::print_stdout, reason = "this is a command line")]
pub fn say(text: &str) {
    println!("{text}");
}
