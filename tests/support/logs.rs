//! What the servers of the tests log, kept for `scripts/test logs`: it searches all of it for the secrets and texts that the tests used.

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

/// As much as the hub can say, and what the libraries say to everybody.
pub const LEVEL: &str = "info,rialto=trace";

/// Below this, a text stands in a log by chance.
const SHORTEST: usize = 12;

/// Where the logs and the texts of this run of the tests are.
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

/// Keeps what a server logs that is a process of its own, and shows it.
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

/// Nobody may log this.
pub fn is_said(text: &str) {
    static SAID: LazyLock<Mutex<(HashSet<String>, File)>> =
        LazyLock::new(|| Mutex::new((HashSet::new(), file("texts"))));
    // Padding says nothing, and a line is one text.
    let is_told_apart =
        text.len() >= SHORTEST && !text.contains('\n') && text.bytes().any(|byte| byte != text.as_bytes()[0]);
    let mut said = SAID.lock().unwrap();
    let (seen, texts) = &mut *said;
    if is_told_apart && seen.len() < 100_000 && seen.insert(text.to_owned()) {
        writeln!(texts, "{text}").unwrap();
    }
}
