//! D5: joining with `after_seq` and `epoch` delivers exactly the messages after that, then live ones; a `gap` reports what is missing.

use rialto::proto::user::{ChatMessage, Join};

use crate::support::{
    Chat, Hub,
    rooms::{after, gap, join, joined, live},
    said, seqs,
};

/// Joins and reads up to the head: returns `recovered` and what follows `joined`.
async fn resumed(hub: &Hub, room: &str, how: Join) -> (bool, Vec<ChatMessage>) {
    let mut chat = hub.chat("").await;
    chat.send(join(room, how)).await;
    let mut heard = chat.finish().await;
    let first = heard.remove(0);
    (joined(&first).recovered, heard)
}

#[tokio::test]
async fn d5_a_join_delivers_exactly_the_messages_after_its_seq() {
    let hub = Hub::start().await;
    let all = hub.filled("den", 600).await;
    let own = hub.epoch().await;
    for epoch in ["", &own] {
        for held in [1, 2, 255, 256, 257, 511, 512, 599, 600] {
            let (recovered, heard) = resumed(&hub, "den", after(all[held - 1].seq, epoch)).await;
            assert!(recovered, "{held}");
            assert!(heard == all[held..], "{held}: {:?}", seqs(&heard));
        }
        let (recovered, heard) = resumed(&hub, "den", after(0, epoch)).await;
        assert!(recovered && heard == all, "0 is the beginning");
    }
}

#[tokio::test]
async fn d5_another_epoch_yields_a_gap_up_to_the_head() {
    let hub = Hub::start().await;
    let all = hub.filled("den", 10).await;
    let head = all.last().unwrap().seq;
    let own = hub.epoch().await;
    for (seq, epoch) in [
        (0, "another"),
        (all[4].seq, "another"),
        (head, "another"),
        (head + 1, "another"),
        (head + 1, &own),
        (head + 1, ""),
        (u64::MAX, ""),
        (1 << 63, &own),
    ] {
        let (recovered, heard) = resumed(&hub, "den", after(seq, epoch)).await;
        assert_eq!((recovered, heard), (false, vec![gap("den", 1, head)]), "{seq} of {epoch:?}");
    }
}

#[tokio::test]
async fn d5_in_a_room_without_messages_nothing_can_be_missing() {
    let hub = Hub::start().await;
    hub.filled("den", 1).await;
    let own = hub.epoch().await;
    for (seq, epoch, recovered) in
        [(0, "", true), (0, own.as_str(), true), (0, "another", false), (7, "", false), (7, &own, false)]
    {
        assert_eq!(resumed(&hub, "attic", after(seq, epoch)).await, (recovered, vec![]), "{seq} of {epoch:?}");
    }
}

#[tokio::test]
async fn d5_after_missed_messages_or_a_gap_the_room_continues_live() {
    let hub = Hub::start().await;
    let mut all = hub.filled("den", 3).await;
    let mut bob = hub.chat("den").await;
    for (how, from) in [(after(1, ""), 1), (after(1, "another"), usize::MAX), (after(0, ""), 0), (live(), usize::MAX)] {
        let mut chat = hub.chat("").await;
        let joined = chat.join("den", how).await;
        bob.say("den", "bob", "live").await;
        let (missed, head) = (all.get(from..).unwrap_or_default().to_vec(), joined.head_seq);
        all.push(bob.next().await);
        if !joined.recovered {
            assert_eq!(chat.next().await, gap("den", 1, head));
        }
        assert_eq!(chat.take(missed.len()).await, missed);
        assert_eq!(chat.next().await, *all.last().unwrap());
        assert_eq!(chat.finish().await, []);
    }
}

#[tokio::test]
async fn d5_a_client_resumes_exactly_after_a_restart() {
    let hub = Hub::start().await;
    let mut chat = hub.chat("").await;
    let joined = chat.join("den", live()).await;
    let before = hub.filled("den", 30).await;
    let held = chat.take(12).await;
    assert_eq!(held, before[..12]);
    drop(chat);

    let hub = Hub::start_in(hub.shutdown().await, |_| {}).await;
    let more = hub.filled("den", 5).await;
    let mut chat = hub.chat("").await;
    let again = chat.join("den", after(held[11].seq, &joined.epoch)).await;
    assert_eq!((&again.epoch, again.recovered, again.head_seq), (&joined.epoch, true, more[4].seq));
    assert_eq!(chat.take(18 + 5).await, [&before[12..], &more[..]].concat());
    chat.say("den", "ada", "and on").await;
    assert_eq!(chat.next().await.text, "and on");
}

#[tokio::test]
async fn d5_the_epoch_names_the_log_and_is_the_same_in_all_rooms() {
    async fn epochs(hub: &Hub) -> Vec<String> {
        let mut chat = hub.chat("").await;
        let mut epochs = Vec::new();
        for room in ["den", "attic", "never-spoken-in"] {
            epochs.push(chat.join(room, live()).await.epoch);
        }
        epochs
    }
    let hub = Hub::start().await;
    hub.filled("den", 2).await;
    hub.filled("attic", 1).await;
    let before = epochs(&hub).await;
    assert!(!before[0].is_empty() && before.iter().all(|epoch| *epoch == before[0]), "{before:?}");
    let other = Hub::start().await;
    assert_ne!(epochs(&other).await[0], before[0], "another log");
    let hub = Hub::start_in(hub.shutdown().await, |_| {}).await;
    assert_eq!(epochs(&hub).await, before);
}

/// Many clients resume at once from all over the log, while it grows.
#[tokio::test(flavor = "multi_thread")]
async fn d5_a_join_while_others_publish_lies_between_two_messages() {
    const N: usize = 400;
    let hub = Hub::start().await;
    let mut listener = hub.chat("den").await;
    let mut talkers = tokio::task::JoinSet::new();
    for name in 0..2 {
        let (sender, mut receiver) = hub.chat("den").await.split();
        talkers.spawn(async move {
            for n in 0..N / 2 {
                sender.send(said("den", "bob", &format!("{name}:{n}"))).await.unwrap();
                receiver.message().await.unwrap().unwrap();
            }
            drop(sender);
            while receiver.message().await.unwrap().is_some() {}
        });
    }
    let mut joiners: Vec<(Option<u64>, Chat)> = Vec::new();
    for n in 0..60_u64 {
        let mut chat = hub.chat("").await;
        let from = (n % 2 == 0).then_some(n);
        let how = from.map_or_else(live, |seq| after(seq, ""));
        let joined = chat.join("den", how).await;
        // A client from beyond the head gets a gap, then live messages.
        let missed = from.filter(|_| joined.recovered);
        if !joined.recovered && joined.head_seq > 0 {
            assert_eq!(chat.next().await, gap("den", 1, joined.head_seq));
        }
        joiners.push((Some(missed.unwrap_or(joined.head_seq)), chat));
    }
    let all = listener.take(N).await;
    for (from, mut chat) in joiners {
        let expected: Vec<_> = all.iter().filter(|message| Some(message.seq) > from).cloned().collect();
        assert!(chat.take(expected.len()).await == expected, "from {from:?}");
    }
    while talkers.join_next().await.is_some() {}
}
