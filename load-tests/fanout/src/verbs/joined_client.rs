//! A client of the hub that enters a room by `join`, and the checks of what it receives.

use anyhow::{Result, bail};
use bytes::{Bytes, BytesMut};
use h2::{Reason, RecvStream, SendStream};

use crate::{
    check::{Check, Violation},
    frames::{self, Reader, Seen},
    proto::user::{ChatMessage, Join, Joined, chat_message::Event},
    stamp::{Room, Stamp},
    systems::rialto::{self, Http2, USER},
};

/// A Chat stream that enters by `join` and not by metadata, so that it receives epoch and head and can resume.
#[derive(Debug)]
pub struct JoinedClient {
    requests: SendStream<Bytes>,
    responses: RecvStream,
    frames: Reader,
}

/// A position to resume from.
#[derive(Debug, Clone)]
pub struct Position {
    /// The last `seq` that the client has.
    pub after_seq: u64,
    /// The epoch of the log that the `seq` belongs to.
    pub epoch: String,
}

impl JoinedClient {
    /// Opens a stream without rooms.
    pub async fn open(connection: &Http2) -> Result<Self> {
        let (requests, responses) = connection.chat(&[]).await?;
        Ok(Self { requests, responses, frames: Reader::default() })
    }

    /// Sends a `join`: from a position, or live.
    pub async fn join(&mut self, room: Room, position: Option<Position>) -> Result<()> {
        let join = match position {
            Some(Position { after_seq, epoch }) => Join { after_seq: Some(after_seq), epoch, ..Join::default() },
            None => Join::default(),
        };
        let room = rialto::name(room);
        self.send([ChatMessage { room, event: Some(Event::Join(join)), ..ChatMessage::default() }]).await
    }

    /// Publishes texts in this order.
    pub async fn publish(&mut self, room: Room, texts: impl IntoIterator<Item = String>) -> Result<()> {
        let (room, user_id) = (rialto::name(room), USER.to_owned());
        let message = |text| ChatMessage { user_id: user_id.clone(), text, room: room.clone(), ..Default::default() };
        self.send(texts.into_iter().map(message)).await
    }

    async fn send(&mut self, messages: impl IntoIterator<Item = ChatMessage>) -> Result<()> {
        let mut bytes = BytesMut::new();
        messages.into_iter().for_each(|message| frames::put(&message, &mut bytes));
        rialto::send(&mut self.requests, bytes.freeze()).await
    }

    /// Receives one chunk and passes its whole messages, possibly none, to `see`. Returns false if the stream has ended with OK. Cancel safe.
    pub async fn next(&mut self, see: impl FnMut(Seen<'_>)) -> Result<bool> {
        if let Some(chunk) = self.responses.data().await {
            let chunk = chunk?;
            self.responses.flow_control().release_capacity(chunk.len())?;
            self.frames.read(&chunk, see)?;
            return Ok(true);
        }
        let trailers = self.responses.trailers().await?.unwrap_or_default();
        match trailers.get("grpc-status") {
            Some(code) if code == "0" => Ok(false),
            _ => bail!("{}", rialto::status(&trailers).unwrap_or_else(|| "no status".to_owned())),
        }
    }

    /// Half-closes the stream: the hub delivers what is due, and then ends it.
    pub fn half_close(&mut self) -> Result<()> {
        Ok(self.requests.send_data(Bytes::new(), true)?)
    }

    /// Resets the stream.
    pub fn reset(mut self) {
        self.requests.send_reset(Reason::CANCEL);
    }
}

/// What a client has received of a room that has one publisher.
#[derive(Debug)]
pub struct Followed {
    room: Room,
    resumed: Option<Position>,
    joined: Option<Joined>,
    check: Check,
    /// The first of the publisher's messages that it must receive; `None` until a live client has received one.
    first: Option<u64>,
    /// One past the last message received.
    next: u64,
    publisher: u32,
    last_seq: u64,
}

/// A violation, and an example.
pub type Violated = (Violation, String);

impl Followed {
    /// Checks from the first message received on.
    pub fn live(room: Room) -> Self {
        let (check, resumed, joined) = (Check::new(&[room]), None, None);
        Self { room, resumed, joined, check, first: None, next: 0, publisher: 0, last_seq: 0 }
    }

    /// Checks from a position on, after which the publisher's message `first` is next.
    pub fn from(room: Room, position: Position, first: u64) -> Self {
        let last_seq = position.after_seq;
        Self { resumed: Some(position), first: Some(first), next: first, last_seq, ..Self::live(room) }
    }

    /// Checks a message or an event. Returns the stamp of a message.
    pub fn see(&mut self, seen: Seen<'_>) -> Result<Option<Stamp>, Violated> {
        match (seen.event.and_then(|message| message.event), &self.joined) {
            (Some(Event::Joined(joined)), None) => self.enter(joined).map(|()| None),
            (Some(event), _) => Err((Violation::Unexpected, format!("{event:?}"))),
            (None, None) => Err((Violation::Unexpected, format!("seq {} before joined", seen.seq))),
            (None, Some(joined)) => {
                // A live client must not receive messages from before its join.
                let early = self.resumed.is_none() && seen.seq <= joined.head_seq;
                self.message(seen.seq, seen.text, early).map(Some)
            }
        }
    }

    fn enter(&mut self, joined: Joined) -> Result<(), Violated> {
        let other_epoch = self.resumed.as_ref().is_some_and(|position| position.epoch != joined.epoch);
        if !joined.recovered || other_epoch {
            return Err((Violation::Unexpected, format!("{joined:?} for {:?}", self.resumed)));
        }
        self.joined = Some(joined);
        Ok(())
    }

