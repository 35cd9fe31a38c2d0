//! `rialto.v1.ChatService`: subscribe, publish, and read history without a Chat stream.

mod history;
mod list;
mod subscribe;

use rialto::proto::{
    rialto::v1::{
        GetHistoryRequest, GetHistoryResponse, ListRoomsRequest, Position, PublishRequest, PublishResponse, Room,
        SubscribeRequest, chat_service_client::ChatServiceClient,
    },
    user::{ChatMessage, Join, Typing, chat_message::Event},
};
use tonic::{Code, Status, Streaming, transport::Channel};

use crate::support::{
    Chat, Hub, keyed, said, soon,
    wire::{Refusal, connection},
};

type Service = ChatServiceClient<Channel>;

impl Hub {
    /// A client with a connection of its own.
    async fn service(&self) -> Service {
        ChatServiceClient::new(connection(self.address()).await)
    }
}

fn position(room: &str, join: Join) -> Position {
    Position { room: room.into(), join: Some(join) }
}

/// A stream that follows these rooms.
async fn subscribe(service: &mut Service, rooms: Vec<Position>) -> Result<Chat, Status> {
    soon(service.subscribe(SubscribeRequest { rooms })).await.map(|stream| Chat::listening(stream.into_inner()))
}

async fn publish(service: &mut Service, message: ChatMessage) -> Result<PublishResponse, Status> {
    let message = Some(message);
    soon(service.publish(PublishRequest { message })).await.map(tonic::Response::into_inner)
}

async fn history(service: &mut Service, request: GetHistoryRequest) -> Result<GetHistoryResponse, Status> {
    soon(service.get_history(request)).await.map(tonic::Response::into_inner)
}

async fn list_rooms(service: &mut Service, watch: bool) -> Result<Streaming<Room>, Status> {
    soon(service.list_rooms(ListRoomsRequest { watch })).await.map(tonic::Response::into_inner)
}

#[tokio::test]
async fn a_published_message_is_delivered_like_any_other() {
    let hub = Hub::start().await;
    let mut service = hub.service().await;
    let mut listener = hub.chat("den").await;
    for (n, text) in ["one", "two", "three"].into_iter().enumerate() {
        let PublishResponse { message, duplicate } = publish(&mut service, said("den", "ada", text)).await.unwrap();
        let message = message.unwrap();
        assert!(!duplicate);
        assert_eq!(message, listener.next().await, "with everything that others see of it");
        assert_eq!((message.seq, message.text.as_str(), message.id.is_empty()), (n as u64 + 1, text, false));
    }
    assert_eq!(hub.counts_become(|counts| counts.members == 1).await.rooms, 1, "publishing is no membership");
    let lobby = publish(&mut service, said("", "", "hello")).await.unwrap().message.unwrap();
    assert_eq!((lobby.room.as_str(), lobby.seq), ("lobby", 1));
}

#[tokio::test]
async fn d2_a_published_message_is_in_the_log() {
    let hub = Hub::start().await;
    let mut service = hub.service().await;
    let message = publish(&mut service, said("den", "ada", "hello")).await.unwrap().message.unwrap();
    let page = history(&mut service, GetHistoryRequest { room: "den".into(), ..Default::default() }).await.unwrap();
    assert_eq!((page.messages, page.head_seq), (vec![message.clone()], message.seq));
    drop(service);
    let hub = Hub::start_in(hub.shutdown().await, |_| {}).await;
    let mut service = hub.service().await;
    let page = history(&mut service, GetHistoryRequest { room: "den".into(), ..Default::default() }).await.unwrap();
    assert_eq!(page.messages, [message]);
}

#[tokio::test]
async fn d4_a_message_published_twice_gets_its_first_seq_and_is_delivered_once() {
    let hub = Hub::start().await;
    let mut listener = hub.chat("den").await;
    let mut service = hub.service().await;
    let first = publish(&mut service, keyed("den", "ada", "key", "first")).await.unwrap();
    let message = listener.next().await;
    assert_eq!(first, PublishResponse { message: Some(message.clone()), duplicate: false });
    let again = PublishResponse { message: Some(message), duplicate: true };
    for text in ["first", "another text"] {
        assert_eq!(publish(&mut service, keyed("den", "ada", "key", text)).await.unwrap(), again);
        assert_eq!(publish(&mut hub.service().await, keyed("den", "ada", "key", text)).await.unwrap(), again);
    }
    // Also for a message sent on a stream, and after a restart.
    let chat = hub.chat("attic").await;
    chat.send(keyed("den", "ada", "key", "not there")).await;
    publish(&mut service, keyed("den", "bob", "key", "of another")).await.unwrap();
    assert_eq!(listener.next().await.text, "of another");
    drop((listener, chat, service));
    let hub = Hub::start_in(hub.shutdown().await, |_| {}).await;
    assert_eq!(publish(&mut hub.service().await, keyed("den", "ada", "key", "later")).await.unwrap(), again);
}

