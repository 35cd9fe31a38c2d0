//! The real binary in its own process, for signals and kills.

use std::{path::Path, process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    sync::watch,
    task::JoinSet,
};

use super::{logs, soon};

const BINARY: &str = env!("CARGO_BIN_EXE_rialto");

pub struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    log: watch::Receiver<String>,
    _logging: JoinSet<()>,
    address: String,
}

impl Process {
    /// Serves this folder on a free port; it listens when this returns.
    pub async fn serve(data: &Path) -> Self {
        Self::serve_with(data, &[]).await
    }

    /// The same with further arguments.
    pub async fn serve_with(data: &Path, args: &[&str]) -> Self {
        Self::start(Command::new(BINARY), data, args).await
    }

    /// The same with a limit on open descriptors.
    pub async fn serve_with_descriptors(most: usize, data: &Path, args: &[&str]) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("ulimit -n {most}; exec \"$0\" \"$@\""), BINARY]);
        Self::start(shell, data, args).await
    }

    async fn start(mut command: Command, data: &Path, args: &[&str]) -> Self {
        let mut child = command
            .env("RIALTO_LOGGING__FILTER", logs::LEVEL)
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(data)
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (log, logging) = logs::of_process(child.stderr.take().unwrap());
        let line = soon(lines.next_line()).await.unwrap().expect("the server ended before it listened");
        let (scheme, address) = line.strip_prefix("listening on ").expect(&line).split_once("://").expect(&line);
        assert_eq!(scheme, if args.contains(&"--tls-cert") { "https" } else { "http" });
        Self { child, lines, log, _logging: logging, address: address.to_owned() }
    }

    /// Waits until a line of the log contains this text.
    pub async fn logged(&mut self, what: &str) {
        let has_it = |log: &String| log.contains(what);
        assert!(soon(self.log.wait_for(has_it)).await.is_ok(), "the log ended without {what:?}");
    }

    /// The log so far.
    pub fn log(&self) -> String {
        self.log.borrow().clone()
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its current memory in bytes, where the system reports it.
    pub fn memory(&self) -> Option<u64> {
        self.status("VmRSS:")
    }

    /// Its peak memory in bytes, where the system reports it.
    pub fn peak_memory(&self) -> Option<u64> {
        self.status("VmHWM:")
    }

    fn status(&self, field: &str) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()?)).ok()?;
        let kib: u64 =
            status.lines().find_map(|line| line.strip_prefix(field))?.split_whitespace().next()?.parse().ok()?;
        Some(kib * 1024)
    }

    /// CPU time of all its threads, where the system reports it.
    pub fn processor_time(&self) -> Option<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()?)).ok()?;
        // The fields after its name, which may contain spaces: the 12th and 13th are ticks of 10 ms.
        let ticks = stat.rsplit_once(')')?.1.split_whitespace().skip(11).take(2);
        Some(Duration::from_millis(10 * ticks.map(|ticks| ticks.parse::<u64>().unwrap()).sum::<u64>()))
    }

    /// Sends SIGKILL.
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Sends SIGTERM and waits; returns the exit status.
    pub async fn terminate(mut self) -> std::process::ExitStatus {
        self.signal("TERM").await;
        let status = soon(self.child.wait()).await.unwrap();
        assert_eq!(self.lines.next_line().await.unwrap(), None, "one line on standard output, and no more");
        status
    }

    pub async fn signal(&self, name: &str) {
        let pid = self.child.id().unwrap().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &pid]).status().await.unwrap();
        assert!(sent.success());
    }
}
