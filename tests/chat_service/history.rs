//! GetHistory: pages of a room's messages, forwards and backwards.

use rialto::proto::{
    rialto::v1::{GetHistoryRequest, GetHistoryResponse},
    user::ChatMessage,
};
use tonic::Code;

use super::{Service, history, publish};
use crate::support::{Hub, said, seqs, wire::Refusal};

fn request(room: &str) -> GetHistoryRequest {
    GetHistoryRequest { room: room.into(), ..GetHistoryRequest::default() }
}

fn forwards(room: &str, after: u64, page_size: i32) -> GetHistoryRequest {
    GetHistoryRequest { after_seq: Some(after), page_size, ..request(room) }
}

fn backwards(room: &str, before: u64, page_size: i32) -> GetHistoryRequest {
    GetHistoryRequest { before_seq: Some(before), page_size, ..request(room) }
}

#[tokio::test]
async fn a_page_is_what_was_asked_for_in_the_order_of_seq() {
    let hub = Hub::start().await;
    let all = hub.filled("den", 20).await;
    let seq = |n: usize| all[n].seq;
    let epoch = hub.epoch().await;
    let mut service = hub.service().await;
    let rows = [
        (request("den"), 0..20),
        (GetHistoryRequest { page_size: 3, ..request("den") }, 17..20),
        (forwards("den", 0, 5), 0..5),
        (forwards("den", seq(4), 5), 5..10),
        (forwards("den", seq(17), 5), 18..20),
        (forwards("den", seq(19), 5), 20..20),
        (forwards("den", u64::MAX, 5), 20..20),
        (forwards("den", 1 << 63, 0), 20..20),
        (backwards("den", seq(10), 5), 5..10),
        (backwards("den", seq(3), 5), 0..3),
        (backwards("den", seq(0), 5), 0..0),
        (backwards("den", 0, 5), 0..0),
        (backwards("den", seq(19) + 1, 1), 19..20),
        (backwards("den", u64::MAX, 2), 18..20),
        (backwards("den", 1 << 63, 2), 18..20),
    ];
    for (request, expected) in rows {
        let name = format!("{request:?}");
        let page = history(&mut service, request).await.unwrap();
        let messages = all[expected].to_vec();
        let head_seq = all[19].seq;
        assert_eq!(page, GetHistoryResponse { messages, epoch: epoch.clone(), head_seq, gap: None }, "{name}");
    }
}

#[tokio::test]
async fn a_page_has_at_most_a_thousand_messages() {
    let hub = Hub::start().await;
    let all = hub.filled("den", 1_100).await;
    let mut service = hub.service().await;
    for size in [0, 1_000, 1_001, i32::MAX] {
        let page = history(&mut service, forwards("den", 0, size)).await.unwrap();
        assert!(page.messages == all[..1_000], "{size}: {:?}", seqs(&page.messages));
        let page = history(&mut service, GetHistoryRequest { page_size: size, ..request("den") }).await.unwrap();
        assert!(page.messages == all[100..], "{size}: {:?}", seqs(&page.messages));
    }
}

#[tokio::test]
async fn a_room_without_messages_is_an_empty_page_and_reading_creates_no_room() {
    let hub = Hub::start().await;
    let epoch = hub.epoch().await;
    let mut service = hub.service().await;
    for request in
        [request("nowhere"), forwards("nowhere", 0, 0), forwards("nowhere", 5, 0), backwards("nowhere", 5, 0)]
    {
        let page = history(&mut service, request).await.unwrap();
        assert_eq!(page, GetHistoryResponse { epoch: epoch.clone(), ..GetHistoryResponse::default() });
    }
    let mut rooms = super::list_rooms(&mut service, false).await.unwrap();
    assert_eq!(crate::support::soon(rooms.message()).await.unwrap(), None);
    publish(&mut service, said("", "ada", "hello")).await.unwrap();
    assert_eq!(history(&mut service, request("")).await.unwrap().messages[0].room, "lobby", "no name is the lobby");
}

#[tokio::test]
async fn a_bad_history_request_is_refused() {
    let hub = Hub::start().await;
    let mut service = hub.service().await;
    let both = GetHistoryRequest { before_seq: Some(9), ..forwards("den", 0, 0) };
    let rows = [
        (both, "before_seq", "INVALID_RANGE"),
        (forwards("den", 0, -1), "page_size", "INVALID_VALUE"),
        (GetHistoryRequest { page_size: i32::MIN, ..request("den") }, "page_size", "INVALID_VALUE"),
        (request("No Den"), "room", "INVALID_ROOM"),
        (request(&"d".repeat(65)), "room", "INVALID_ROOM"),
    ];
    for (request, field, reason) in rows {
        let refused = history(&mut service, request).await.unwrap_err();
        assert_eq!(Refusal::of(&refused), Refusal::new(Code::InvalidArgument, reason).field(field));
    }
}

