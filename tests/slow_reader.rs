//! D6: a slow reader costs a fixed amount of memory, delays nobody, and loses nothing.

use std::time::{Duration, Instant};

use tokio::{sync::mpsc, time::timeout};
use tonic::Streaming;

use crate::support::{Chat, client, process::Process, raw::Raw, said, size, soon};
use rialto::proto::user::ChatMessage;

const MIB: f64 = 1024.0 * 1024.0;

/// The cost of one run.
#[derive(Debug)]
struct Cost {
    /// The most bytes by which the process grew during the run, where the system reports it.
    grown: Option<u64>,
    /// Latency from publish to delivery, for a subscriber that keeps up.
    median: Duration,
    p99: Duration,
}

/// A text of 200 bytes with the message's number.
fn text(n: usize) -> String {
    format!("{n:0200}")
}

async fn publish(sender: mpsc::Sender<ChatMessage>, count: usize, sent: mpsc::Sender<Instant>) {
    for n in 0..count {
        sent.send(Instant::now()).await.unwrap();
        sender.send(said("den", "ada", &text(n))).await.unwrap();
    }
}

async fn listen(
    mut receiver: Streaming<ChatMessage>,
    count: usize,
    mut sent: mpsc::Receiver<Instant>,
) -> Vec<Duration> {
    let mut took = Vec::with_capacity(count);
    for n in 0..count {
        let message = soon(receiver.message()).await.unwrap().unwrap();
        assert_eq!(message.seq, n as u64 + 1);
        took.push(sent.recv().await.unwrap().elapsed());
    }
    took.sort_unstable();
    took
}

/// Sends all messages through a room, with or without a subscriber that does not read until the end.
async fn run(count: usize, with_slow_reader: bool) -> Cost {
    let folder = tempfile::tempdir().unwrap();
    let server = Process::serve(folder.path()).await;
    let mut raw = Raw::connect(server.address().parse().unwrap()).await;
    let mut slow = if with_slow_reader { Some(raw.chat("den").await) } else { None };
    let (_open, listener) = Chat::open(&mut client(server.address()).await, Some("den")).await.unwrap().split();
    let talker = Chat::open(&mut client(server.address()).await, Some("den")).await.unwrap();
    let (sender, own) = talker.split();
    let before = server.memory();

    // The publisher stays at most this far ahead of the subscriber.
    let (sent, when) = mpsc::channel(1_000);
    let mut own = own;
    let own = async move {
        for _ in 0..count {
            soon(own.message()).await.unwrap().unwrap();
        }
    };
    let (took, ..) = tokio::join!(
        async { tokio::spawn(listen(listener, count, when)).await.unwrap() },
        async { tokio::spawn(own).await.unwrap() },
        async { tokio::spawn(publish(sender.clone(), count, sent)).await.unwrap() },
    );
    let grown = server.peak_memory().zip(before).map(|(peak, before)| peak.saturating_sub(before));

    if let Some(slow) = &mut slow {
        let read = async {
            for n in 0..count {
                let frame = slow.response.frame().await.unwrap().expect("the stream ended too early");
                let message: ChatMessage = prost::Message::decode(frame).unwrap();
                assert_eq!(message.seq, n as u64 + 1, "everything, in order, once");
                assert_eq!(message.text, text(n));
            }
        };
        timeout(Duration::from_secs(300), read).await.expect("this should have happened long ago");
        sender.send(said("den", "ada", "and live again")).await.unwrap();
        assert_eq!(slow.response.next().await.text, "and live again");
        let peak = server.peak_memory().zip(before).map(|(peak, before)| peak.saturating_sub(before));
        eprintln!("when it had read everything, the process had grown by {} at most", mib(peak));
        assert!(peak.is_none_or(|peak| peak <= 40 << 20), "in all, also while it is sent on from the log");
    }
    server.kill().await;
    Cost { grown, median: took[count / 2], p99: took[count * 99 / 100] }
}

fn mib(bytes: Option<u64>) -> String {
    bytes.map_or("an unknown amount".into(), |bytes| format!("{:.1} MiB", bytes as f64 / MIB))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d6_a_reader_that_stops_costs_little_memory_and_gets_everything_when_it_continues() {
    let count = size::slow_reader();
    let without = run(count, false).await;
    let with = run(count, true).await;
    eprintln!(
        "{count} messages of 200 B: the process grew by {} without the slow reader, by {} with it",
        mib(without.grown),
        mib(with.grown)
    );
    eprintln!(
        "another's latency with it, as a ratio: median {:.2} ({:?} to {:?}), p99 {:.2} ({:?} to {:?})",
        with.median.as_secs_f64() / without.median.as_secs_f64(),
        without.median,
        with.median,
        with.p99.as_secs_f64() / without.p99.as_secs_f64(),
        without.p99,
        with.p99
    );
    if let (Some(without), Some(with)) = (without.grown, with.grown) {
        assert!(with.saturating_sub(without) < 8 << 20, "the slow one costs {}", mib(Some(with - without)));
        assert!(with <= 40 << 20, "and the room in all {}", mib(Some(with)));
    }
}
