//! Rooms keep what their retention limits say, and a client that asks for more learns what is missing (D3, D5).

use rialto::{
    config::{Limit, Retained},
    proto::{
        rialto::v1::{GetHistoryRequest, GetHistoryResponse, chat_service_client::ChatServiceClient},
        user::Gap,
    },
};
use tonic::transport::Channel;

use crate::support::{
    Hub, keyed,
    rooms::{after, gap, last},
    seqs, soon,
    wire::connection,
};

type Rooms = ChatServiceClient<Channel>;

async fn history(rooms: &mut Rooms, request: GetHistoryRequest) -> GetHistoryResponse {
    soon(rooms.get_history(request)).await.unwrap().into_inner()
}

fn forwards(room: &str, after_seq: u64) -> GetHistoryRequest {
    GetHistoryRequest { room: room.into(), after_seq: Some(after_seq), ..GetHistoryRequest::default() }
}

fn backwards(room: &str, before_seq: u64) -> GetHistoryRequest {
    GetHistoryRequest { room: room.into(), before_seq: Some(before_seq), ..GetHistoryRequest::default() }
}

/// A room with the last 10 of 50 messages, after retention removed the others.
async fn trimmed(rooms: &[&str]) -> (Hub, Rooms) {
    let hub = Hub::start_with(|config| {
        config.retention.messages = Limit(10);
        config.retention.interval_seconds = 1;
        config.retention.rooms.insert("archive".into(), Retained::default());
    })
    .await;
    let mut chat = hub.chat(&rooms.join(",")).await;
    for n in 1..=50 {
        for room in rooms {
            chat.send(keyed(room, "ada", &n.to_string(), &n.to_string())).await;
            chat.next().await;
        }
    }
    let mut client = Rooms::new(connection(hub.address()).await);
    let removed = async {
        while history(&mut client, forwards("den", 0)).await.gap != Some(Gap { from_seq: 1, to_seq: 40 }) {
            tokio::task::yield_now().await;
        }
    };
    soon(removed).await;
    (hub, client)
}

#[tokio::test]
async fn d5_resuming_below_the_floor_reports_the_gap_and_continues_after_it() {
    let (hub, _) = trimmed(&["den"]).await;
    let kept: Vec<_> = (41..=50).collect();
    for (seq, missing) in [(0, Some(gap("den", 1, 40))), (39, Some(gap("den", 40, 40))), (40, None)] {
        let mut chat = hub.chat("").await;
        let joined = chat.join("den", after(seq, "")).await;
        assert_eq!((joined.head_seq, joined.recovered), (50, missing.is_none()));
        if let Some(missing) = missing {
            assert_eq!(chat.next().await, missing);
        }
        assert_eq!(seqs(&chat.take(10).await), kept);
    }
    let mut chat = hub.chat("").await;
    chat.join("den", after(0, "")).await;
    assert_eq!(seqs(&chat.take(11).await)[1..], kept);
    chat.say("den", "bob", "and live").await;
    assert_eq!(chat.next().await.seq, 51);
}

#[tokio::test]
async fn retained_messages_and_the_floor_survive_a_restart() {
    let (hub, _) = trimmed(&["den"]).await;
    let hub = Hub::start_in(hub.shutdown().await, |_| {}).await;
    let mut chat = hub.chat("").await;
    let joined = chat.join("den", after(0, "")).await;
    assert_eq!((joined.head_seq, joined.recovered), (50, false));
    assert_eq!(chat.next().await, gap("den", 1, 40));
    let mut chat = hub.chat("").await;
    assert!(chat.join("den", last(20)).await.recovered, "the last so many are those that there are");
    assert_eq!(seqs(&chat.take(10).await), (41..=50).collect::<Vec<_>>());
}

#[tokio::test]
async fn history_reports_the_missing_part_of_the_request() {
    let (_hub, mut rooms) = trimmed(&["den", "archive"]).await;
    let all: Vec<_> = (1..=50).collect();
    let missing = |to_seq| Some(Gap { from_seq: 1, to_seq });
    for (request, found, gap) in [
        (forwards("den", 40), &all[40..], None),
        (forwards("den", 39), &all[40..], Some(Gap { from_seq: 40, to_seq: 40 })),
        (GetHistoryRequest { page_size: 9, ..backwards("den", 51) }, &all[41..], None),
        (backwards("den", 51), &all[40..], missing(40)),
        (backwards("den", 20), &[], missing(19)),
        (forwards("archive", 0), &all[..], None),
        (backwards("archive", 51), &all[..], None),
    ] {
        let page = history(&mut rooms, request.clone()).await;
        assert_eq!((seqs(&page.messages), page.gap), (found.to_vec(), gap), "{request:?}");
        assert_eq!(page.head_seq, 50);
    }
}

#[tokio::test]
async fn d4_an_id_is_remembered_as_long_as_its_message_is_kept() {
    let (hub, _) = trimmed(&["den"]).await;
    let mut chat = hub.chat("den").await;
    chat.send(keyed("den", "ada", "50", "kept")).await;
    let answer = chat.next().await;
    assert!(answer.event.is_some() && answer.seq == 50, "{answer:?}");
    chat.send(keyed("den", "ada", "1", "gone")).await;
    let answer = chat.next().await;
    assert!(answer.event.is_none() && answer.seq == 51, "{answer:?}");
    assert!(hub.metrics().removed_messages.get() >= 40);
}
