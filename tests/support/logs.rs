//! Keeps the logs of the test servers for `scripts/test logs`, which searches them for the secrets and texts that the tests used.

use std::{
    collections::HashSet,
    fs::{self, File},
    io::Write,
    path::PathBuf,
    sync::{LazyLock, Mutex, Once},
};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::ChildStderr,
    sync::watch,
    task::JoinSet,
};
use tracing_subscriber::{EnvFilter, fmt};

/// Everything that the hub can log, and what libraries log by default.
pub const LEVEL: &str = "info,rialto=trace";

/// A shorter text may be in a log by chance.
const SHORTEST: usize = 12;

/// The folder with the logs and texts of this test run.
fn folder() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("logs");
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn file(ending: &str) -> File {
    let name = format!("{}-{}.{ending}", std::process::id(), uuid::Uuid::now_v7());
    File::create(folder().join(name)).unwrap()
}

/// Keeps what the servers in this process log.
pub fn keep() {
    static KEPT: Once = Once::new();
    KEPT.call_once(|| {
        let filter = EnvFilter::new(LEVEL);
        fmt().json().with_env_filter(filter).with_writer(Mutex::new(file("log"))).init();
    });
}

/// Keeps the log of a server in its own process, and returns it.
pub fn of_process(log: ChildStderr) -> (watch::Receiver<String>, JoinSet<()>) {
    let (kept, shown) = watch::channel(String::new());
    let mut file = file("log");
    let mut lines = BufReader::new(log).lines();
    let mut logging = JoinSet::new();
    logging.spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            writeln!(file, "{line}").unwrap();
            kept.send_modify(|log| {
                log.push_str(&line);
                log.push('\n');
            });
        }
    });
    (shown, logging)
}

/// Registers a secret that must not be logged.
pub fn is_said(text: &str) {
    static SAID: LazyLock<Mutex<(HashSet<String>, File)>> =
        LazyLock::new(|| Mutex::new((HashSet::new(), file("texts"))));
    // Padding carries no information, and each line is one text.
    let is_told_apart =
        text.len() >= SHORTEST && !text.contains('\n') && text.bytes().any(|byte| byte != text.as_bytes()[0]);
    let mut said = SAID.lock().unwrap();
    let (seen, texts) = &mut *said;
    if is_told_apart && seen.len() < 100_000 && seen.insert(text.to_owned()) {
        writeln!(texts, "{text}").unwrap();
    }
}
