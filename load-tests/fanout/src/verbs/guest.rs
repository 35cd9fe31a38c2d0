//! A client of the hub that comes into a room by `join` and goes again, and what it holds the hub to while it is there.

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

/// A Chat stream that enters by `join`, not by metadata: so it is told epoch and head, and may resume.
#[derive(Debug)]
pub struct Guest {
    requests: SendStream<Bytes>,
    responses: RecvStream,
    frames: Reader,
}

/// Where to go on.
#[derive(Debug, Clone)]
pub struct Place {
    /// The last `seq` that the client has.
    pub after_seq: u64,
    /// The log that it belongs to.
    pub epoch: String,
}

impl Guest {
    /// Opens a stream that is in no room.
    pub async fn open(connection: &Http2) -> Result<Self> {
        let (requests, responses) = connection.chat(&[]).await?;
        Ok(Self { requests, responses, frames: Reader::default() })
    }

    /// Asks to enter a room: live, or from a place on.
    pub async fn join(&mut self, room: Room, place: Option<Place>) -> Result<()> {
        let join = match place {
            Some(Place { after_seq, epoch }) => Join { after_seq: Some(after_seq), epoch, ..Join::default() },
            None => Join::default(),
        };
        let room = rialto::name(room);
        self.send([ChatMessage { room, event: Some(Event::Join(join)), ..ChatMessage::default() }]).await
    }

    /// Publishes texts, in this order.
    pub async fn say(&mut self, room: Room, texts: impl IntoIterator<Item = String>) -> Result<()> {
        let (room, user_id) = (rialto::name(room), USER.to_owned());
        let message = |text| ChatMessage { user_id: user_id.clone(), text, room: room.clone(), ..Default::default() };
        self.send(texts.into_iter().map(message)).await
    }

    async fn send(&mut self, messages: impl IntoIterator<Item = ChatMessage>) -> Result<()> {
        let mut bytes = BytesMut::new();
        messages.into_iter().for_each(|message| frames::put(&message, &mut bytes));
        rialto::send(&mut self.requests, bytes.freeze()).await
    }

    /// Gives what came in one go, perhaps nothing whole. False: the stream has ended with OK. Nothing is lost if this is dropped while it
    /// waits.
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

    /// Says that it will not speak any more: the hub owes what it owes, and ends the stream.
    pub fn half_close(&mut self) -> Result<()> {
        Ok(self.requests.send_data(Bytes::new(), true)?)
    }

    /// Goes without a word more.
    pub fn reset(mut self) {
        self.requests.send_reset(Reason::CANCEL);
    }
}

/// What a client has seen of a room in which one publisher speaks.
#[derive(Debug)]
pub struct Followed {
    room: Room,
    resumed: Option<Place>,
    joined: Option<Joined>,
    check: Check,
    /// The first of the publisher's messages that it must get, and the one behind the last that it got.
    first: Option<u64>,
    next: u64,
    publisher: u32,
    last_seq: u64,
}

/// What is wrong, and an example.
pub type Wrong = (Violation, String);

impl Followed {
    /// From its first message on.
    pub fn live(room: Room) -> Self {
        let (check, resumed, joined) = (Check::new(&[room]), None, None);
        Self { room, resumed, joined, check, first: None, next: 0, publisher: 0, last_seq: 0 }
    }

    /// From a place on, at which the publisher's message `first` is the next.
    pub fn from(room: Room, place: Place, first: u64) -> Self {
        let last_seq = place.after_seq;
        Self { resumed: Some(place), first: Some(first), next: first, last_seq, ..Self::live(room) }
    }

    /// A message of the room, or what the hub says of it. Gives the stamp of a message that it had to get.
    pub fn see(&mut self, seen: Seen<'_>) -> Result<Option<Stamp>, Wrong> {
        match (seen.event.and_then(|message| message.event), &self.joined) {
            (Some(Event::Joined(joined)), None) => self.enter(joined).map(|()| None),
            (Some(event), _) => Err((Violation::Unexpected, format!("{event:?}"))),
            (None, None) => Err((Violation::Unexpected, format!("seq {} before joined", seen.seq))),
            (None, Some(joined)) => {
                // Whoever enters live has no claim to what was said before.
                let early = self.resumed.is_none() && seen.seq <= joined.head_seq;
                self.message(seen.seq, seen.text, early).map(Some)
            }
        }
    }

    fn enter(&mut self, joined: Joined) -> Result<(), Wrong> {
        let another = self.resumed.as_ref().is_some_and(|place| place.epoch != joined.epoch);
        if !joined.recovered || another {
            return Err((Violation::Unexpected, format!("{joined:?} for {:?}", self.resumed)));
        }
        self.joined = Some(joined);
        Ok(())
    }

