//! Core NATS: a subject a room, and nothing is kept.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use async_nats::{Client, ConnectOptions, Event};
use async_trait::async_trait;
use futures_util::{StreamExt, stream::select_all};
use tokio::task::JoinSet;

use super::{Connection, Member, System, rialto};
use crate::{stamp::Room, subscriber::Subscriber};

/// Messages that may wait in a subscription. The client throws away what is beyond it; so many only a subscriber that has stopped lets wait.
const WAITING: usize = 1 << 20;

/// Messages that are taken in one go.
const TOGETHER: usize = 256;

/// A NATS server.
#[derive(Debug)]
pub struct Nats {
    /// `host:port`.
    pub address: String,
}

/// A connection to it.
#[derive(Debug)]
struct Link {
    client: Client,
    subscribers: Subscribers,
}

/// Everyone on a connection: what befalls it, befalls them.
#[derive(Debug, Clone, Default)]
struct Subscribers(Arc<Mutex<Vec<Subscriber>>>);

/// Subscriptions, and the way to publish.
#[derive(Debug)]
struct Voice {
    client: Client,
    _reading: JoinSet<()>,
}

#[async_trait]
impl System for Nats {
    async fn connect(&self) -> Result<Box<dyn Connection>> {
        let subscribers = Subscribers::default();
        let heard = subscribers.clone();
        let options = options().event_callback(move |event| {
            let heard = heard.clone();
            async move { heard.hear(&event) }
        });
        let client =
            options.connect(&self.address).await.with_context(|| format!("no connection to {}", self.address))?;
        Ok(Box::new(Link { client, subscribers }))
    }
}

/// What every connection to a NATS server has.
pub fn options() -> ConnectOptions {
    // The names are known to be good. A connection that is lost loses messages: coming back does not mend that.
    ConnectOptions::new().subscription_capacity(WAITING).skip_subject_validation(true).max_reconnects(1)
}

impl Subscribers {
    /// The client goes on after most of these, as if nothing were missing.
    fn hear(&self, event: &Event) {
        let subscribers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Disconnected => subscribers.iter().for_each(|subscriber| subscriber.ended("disconnected")),
            Event::SlowConsumer(_) | Event::ServerError(_) | Event::ClientError(_) => {
                // One of them says it: of the others nobody knows whom it struck.
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
                // Nobody numbers these messages.
                messages.iter().for_each(|message| subscriber.delivery(None, &message.payload));
                subscriber.settle();
            }
            subscriber.ended("the connection was closed");
        });
        Ok(Box::new(Voice { client: self.client.clone(), _reading: reading }))
    }
}

/// The server takes what comes on a connection one after the other: when a message to ourselves is back, it has seen everything before it.
async fn round_trip(client: &Client) -> Result<()> {
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await?;
    client.publish(inbox, Vec::new().into()).await?;
    answers.next().await.context("the connection was closed")?;
    Ok(())
}

#[async_trait]
impl Member for Voice {
    async fn say(&mut self, texts: Vec<(Room, String)>) -> Result<()> {
        for (room, text) in texts {
            self.client.publish(rialto::name(room), text.into()).await?;
        }
        Ok(())
    }
}
