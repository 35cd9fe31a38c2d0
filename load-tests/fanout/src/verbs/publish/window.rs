//! One publisher, and how many of its messages are on their way.

use std::{ops::Range, sync::Arc, time::Duration};

use anyhow::Result;
use indicatif::ProgressBar;
use tokio::time::timeout;

use super::super::audience::Layout;
use crate::{
    stamp::{Room, Stamp, now},
    subscriber::Subscriber,
    systems::{Connection, Member},
    tally::Tally,
};

/// Without an acknowledgement for so long, none will come.
const PATIENCE: Duration = Duration::from_secs(20);

/// Who publishes. What comes back of its own messages are the acknowledgements.
pub struct Publisher {
    /// Messages that it publishes.
    pub total: u64,
    /// What came back.
    pub tally: Arc<Tally>,
    number: u32,
    rooms: Vec<(Room, Vec<u32>)>,
    window: u64,
    subscriber: Subscriber,
    member: Box<dyn Member>,
}

/// Divides a window among so many, as evenly as it goes.
pub fn shares(window: u32, among: u32) -> impl Iterator<Item = u64> {
    (0..among).map(move |number| u64::from(window / among + u32::from(number < window % among)))
}

impl Publisher {
    /// The publisher of this number, with so many messages for each of its rooms.
    pub async fn join(
        connection: &dyn Connection,
        layout: &Layout,
        number: u32,
        share: u64,
        window: u64,
    ) -> Result<Self> {
        let rooms = layout.rooms_of(number);
        let with_speakers: Vec<_> = rooms.iter().map(|room| (*room, layout.speakers(*room))).collect();
        let total = share * rooms.len() as u64;
        // One message is a block: each that comes back may let another go. Those of others in its rooms come as well.
        let most: usize = with_speakers.iter().map(|(_, speakers)| speakers.len()).sum();
        let tally = Tally::new(1, share * most as u64)?;
        let subscriber = Subscriber::new(0, &rooms, &tally, 1);
        let member = connection.join(&rooms, subscriber.clone()).await?;
        Ok(Self { total, tally, number, rooms: with_speakers, window, subscriber, member })
    }

    /// Publishes everything, and waits until all of it has come back or nothing does any more.
    pub async fn publish(mut self, size: usize, progress: ProgressBar) -> Result<Self> {
        let mut window = Window { size: self.window, total: self.total, handed_over: 0, acknowledged: 0 };
        loop {
            let (own, all) = self.came_back();
            progress.inc(own - window.acknowledged);
            window.acknowledged = own;
            let free = window.take();
            if !free.is_empty() {
                let due = now();
                let texts = free.filter_map(|message| self.text(message, due, size)).collect();
                self.member.say(texts).await?;
            } else if own == self.total || timeout(PATIENCE, self.tally.wait_for_block(all + 1)).await.is_err() {
                return Ok(self);
            }
        }
    }

    /// Messages of its own that came back, and all that came, of which those of a room's other publishers are a part.
    fn came_back(&self) -> (u64, u64) {
        let mut state = self.subscriber.lock();
        let check = state.check();
        let (mut own, mut all) = (0, 0);
        for (room, speakers) in &self.rooms {
            for speaker in speakers {
                // Of as many as there can be, all but these came.
                let seen = u64::MAX - check.missing(*room, *speaker, u64::MAX);
                all += seen;
                own += if *speaker == self.number { seen } else { 0 };
            }
        }
        (own, all)
    }

    /// Its messages go to its rooms in turn.
    fn text(&self, message: u64, due: u64, size: usize) -> Option<(Room, String)> {
        let rooms = self.rooms.len() as u64;
        let (room, _) = *self.rooms.get(usize::try_from(message % rooms).ok()?).as_ref()?;
        let stamp = Stamp { room: *room, publisher: self.number, nth: message / rooms, due };
        Some((*room, stamp.text(size)))
    }

    /// Counts what never came back. From now on it is no fault if the stream ends.
    pub fn leave(&self) {
        let published = self.total / self.rooms.len() as u64;
        for (room, speakers) in &self.rooms {
            self.subscriber.count_missing(*room, self.number, published);
            self.subscriber.count_foreign(*room, speakers, published);
        }
        self.subscriber.leave();
    }
}

/// How many messages may be handed over.
#[derive(Debug)]
struct Window {
    size: u64,
    total: u64,
    handed_over: u64,
    acknowledged: u64,
}

impl Window {
    /// The messages that may be handed over now, and with this are.
    fn take(&mut self) -> Range<u64> {
        let end = (self.acknowledged + self.size).min(self.total);
        let free = self.handed_over..end;
        self.handed_over = end;
        free
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use tokio::{
        sync::mpsc,
        task::{JoinSet, yield_now},
    };

    use super::*;

    #[test]
    fn a_window_is_divided_without_a_rest() {
        assert_eq!(shares(512, 8).collect::<Vec<_>>(), [64; 8]);
        assert_eq!(shares(7, 3).collect::<Vec<_>>(), [3, 2, 2]);
        assert_eq!(shares(1, 1).collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn no_more_is_on_its_way_than_the_window_and_nothing_is_left_out() {
        let mut window = Window { size: 4, total: 10, handed_over: 0, acknowledged: 0 };
        let mut take = |acknowledged| {
            window.acknowledged = acknowledged;
            window.take()
        };
        assert_eq!([take(0), take(0), take(1), take(4), take(9), take(10)], [0..4, 4..4, 4..5, 5..8, 8..10, 10..10]);
    }

    /// Gives back what is said, one message after the other, and fails if more than this was on its way at once.
    #[derive(Clone, Copy)]
    struct Echo {
        most: u64,
        /// Somebody else speaks in the same room.
        others: bool,
    }

    struct Voice {
        sender: mpsc::Sender<(Room, String)>,
        _echoing: JoinSet<()>,
    }

    #[async_trait]
    impl Connection for Echo {
        async fn join(&self, _: &[Room], subscriber: Subscriber) -> Result<Box<dyn Member>> {
            let (sender, mut said) = mpsc::channel::<(Room, String)>(1_024);
            let (Self { most, others }, mut echoing) = (*self, JoinSet::new());
            echoing.spawn(async move {
                while let Some((_, text)) = said.recv().await {
                    yield_now().await;
                    let mut subscriber = subscriber.lock();
                    if said.len() as u64 >= most {
                        subscriber.unexpected("too many at once");
                    }
                    subscriber.delivery(None, text.as_bytes());
                    if others {
                        let other = Stamp { publisher: 1, ..Stamp::of(text.as_bytes()).unwrap() };
                        subscriber.delivery(None, other.text(0).as_bytes());
                    }
                    subscriber.settle();
                }
            });
            Ok(Box::new(Voice { sender, _echoing: echoing }))
        }
    }

    #[async_trait]
    impl Member for Voice {
        async fn say(&mut self, texts: Vec<(Room, String)>) -> Result<()> {
            for text in texts {
                self.sender.send(text).await?;
            }
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_publisher_ends_when_all_of_its_own_came_back() {
        for (rooms, publishers, window) in [(1, 2, 1), (1, 2, 8), (6, 2, 5)] {
            let layout = Layout { rooms, subscribers: 0, rooms_per_stream: 1, connections: 0, publishers };
            let echo = Echo { most: window, others: rooms == 1 };
            let publisher = Publisher::join(&echo, &layout, 0, 100, window).await.unwrap();
            let publisher = publisher.publish(100, ProgressBar::hidden()).await.unwrap();
            publisher.leave();
            publisher.tally.verdict().unwrap();
            assert_eq!(publisher.came_back().0, publisher.total);
        }
    }
}