    fn message(&mut self, seq: u64, text: &[u8], early: bool) -> Result<Stamp, Wrong> {
        let stamp = Stamp::of(text).filter(|stamp| stamp.room == self.room);
        let stamp = stamp.ok_or_else(|| (Violation::Foreign, String::from_utf8_lossy(text).into_owned()))?;
        let wrong = |violation| (violation, format!("seq {seq}, {stamp:?}"));
        if self.next == self.first.unwrap_or(0) {
            self.check.begin(self.room, stamp.publisher, *self.first.get_or_insert(stamp.nth));
        }
        self.next = self.next.max(stamp.nth + 1);
        self.publisher = stamp.publisher;
        // The check knows what this stream brought, but not what the client had before.
        let back = early || seq <= self.last_seq;
        self.last_seq = self.last_seq.max(seq);
        self.check.see(Some(seq), &stamp).map_err(wrong)?;
        if back { Err(wrong(Violation::SeqWentBack)) } else { Ok(stamp) }
    }

    /// It is in, and has everything that was there when it came.
    pub fn caught_up(&self) -> bool {
        self.joined.as_ref().is_some_and(|joined| self.last_seq >= joined.head_seq)
    }

    /// What it was told when it was let in.
    pub fn joined(&self) -> Option<&Joined> {
        self.joined.as_ref()
    }

    /// The last `seq` that came.
    pub fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// Messages that never came, of so many that the publisher published in all; None: up to the last that came.
    pub fn missing(&self, published: Option<u64>) -> u64 {
        match (self.first, published.unwrap_or(self.next)) {
            // Nothing came, of which the check could know.
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

    /// A client that has the messages 0 and 1, of which the last had the `seq` 20, and resumes.
    fn resumed() -> Followed {
        Followed::from(0, Place { after_seq: 20, epoch: "e".to_owned() }, 2)
    }

    fn wrongs(followed: &mut Followed, said: impl IntoIterator<Item = ChatMessage>) -> Vec<Violation> {
        let see = |message: ChatMessage| {
            let event = message.event.is_some().then(|| Box::new(message.clone()));
            followed.see(Seen { seq: message.seq, text: message.text.as_bytes(), event }).err()
        };
        said.into_iter().filter_map(see).map(|(violation, _)| violation).collect()
    }

    #[test]
    fn who_resumes_gets_what_it_missed_and_goes_on() {
        let mut client = resumed();
        assert!(wrongs(&mut client, [joined("e", 40, true), message(30, 2)]).is_empty());
        assert!(!client.caught_up());
        assert_eq!(client.missing(Some(5)), 2);
        assert!(wrongs(&mut client, [message(40, 3), message(50, 4)]).is_empty());
        assert!(client.caught_up());
        assert_eq!(client.missing(Some(5)), 0);
    }

    #[test]
    fn who_has_missed_nothing_has_caught_up_at_once() {
        let mut client = resumed();
        assert!(wrongs(&mut client, [joined("e", 20, true)]).is_empty());
        assert!(client.caught_up());
        assert_eq!(client.missing(Some(2)), 0);
        assert_eq!(client.missing(Some(3)), 1);
    }

    #[test]
    fn a_resume_that_is_none_is_found() {
        let gap = || event(Event::Gap(Gap { from_seq: 21, to_seq: 30 }));
        for first in [joined("e", 40, false), joined("another", 40, true), gap(), message(30, 2)] {
            assert_eq!(wrongs(&mut resumed(), [first]), [Violation::Unexpected]);
        }
        let mut client = resumed();
        assert_eq!(wrongs(&mut client, [joined("e", 40, true), gap()]), [Violation::Unexpected]);
    }

    #[test]
    fn what_a_resume_leaves_out_or_repeats_is_found() {
        let mut client = resumed();
        assert!(wrongs(&mut client, [joined("e", 40, true), message(40, 3)]).is_empty());
        assert_eq!(client.missing(Some(4)), 1, "the first one is missing");
        let mut client = resumed();
        assert_eq!(wrongs(&mut client, [joined("e", 40, true), message(20, 1)]), [Violation::Duplicate]);
        let mut client = resumed();
        assert_eq!(wrongs(&mut client, [joined("e", 40, true), message(20, 2)]), [Violation::SeqWentBack]);
    }

    #[test]
    fn who_comes_live_counts_from_its_first_message() {
        let mut client = Followed::live(0);
        assert!(wrongs(&mut client, [joined("e", 40, true)]).is_empty());
        assert_eq!(client.missing(None), 0);
        assert!(wrongs(&mut client, [message(50, 7), message(60, 8), message(80, 10)]).is_empty());
        assert_eq!(client.missing(None), 1);
        assert_eq!(wrongs(&mut client, [message(70, 9)]), [Violation::Reordered]);
        let mut client = Followed::live(0);
        assert_eq!(wrongs(&mut client, [joined("e", 40, true), message(40, 7)]), [Violation::SeqWentBack]);
    }
}
