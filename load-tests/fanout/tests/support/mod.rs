//! Runs the real program: a bare server, and a load against it.

#![allow(clippy::unwrap_used, reason = "a test helper fails by panicking")]

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_rialto-load");

/// A bare TCP server. It ends when this is dropped.
pub(crate) struct Bare {
    child: Child,
    url: String,
}

impl Bare {
    /// Starts a server, with this fault if any.
    pub(crate) fn start(fault: Option<&str>) -> Self {
        let mut command = Command::new(PROGRAM);
        command.args(["bare", "tcp"]).args(fault.iter().flat_map(|fault| ["--fault", fault]));
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("listening on ").unwrap().to_owned();
        Self { child, url }
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        // Fails if the server has already ended.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// Runs a load against a server, and returns whether it passed, and its output.
pub(crate) fn load(server: &Bare, verb: &[&str]) -> (bool, String) {
    let pid = server.child.id().to_string();
    let mut command = Command::new(PROGRAM);
    command.args(verb).args(["--connect", &server.url, "--pid", &pid, "--patience", "0.5"]);
    let output = command.output().unwrap();
    assert!(matches!(output.status.code(), Some(0 | 1)), "{output:?}");
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}
