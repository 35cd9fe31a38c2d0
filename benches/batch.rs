//! Framing committed messages: the work that the hub does once per message, whatever the number of subscribers.
//!
//! Measures [`Framer`] alone: encoding, and allocating the batch, which is new each time because subscribers keep it.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use rialto::{batch::Framer, proto::user::ChatMessage};

fn message(seq: u64, text: usize) -> ChatMessage {
    ChatMessage {
        user_id: "ada".into(),
        text: "x".repeat(text),
        timestamp: 1_700_000_000,
        room: "lobby".into(),
        seq,
        id: "0190a5c8-7e1f-7cc0-98c4-dc0c0c07398f".into(),
        timestamp_nanos: 123_456_789,
        event: None,
    }
}

fn framing(criterion: &mut Criterion) {
    for (size, text) in [("100 B", 100), ("4 KiB", 4 * 1024)] {
        let mut benches = criterion.benchmark_group(format!("framing, {size}"));
        for group in [1_u64, 64, 512] {
            let messages: Vec<_> = (1..=group).map(|seq| message(1_000_000 + seq, text)).collect();
            benches.throughput(Throughput::Elements(group));
            benches.bench_with_input(BenchmarkId::new("group", group), &messages, |bencher, messages| {
                bencher.iter(|| {
                    let mut framer = Framer::default();
                    for message in messages {
                        black_box(framer.push(black_box(message)));
                    }
                    black_box(framer.finish())
                });
            });
        }
        benches.finish();
    }
}

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(std::time::Duration::from_millis(500))
        .measurement_time(std::time::Duration::from_secs(2))
        .configure_from_args();
    framing(&mut criterion);
    criterion.final_summary();
}
