//! JetStream, as a log that is published to: who says something is told alone when it is kept, and nothing is delivered.

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

/// For an acknowledgement.
const PATIENCE: Duration = Duration::from_secs(20);

/// Acknowledgements of one publisher that may be awaited.
const AWAITED: usize = 1 << 16;

/// The stream that every room is in.
const STREAM: &str = "rialto-load";

/// A NATS server with JetStream. One that ran already keeps the stream.
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
        let client = connecting.with_context(|| format!("no connection to {}", self.address))?;
        let context = ContextBuilder::new().timeout(PATIENCE).max_ack_inflight(AWAITED).build(client);
        let config = Config {
            name: STREAM.to_owned(),
            // A room's name is one part of a subject. (Those of the API have several.)
            subjects: vec!["*".to_owned()],
            storage: StorageType::File,
            num_replicas: 1,
            ..Config::default()
        };
        context.get_or_create_stream(config).await.context("no stream")?;
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
                    Ok(kept) => {
                        let mut subscriber = subscriber.lock();
                        subscriber.delivery(Some(kept.sequence), text.as_bytes());
                        if kept.duplicate {
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
    async fn say(&mut self, texts: Vec<(Room, String)>) -> Result<()> {
        for (room, text) in texts {
            let acknowledgement = self.context.publish(rialto::name(room), text.clone().into()).await?;
            let awaited = self.awaited.send((acknowledgement, text)).await;
            awaited.map_err(|_| anyhow!("nobody awaits acknowledgements"))?;
        }
        Ok(())
    }
}
