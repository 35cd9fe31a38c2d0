//! The real binary in a process of its own, for what only a process can show: signals, and dying.

use std::{path::Path, process::Stdio};

use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStderr, ChildStdout, Command},
};

use super::soon;

pub struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    log: Option<Lines<BufReader<ChildStderr>>>,
    address: String,
}

impl Process {
    /// Serves on a free port and this folder; it listens when this returns.
    pub async fn serve(data: &Path) -> Self {
        Self::start(data, &[], Stdio::inherit()).await
    }

    /// The same with more arguments, and a log that [`logged`](Self::logged) reads.
    pub async fn serve_with(data: &Path, arguments: &[&str]) -> Self {
        Self::start(data, arguments, Stdio::piped()).await
    }

    async fn start(data: &Path, arguments: &[&str], log: Stdio) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_rialto"))
            .args(["serve", "--listen", "127.0.0.1:0", "--log", "warn", "--data"])
            .arg(data)
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let log = child.stderr.take().map(|log| BufReader::new(log).lines());
        let line = soon(lines.next_line()).await.unwrap().expect("the server ended before it listened");
        let (scheme, address) = line.strip_prefix("listening on ").expect(&line).split_once("://").expect(&line);
        assert_eq!(scheme, if arguments.contains(&"--tls-cert") { "https" } else { "http" });
        Self { child, lines, log, address: address.to_owned() }
    }

    /// Waits until this stands in a line of the log.
    pub async fn logged(&mut self, what: &str) {
        let log = self.log.as_mut().expect("the log is inherited");
        while let Some(line) = soon(log.next_line()).await.unwrap() {
            eprintln!("{line}");
            if line.contains(what) {
                return;
            }
        }
        panic!("the log ended without {what:?}");
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    /// Bytes of memory that it has now, where the system tells.
    pub fn memory(&self) -> Option<u64> {
        self.status("VmRSS:")
    }

    /// The most that it ever had.
    pub fn peak_memory(&self) -> Option<u64> {
        self.status("VmHWM:")
    }

    fn status(&self, field: &str) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()?)).ok()?;
        let kib: u64 =
            status.lines().find_map(|line| line.strip_prefix(field))?.split_whitespace().next()?.parse().ok()?;
        Some(kib * 1024)
    }

    /// SIGKILL: no goodbye.
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// SIGTERM, and what it ends with.
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