    fn message(&mut self, seq: u64, text: &[u8], early: bool) -> Result<Stamp, Violated> {
        let stamp = Stamp::of(text).filter(|stamp| stamp.room == self.room);
        let stamp = stamp.ok_or_else(|| (Violation::Foreign, String::from_utf8_lossy(text).into_owned()))?;
        let violated = |violation| (violation, format!("seq {seq}, {stamp:?}"));
        if self.next == self.first.unwrap_or(0) {
            self.check.begin(self.room, stamp.publisher, *self.first.get_or_insert(stamp.nth));
        }
        self.next = self.next.max(stamp.nth + 1);
        self.publisher = stamp.publisher;
        // The check knows only this stream's messages, not those that the client had before.
        let back = early || seq <= self.last_seq;
        self.last_seq = self.last_seq.max(seq);
        self.check.see(Some(seq), &stamp).map_err(violated)?;
        if back { Err(violated(Violation::SeqWentBack)) } else { Ok(stamp) }
    }

    /// Whether it has joined and has received everything up to the head at that time.
    pub fn caught_up(&self) -> bool {
        self.joined.as_ref().is_some_and(|joined| self.last_seq >= joined.head_seq)
    }

    /// The `joined` event; `None` before it.
    pub fn joined(&self) -> Option<&Joined> {
        self.joined.as_ref()
    }

    /// The last `seq` received.
    pub fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// Number of missing messages of the `published` in total; `None` counts up to the last one received.
    pub fn missing(&self, published: Option<u64>) -> u64 {
        match (self.first, published.unwrap_or(self.next)) {
            // Nothing was received, so the check does not know the publisher.
            (Some(first), published) if self.next == first => published.saturating_sub(first),
            (None, _) => 0,
            (Some(_), published) => self.check.missing(self.room, self.publisher, published),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::user::Gap;

    fn message(seq: u64, nth: u64) -> ChatMessage {
        let text = Stamp { room: 0, publisher: 0, nth, due: 0 }.text(0);
        ChatMessage { seq, text, ..ChatMessage::default() }
    }

    fn event(event: Event) -> ChatMessage {
        ChatMessage { event: Some(event), ..ChatMessage::default() }
    }

    fn joined(epoch: &str, head_seq: u64, recovered: bool) -> ChatMessage {
        event(Event::Joined(Joined { epoch: epoch.to_owned(), head_seq, recovered, online: 0 }))
    }

    /// A resuming client that has messages 0 and 1, the last of them with `seq` 20.
    fn resumed() -> Followed {
        Followed::from(0, Position { after_seq: 20, epoch: "e".to_owned() }, 2)
    }

    fn violations(followed: &mut Followed, messages: impl IntoIterator<Item = ChatMessage>) -> Vec<Violation> {
        let see = |message: ChatMessage| {
            let event = message.event.is_some().then(|| Box::new(message.clone()));
            followed.see(Seen { seq: message.seq, text: message.text.as_bytes(), event }).err()
        };
        messages.into_iter().filter_map(see).map(|(violation, _)| violation).collect()
    }

    #[test]
    fn a_resumed_client_receives_what_it_missed_then_live_messages() {
        let mut client = resumed();
        assert!(violations(&mut client, [joined("e", 40, true), message(30, 2)]).is_empty());
        assert!(!client.caught_up());
        assert_eq!(client.missing(Some(5)), 2);
        assert!(violations(&mut client, [message(40, 3), message(50, 4)]).is_empty());
        assert!(client.caught_up());
        assert_eq!(client.missing(Some(5)), 0);
    }

    #[test]
    fn a_client_that_missed_nothing_has_caught_up_at_once() {
        let mut client = resumed();
        assert!(violations(&mut client, [joined("e", 20, true)]).is_empty());
        assert!(client.caught_up());
        assert_eq!(client.missing(Some(2)), 0);
        assert_eq!(client.missing(Some(3)), 1);
    }

    #[test]
    fn a_failed_resume_is_detected() {
        let gap = || event(Event::Gap(Gap { from_seq: 21, to_seq: 30 }));
        for first in [joined("e", 40, false), joined("another", 40, true), gap(), message(30, 2)] {
            assert_eq!(violations(&mut resumed(), [first]), [Violation::Unexpected]);
        }
        let mut client = resumed();
        assert_eq!(violations(&mut client, [joined("e", 40, true), gap()]), [Violation::Unexpected]);
    }

    #[test]
    fn missing_and_repeated_messages_of_a_resume_are_detected() {
        let mut client = resumed();
        assert!(violations(&mut client, [joined("e", 40, true), message(40, 3)]).is_empty());
        assert_eq!(client.missing(Some(4)), 1, "the first one is missing");
        let mut client = resumed();
        assert_eq!(violations(&mut client, [joined("e", 40, true), message(20, 1)]), [Violation::Duplicate]);
        let mut client = resumed();
        assert_eq!(violations(&mut client, [joined("e", 40, true), message(20, 2)]), [Violation::SeqWentBack]);
    }

    #[test]
    fn a_live_client_counts_from_its_first_message() {
        let mut client = Followed::live(0);
        assert!(violations(&mut client, [joined("e", 40, true)]).is_empty());
        assert_eq!(client.missing(None), 0);
        assert!(violations(&mut client, [message(50, 7), message(60, 8), message(80, 10)]).is_empty());
        assert_eq!(client.missing(None), 1);
        assert_eq!(violations(&mut client, [message(70, 9)]), [Violation::Reordered]);
        let mut client = Followed::live(0);
        assert_eq!(violations(&mut client, [joined("e", 40, true), message(40, 7)]), [Violation::SeqWentBack]);
    }
}
