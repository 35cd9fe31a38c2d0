//! Entering rooms at a place, in either of the two ways.

use rialto::proto::{
    rialto::v1::{Position, SubscribeRequest, chat_service_client::ChatServiceClient},
    user::{ChatMessage, Join, chat_message::Event, user_service_client::UserServiceClient},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, Streaming, transport::Channel};

/// How rooms are entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Chat,
    Subscribe,
}

impl Way {
    /// One half of everyone takes the one, one the other.
    pub fn of(n: usize) -> Self {
        if n.is_multiple_of(2) { Self::Chat } else { Self::Subscribe }
    }
}

/// A stream that listens.
pub struct Listening {
    pub receiver: Streaming<ChatMessage>,
    /// Open, so that the stream goes on.
    _sender: Option<mpsc::Sender<ChatMessage>>,
}

/// Enters these rooms.
pub async fn enter(channel: &Channel, way: Way, rooms: Vec<(String, Join)>) -> Result<Listening, Status> {
    match way {
        Way::Chat => {
            let (sender, messages) = mpsc::channel(rooms.len());
            for (room, join) in rooms {
                sender.try_send(joining(&room, join)).unwrap();
            }
            let mut request = Request::new(ReceiverStream::new(messages));
            request.metadata_mut().insert("rialto-rooms", "".parse().unwrap());
            let receiver = UserServiceClient::new(channel.clone()).chat(request).await?.into_inner();
            Ok(Listening { receiver, _sender: Some(sender) })
        }
        Way::Subscribe => {
            let rooms = rooms.into_iter().map(|(room, join)| Position { room, join: Some(join) }).collect();
            let mut client = ChatServiceClient::new(channel.clone());
            let receiver = client.subscribe(SubscribeRequest { rooms }).await?.into_inner();
            Ok(Listening { receiver, _sender: None })
        }
    }
}

/// Goes on after what is known of a log.
pub fn after(seq: u64, epoch: &str) -> Join {
    Join { after_seq: Some(seq), epoch: epoch.to_owned(), ..Join::default() }
}

pub fn joining(room: &str, join: Join) -> ChatMessage {
    ChatMessage { room: room.to_owned(), event: Some(Event::Join(join)), ..ChatMessage::default() }
}
