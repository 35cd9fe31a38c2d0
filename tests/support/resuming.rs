//! Joining rooms at a position, by Chat or by Subscribe.

use rialto::proto::{
    rialto::v1::{Position, SubscribeRequest, chat_service_client::ChatServiceClient},
    user::{ChatMessage, Join, user_service_client::UserServiceClient},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, Streaming, transport::Channel};

use super::rooms;

/// The two ways to join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Chat,
    Subscribe,
}

impl Way {
    /// Alternates between the two ways.
    pub fn of(n: usize) -> Self {
        if n.is_multiple_of(2) { Self::Chat } else { Self::Subscribe }
    }
}

/// A receiving stream.
pub struct Listening {
    pub receiver: Streaming<ChatMessage>,
    /// Kept open so that the stream continues.
    _sender: Option<mpsc::Sender<ChatMessage>>,
}

/// Joins these rooms.
pub async fn enter(channel: &Channel, way: Way, wanted: Vec<(String, Join)>) -> Result<Listening, Status> {
    match way {
        Way::Chat => {
            let (sender, messages) = mpsc::channel(wanted.len());
            for (room, join) in wanted {
                sender.try_send(rooms::join(&room, join)).unwrap();
            }
            let mut request = Request::new(ReceiverStream::new(messages));
            request.metadata_mut().insert("rialto-rooms", "".parse().unwrap());
            let receiver = UserServiceClient::new(channel.clone()).chat(request).await?.into_inner();
            Ok(Listening { receiver, _sender: Some(sender) })
        }
        Way::Subscribe => {
            let rooms = wanted.into_iter().map(|(room, join)| Position { room, join: Some(join) }).collect();
            let mut client = ChatServiceClient::new(channel.clone());
            let receiver = client.subscribe(SubscribeRequest { rooms }).await?.into_inner();
            Ok(Listening { receiver, _sender: None })
        }
    }
}
