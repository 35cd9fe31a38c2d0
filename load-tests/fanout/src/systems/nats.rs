//! Core NATS: one subject per room, nothing is stored.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use async_nats::{Client, ConnectOptions, Event};
use async_trait::async_trait;
use futures_util::{StreamExt, stream::select_all};
use tokio::task::JoinSet;

use super::{Connection, Member, System, rialto};
use crate::{stamp::Room, subscriber::Subscriber};

/// Capacity of a subscription in messages. The client discards messages beyond it; only a stalled subscriber reaches it.
const WAITING: usize = 1 << 20;

/// Messages to process at a time.
const TOGETHER: usize = 256;

/// A NATS server.
#[derive(Debug)]
pub struct Nats {
    /// `host:port`.
    pub address: String,
}

/// A connection to a NATS server.
#[derive(Debug)]
struct Link {
    client: Client,
    subscribers: Subscribers,
}

/// All subscribers on a connection, which share its fate.
#[derive(Debug, Clone, Default)]
struct Subscribers(Arc<Mutex<Vec<Subscriber>>>);

/// A member: its subscriptions, and the client to publish with.
#[derive(Debug)]
struct Subscribed {
    client: Client,
    _reading: JoinSet<()>,
}

#[async_trait]
impl System for Nats {
    async fn connect(&self) -> Result<Box<dyn Connection>> {
        let subscribers = Subscribers::default();
        let on_event = subscribers.clone();
        let options = options().event_callback(move |event| {
            let on_event = on_event.clone();
            async move { on_event.record(&event) }
        });
        let client =
            options.connect(&self.address).await.with_context(|| format!("cannot connect to {}", self.address))?;
        Ok(Box::new(Link { client, subscribers }))
    }
}

/// The options of every connection to a NATS server.
pub fn options() -> ConnectOptions {
    // The subjects are valid. A lost connection loses messages, so reconnecting would not help.
    ConnectOptions::new().subscription_capacity(WAITING).skip_subject_validation(true).max_reconnects(1)
}

impl Subscribers {
    /// Records an event as a violation: after most of them the client continues, although messages are missing.
    fn record(&self, event: &Event) {
        let subscribers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Disconnected => subscribers.iter().for_each(|subscriber| subscriber.ended("disconnected")),
            Event::SlowConsumer(_) | Event::ServerError(_) | Event::ClientError(_) => {
                // Recorded once: the event does not name the affected subscriber.
                subscribers.iter().take(1).for_each(|subscriber| subscriber.lock().unexpected(&event.to_string()));
            }
            Event::Connected | Event::LameDuckMode | Event::Draining | Event::Closed => {}
        }
    }

    fn add(&self, subscriber: Subscriber) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(subscriber);
    }
}

#[async_trait]
impl Connection for Link {
    async fn join(&self, rooms: &[Room], subscriber: Subscriber) -> Result<Box<dyn Member>> {
        let mut subscriptions = Vec::with_capacity(rooms.len());
        for room in rooms {
            subscriptions.push(self.client.subscribe(rialto::name(*room)).await?);
        }
        self.subscribers.add(subscriber.clone());
        round_trip(&self.client).await?;
        let mut reading = JoinSet::new();
        reading.spawn(async move {
            let mut ready = select_all(subscriptions).ready_chunks(TOGETHER);
            while let Some(messages) = ready.next().await {
                let mut subscriber = subscriber.lock();
                // Core NATS has no sequence numbers.
                messages.iter().for_each(|message| subscriber.delivery(None, &message.payload));
                subscriber.settle();
            }
            subscriber.ended("the connection was closed");
        });
        Ok(Box::new(Subscribed { client: self.client.clone(), _reading: reading }))
    }
}

/// Waits until the server has processed everything sent before: it processes a connection's messages in order, so a message to ourselves
/// comes back last.
async fn round_trip(client: &Client) -> Result<()> {
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await?;
    client.publish(inbox, Vec::new().into()).await?;
    answers.next().await.context("the connection was closed")?;
    Ok(())
}

#[async_trait]
impl Member for Subscribed {
    async fn publish(&mut self, texts: Vec<(Room, String)>) -> Result<()> {
        for (room, text) in texts {
            self.client.publish(rialto::name(room), text.into()).await?;
        }
        Ok(())
    }
}