/// Reads page by page to the end; returns the page sizes as well.
async fn all_forwards(service: &mut Service, room: &str, size: i32) -> (Vec<ChatMessage>, Vec<usize>) {
    let (mut messages, mut sizes, mut after) = (Vec::new(), Vec::new(), 0);
    loop {
        let page = history(service, forwards(room, after, size)).await.unwrap();
        sizes.push(page.messages.len());
        let Some(last) = page.messages.last() else { return (messages, sizes) };
        after = last.seq;
        let is_last = after == page.head_seq;
        messages.extend(page.messages);
        if is_last {
            return (messages, sizes);
        }
    }
}

async fn all_backwards(service: &mut Service, room: &str, size: i32) -> (Vec<ChatMessage>, Vec<usize>) {
    let (mut pages, mut sizes) = (Vec::new(), Vec::new());
    let mut next = GetHistoryRequest { page_size: size, ..request(room) };
    loop {
        let page = history(service, next).await.unwrap();
        sizes.push(page.messages.len());
        let Some(first) = page.messages.first() else { break };
        next = backwards(room, first.seq, size);
        pages.push(page.messages);
    }
    (pages.into_iter().rev().flatten().collect(), sizes)
}

#[tokio::test]
async fn paging_returns_every_message_once_in_either_direction() {
    let hub = Hub::start().await;
    let all = hub.filled("den", 257).await;
    hub.filled("attic", 30).await;
    let mut service = hub.service().await;
    for size in [1, 2, 7, 256, 257, 258, 0] {
        let (messages, sizes) = all_forwards(&mut service, "den", size).await;
        assert!(messages == all, "forwards by {size}: {sizes:?}");
        let (messages, sizes) = all_backwards(&mut service, "den", size).await;
        assert!(messages == all, "backwards by {size}: {sizes:?}");
    }
}

#[tokio::test]
async fn long_messages_end_a_page_early_and_none_is_skipped() {
    let hub = Hub::start_with(|config| config.storage.max_page_bytes = 10_000).await;
    let mut service = hub.service().await;
    let mut all = Vec::new();
    for n in 0..40_usize {
        // Some messages are nearly half a page, others short.
        let text = if n.is_multiple_of(3) { "x".repeat(4_096) } else { n.to_string() };
        all.push(publish(&mut service, said("den", "ada", &text)).await.unwrap().message.unwrap());
    }
    let (messages, sizes) = all_forwards(&mut service, "den", 0).await;
    assert!(messages == all && sizes.len() > 5, "{sizes:?}");
    let (messages, sizes) = all_backwards(&mut service, "den", 0).await;
    assert!(messages == all && sizes.len() > 5, "{sizes:?}");

    // Smaller than a single message.
    let hub = Hub::start_in(hub.shutdown_with(service).await, |config| config.storage.max_page_bytes = 1).await;
    let mut service = hub.service().await;
    let (messages, sizes) = all_forwards(&mut service, "den", 0).await;
    assert!(messages == all && sizes.iter().all(|size| *size == 1), "{sizes:?}");
    let (messages, sizes) = all_backwards(&mut service, "den", 0).await;
    assert!(messages == all && sizes[..40].iter().all(|size| *size == 1), "{sizes:?}");
}

impl Hub {
    /// Shuts the hub down together with a client of it.
    async fn shutdown_with(self, service: Service) -> tempfile::TempDir {
        drop(service);
        self.shutdown().await
    }
}

#[tokio::test]
async fn the_largest_page_is_within_the_limits_of_clients() {
    let hub = Hub::start().await;
    let mut service = hub.service().await;
    let chat = hub.chat("den").await;
    let (sender, mut receiver) = chat.split();
    let wide = "☃".repeat(42);
    let say = async {
        for n in 0..1_000 {
            let message = crate::support::keyed("den", &wide, &format!("{n:0>128}"), &"x".repeat(4_096));
            sender.send(message).await.unwrap();
        }
    };
    let hear = async {
        for _ in 0..1_000 {
            crate::support::soon(receiver.message()).await.unwrap().unwrap();
        }
    };
    tokio::join!(say, hear);
    let (messages, sizes) = all_forwards(&mut service, "den", 0).await;
    assert_eq!(messages.len(), 1_000);
    assert!(sizes.iter().all(|size| (1..100).contains(size)), "{sizes:?}");
}