#[tokio::test]
async fn a_bad_message_is_not_published() {
    let hub = Hub::start().await;
    let mut service = hub.service().await;
    let event = ChatMessage { event: Some(Event::Typing(Typing {})), ..said("den", "ada", "") };
    let rows = [
        (said("den", "ada", ""), "message.text", "INVALID_TEXT"),
        (said("den", "ada", &"x".repeat(4_097)), "message.text", "INVALID_TEXT"),
        (said("den", "ada", "a\0"), "message.text", "INVALID_TEXT"),
        (said("den", "a\n", "hi"), "message.user_id", "INVALID_USER_ID"),
        (keyed("den", "", "key", "hi"), "message.user_id", "INVALID_USER_ID"),
        (keyed("den", "ada", &"k".repeat(129), "hi"), "message.id", "INVALID_ID"),
        (said("No Den", "ada", "hi"), "message.room", "INVALID_ROOM"),
        (event.clone(), "message.event", "INVALID_EVENT"),
        (ChatMessage { text: "with a text".into(), ..event }, "message.event", "INVALID_EVENT"),
    ];
    for (message, field, reason) in rows {
        let refused = publish(&mut service, message.clone()).await.unwrap_err();
        let expected = Refusal::new(Code::InvalidArgument, reason).field(field);
        assert_eq!(Refusal::of(&refused), expected, "{message:?}");
    }
    let refused = soon(service.publish(PublishRequest { message: None })).await.unwrap_err();
    assert_eq!(Refusal::of(&refused), Refusal::new(Code::InvalidArgument, "INVALID_MESSAGE").field("message"));
    let large = said("den", "ada", &"x".repeat(300 * 1024));
    let refused = publish(&mut service, large).await.unwrap_err();
    assert_eq!(Refusal::of(&refused), Refusal::new(Code::ResourceExhausted, "MESSAGE_TOO_LARGE"));
    assert_eq!(publish(&mut service, said("den", "ada", "good")).await.unwrap().message.unwrap().seq, 1);
}

#[tokio::test]
async fn d7_a_message_in_one_room_too_many_is_refused() {
    let hub = Hub::start_with(|config| config.storage.max_rooms = 1).await;
    let mut service = hub.service().await;
    publish(&mut service, said("den", "ada", "hello")).await.unwrap();
    let refused = publish(&mut service, said("attic", "ada", "hello")).await.unwrap_err();
    assert_eq!(Refusal::of(&refused), Refusal::new(Code::ResourceExhausted, "TOO_MANY_ROOMS").retry());
    publish(&mut service, said("den", "ada", "again")).await.unwrap();
}

/// A publish during the shutdown is either published or refused with the reason.
#[tokio::test(flavor = "multi_thread")]
async fn d9_a_publish_during_a_drain_is_in_the_log_or_refused() {
    let hub = Hub::start().await;
    let mut publishers = tokio::task::JoinSet::new();
    let (began, mut beginning) = tokio::sync::mpsc::channel(1);
    for name in 0..4 {
        let (mut service, began) = (hub.service().await, began.clone());
        publishers.spawn(async move {
            let mut published = Vec::new();
            for n in 0.. {
                match publish(&mut service, keyed("den", &format!("user{name}"), &n.to_string(), "hello")).await {
                    Ok(answer) => published.push(answer.message.unwrap()),
                    Err(refused) => {
                        // Refused by the server, or failed because the connection is gone.
                        let gone = std::error::Error::source(&refused).is_some();
                        assert!(gone || refused.code() == Code::Unavailable, "{refused:?}");
                        break;
                    }
                }
                if n == 50 {
                    began.send(()).await.unwrap();
                }
            }
            published
        });
    }
    for _ in 0..4 {
        soon(beginning.recv()).await.unwrap();
    }
    let folder = hub.shutdown().await;
    let mut published = soon(publishers.join_all()).await.concat();
    published.sort_by_key(|message| message.seq);
    let hub = Hub::start_in(folder, |_| {}).await;
    let mut service = hub.service().await;
    let (mut kept, mut after) = (Vec::new(), 0);
    loop {
        let request = GetHistoryRequest { room: "den".into(), after_seq: Some(after), ..Default::default() };
        let page = history(&mut service, request).await.unwrap();
        let Some(last) = page.messages.last() else { break };
        after = last.seq;
        kept.extend(page.messages);
    }
    assert!(published.iter().all(|message| kept.contains(message)), "acknowledged is durable");
    assert!(kept.len() <= published.len() + 4, "at most the last one of each was kept without an answer");
}
