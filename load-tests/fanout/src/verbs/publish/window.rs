//! A publisher with a window of messages in flight.

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

/// Time without an acknowledgement after which outstanding ones count as missing.
const PATIENCE: Duration = Duration::from_secs(20);

/// A publisher. Its own messages, delivered back to it, are its acknowledgements.
pub struct Publisher {
    /// Number of messages to publish.
    pub total: u64,
    /// The deliveries.
    pub tally: Arc<Tally>,
    number: u32,
    rooms: Vec<(Room, Vec<u32>)>,
    window: u64,
    subscriber: Subscriber,
    member: Box<dyn Member>,
}

/// Divides a window among this number of publishers, as evenly as possible.
pub fn shares(window: u32, among: u32) -> impl Iterator<Item = u64> {
    (0..among).map(move |number| u64::from(window / among + u32::from(number < window % among)))
}

impl Publisher {
    /// Joins as the publisher with this number. `share`: messages for each of its rooms.
    pub async fn join(
        connection: &dyn Connection,
        layout: &Layout,
        number: u32,
        share: u64,
        window: u64,
    ) -> Result<Self> {
        let rooms = layout.rooms_of(number);
        let with_publishers: Vec<_> = rooms.iter().map(|room| (*room, layout.publishers_of(*room))).collect();
        let total = share * rooms.len() as u64;
        // Blocks of one message: each acknowledgement lets another message be sent. Other publishers of its rooms count as well.
        let most: usize = with_publishers.iter().map(|(_, publishers)| publishers.len()).sum();
        let tally = Tally::new(1, share * most as u64)?;
        let subscriber = Subscriber::new(0, &rooms, &tally, 1);
        let member = connection.join(&rooms, subscriber.clone()).await?;
        Ok(Self { total, tally, number, rooms: with_publishers, window, subscriber, member })
    }

    /// Publishes all messages, and waits until they are acknowledged or no acknowledgement arrives any more.
    pub async fn publish(mut self, size: usize, progress: ProgressBar) -> Result<Self> {
        let mut window = Window { size: self.window, total: self.total, sent: 0, acknowledged: 0 };
        loop {
            let (own, all) = self.delivered();
            progress.inc(own - window.acknowledged);
            window.acknowledged = own;
            let free = window.take();
            if !free.is_empty() {
                let due = now();
                let texts = free.filter_map(|message| self.text(message, due, size)).collect();
                self.member.publish(texts).await?;
            } else if own == self.total || timeout(PATIENCE, self.tally.wait_for_block(all + 1)).await.is_err() {
                return Ok(self);
            }
        }
    }

    /// Number of its own messages that were delivered back, and of all deliveries.
    fn delivered(&self) -> (u64, u64) {
        let mut state = self.subscriber.lock();
        let check = state.check();
        let (mut own, mut all) = (0, 0);
        for (room, publishers) in &self.rooms {
            for publisher in publishers {
                // `missing` counts from an unlimited number of messages.
                let seen = u64::MAX - check.missing(*room, *publisher, u64::MAX);
                all += seen;
                own += if *publisher == self.number { seen } else { 0 };
            }
        }
        (own, all)
    }

    /// The room and text of a message. Rooms take turns.
    fn text(&self, message: u64, due: u64, size: usize) -> Option<(Room, String)> {
        let rooms = self.rooms.len() as u64;
        let (room, _) = *self.rooms.get(usize::try_from(message % rooms).ok()?).as_ref()?;
        let stamp = Stamp { room: *room, publisher: self.number, nth: message / rooms, due };
        Some((*room, stamp.text(size)))
    }

    /// Counts messages that were not acknowledged, and marks the end of the stream as expected.
    pub fn leave(&self) {
        let published = self.total / self.rooms.len() as u64;
        for (room, publishers) in &self.rooms {
            self.subscriber.count_missing(*room, self.number, published);
            self.subscriber.count_foreign(*room, publishers, published);
        }
        self.subscriber.leave();
    }
}

/// The flow control of a publisher.
#[derive(Debug)]
struct Window {
    size: u64,
    total: u64,
    sent: u64,
    acknowledged: u64,
}

impl Window {
    /// Takes the messages that may be sent now.
    fn take(&mut self) -> Range<u64> {
        let end = (self.acknowledged + self.size).min(self.total);
        let free = self.sent..end;
        self.sent = end;
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
    fn a_window_is_divided_without_remainder() {
        assert_eq!(shares(512, 8).collect::<Vec<_>>(), [64; 8]);
        assert_eq!(shares(7, 3).collect::<Vec<_>>(), [3, 2, 2]);
        assert_eq!(shares(1, 1).collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn the_window_bounds_messages_in_flight() {
        let mut window = Window { size: 4, total: 10, sent: 0, acknowledged: 0 };
        let mut take = |acknowledged| {
            window.acknowledged = acknowledged;
            window.take()
        };
        assert_eq!([take(0), take(0), take(1), take(4), take(9), take(10)], [0..4, 4..4, 4..5, 5..8, 8..10, 10..10]);
    }

    /// Delivers each message back, and reports a violation if more than `most` were in flight.
    #[derive(Clone, Copy)]
    struct Echo {
        most: u64,
        /// Another publisher is in the same room.
        others: bool,
    }

    struct EchoMember {
        sender: mpsc::Sender<(Room, String)>,
        _echoing: JoinSet<()>,
    }

    #[async_trait]
    impl Connection for Echo {
        async fn join(&self, _: &[Room], subscriber: Subscriber) -> Result<Box<dyn Member>> {
            let (sender, mut sent) = mpsc::channel::<(Room, String)>(1_024);
            let (Self { most, others }, mut echoing) = (*self, JoinSet::new());
            echoing.spawn(async move {
                while let Some((_, text)) = sent.recv().await {
                    yield_now().await;
                    let mut subscriber = subscriber.lock();
                    if sent.len() as u64 >= most {
                        subscriber.unexpected("too many in flight");
                    }
                    subscriber.delivery(None, text.as_bytes());
                    if others {
                        let other = Stamp { publisher: 1, ..Stamp::of(text.as_bytes()).unwrap() };
                        subscriber.delivery(None, other.text(0).as_bytes());
                    }
                    subscriber.settle();
                }
            });
            Ok(Box::new(EchoMember { sender, _echoing: echoing }))
        }
    }

    #[async_trait]
    impl Member for EchoMember {
        async fn publish(&mut self, texts: Vec<(Room, String)>) -> Result<()> {
            for text in texts {
                self.sender.send(text).await?;
            }
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_publisher_ends_when_all_its_messages_are_acknowledged() {
        for (rooms, publishers, window) in [(1, 2, 1), (1, 2, 8), (6, 2, 5)] {
            let layout = Layout { rooms, subscribers: 0, rooms_per_stream: 1, connections: 0, publishers };
            let echo = Echo { most: window, others: rooms == 1 };
            let publisher = Publisher::join(&echo, &layout, 0, 100, window).await.unwrap();
            let publisher = publisher.publish(100, ProgressBar::hidden()).await.unwrap();
            publisher.leave();
            publisher.tally.verdict().unwrap();
            assert_eq!(publisher.delivered().0, publisher.total);
        }
    }
}
