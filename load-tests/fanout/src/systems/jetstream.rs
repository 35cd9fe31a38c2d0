//! JetStream as a durable log: publishers receive acknowledgements, and nothing is delivered.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use async_nats::jetstream::{
    context::{Context, ContextBuilder, PublishAckFuture},
    stream::{Config, StorageType},
};
use async_trait::async_trait;
use tokio::{sync::mpsc, task::JoinSet};

use super::{Connection, Member, System, nats, rialto};
use crate::{stamp::Room, subscriber::Subscriber};

/// Time for an acknowledgement.
const PATIENCE: Duration = Duration::from_secs(20);

/// Maximum number of outstanding acknowledgements per publisher.
const AWAITED: usize = 1 << 16;

/// The stream of all rooms.
const STREAM: &str = "rialto-load";

/// A NATS server with JetStream. A server that was not started by this program keeps the stream afterwards.
#[derive(Debug)]
pub struct JetStream {
    /// `host:port`.
    pub address: String,
}

#[derive(Debug)]
struct Link(Context);

#[derive(Debug)]
struct Publisher {
    context: Context,
    awaited: mpsc::Sender<(PublishAckFuture, String)>,
    _awaiting: JoinSet<()>,
}

#[async_trait]
impl System for JetStream {
    async fn connect(&self) -> Result<Box<dyn Connection>> {
        let connecting = nats::options().connect(&self.address).await;
        let client = connecting.with_context(|| format!("cannot connect to {}", self.address))?;
        let context = ContextBuilder::new().timeout(PATIENCE).max_ack_inflight(AWAITED).build(client);
        let config = Config {
            name: STREAM.to_owned(),
            // The name of a room is a subject with one token; the subjects of NATS's API have several.
            subjects: vec!["*".to_owned()],
            storage: StorageType::File,
            num_replicas: 1,
            ..Config::default()
        };
        context.get_or_create_stream(config).await.context("cannot create the stream")?;
        Ok(Box::new(Link(context)))
    }
}

#[async_trait]
impl Connection for Link {
    async fn join(&self, _: &[Room], subscriber: Subscriber) -> Result<Box<dyn Member>> {
        let (awaited, mut acknowledgements) = mpsc::channel::<(PublishAckFuture, String)>(AWAITED);
        let mut awaiting = JoinSet::new();
        awaiting.spawn(async move {
            while let Some((acknowledgement, text)) = acknowledgements.recv().await {
                match acknowledgement.await {
                    Ok(stored) => {
                        let mut subscriber = subscriber.lock();
                        subscriber.delivery(Some(stored.sequence), text.as_bytes());
                        if stored.duplicate {
                            subscriber.unexpected("a duplicate");
                        }
                        subscriber.settle();
                    }
                    Err(error) => subscriber.lock().unexpected(&format!("{error:#}")),
                }
            }
        });
        Ok(Box::new(Publisher { context: self.0.clone(), awaited, _awaiting: awaiting }))
    }
}

#[async_trait]
impl Member for Publisher {
    async fn publish(&mut self, texts: Vec<(Room, String)>) -> Result<()> {
        for (room, text) in texts {
            let acknowledgement = self.context.publish(rialto::name(room), text.clone().into()).await?;
            let awaited = self.awaited.send((acknowledgement, text)).await;
            awaited.map_err(|_| anyhow!("the task that awaits acknowledgements has ended"))?;
        }
        Ok(())
    }
}
