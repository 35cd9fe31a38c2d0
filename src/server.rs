//! The composition: the only place that names concrete parts, wires them, and takes them down again.

use std::{io, net::SocketAddr, num::NonZeroU64, path::PathBuf, sync::Arc, time::Duration};

use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinHandle, time::timeout};
use tonic::service::Routes;
use tonic_health::{ServingStatus, server::HealthReporter};
use tower::ServiceBuilder;

use crate::{
    config::{self, Config, Retained},
    engine::{self, Engine, Limits, Retention, RoomName, embedded},
    hub,
    metrics::Metrics,
    net, proto,
    rpc::{self, Streams},
    users,
};

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The settings make no sense.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {cause}")]
    Listen {
        /// Which address.
        address: SocketAddr,
        /// What the system said.
        cause: io::Error,
    },
    /// There is no folder for `:memory:`.
    #[error("no temporary folder can be made: {0}")]
    Temporary(io::Error),
    /// The data folder cannot be used.
    #[error(transparent)]
    Open(#[from] embedded::OpenError),
    /// The users cannot be read.
    #[error("the users cannot be read: {0}")]
    Load(#[from] engine::Error),
    /// The definitions for reflection do not parse.
    #[error("reflection is not available: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    drain_within: Duration,
    health: HealthReporter,
    hub: hub::Handle,
    chats: Streams,
    tasks: net::Tasks,
    engine: Arc<dyn Engine>,
    metrics: Arc<Metrics>,
    /// What ends by itself: the accept loop when it is told to drain, the hub when the engine is sealed, the rest when it is closed.
    actors: Vec<JoinHandle<()>>,
    _temporary: Option<TempDir>,
}

/// What a server holds now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections.
    pub connections: usize,
    /// Tasks of streams, of every method.
    pub streams: usize,
    /// Chat streams.
    pub chats: usize,
    /// Rooms that somebody is in.
    pub rooms: usize,
    /// Members of rooms.
    pub members: usize,
    /// Bytes that the rings of all rooms keep.
    pub ring_bytes: usize,
}

/// Says what of the settings makes no sense to the parts of the server, beyond what `config` knows by itself.
pub fn check(config: &Config) -> Result<(), config::Error> {
    retention(config).map(drop)
}

/// Starts a server: it listens when this returns. It binds first, so that a wrong address is told before anything else is done.
pub async fn start(config: &Config) -> Result<Server, Error> {
    let failed = |cause| Error::Listen { address: config.listen, cause };
    let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;

    let metrics = Arc::<Metrics>::default();
    let (folder, temporary) = data_folder(config)?;
    let (engine, feeds) = embedded::open(&embedded_settings(config, folder)?, Arc::clone(&metrics))?;
    let engine: Arc<dyn Engine> = engine;
    let (hub, hub_task) = hub::start(&hub_settings(config), Arc::clone(&engine), feeds.rooms);
    let (users, users_task) = users::start(users_settings(config), Arc::clone(&engine), feeds.users).await?;

    let chats = Streams::new(config.max_streams);
    let tasks = net::Tasks::default();
    let parts = rpc::ChatParts { hub: hub.clone(), streams: chats.clone(), draining: tasks.drain.clone() };
    let (health, routes) = routes(config, parts, users).await?;
    let door = rpc::Door { local_names_only: config.listen.ip().is_loopback() && !config.insecure };
    let service = ServiceBuilder::new()
        // The end of a request is a half-close, or an error.
        .map_request(|request| rpc::HalfClose::wrap(request).map(axum::body::Body::new))
        // Only gRPC, only from where it may come, and only as long as the client waits.
        .layer(axum::middleware::from_fn_with_state(door, rpc::door))
        // One status for a frame above the limit.
        .map_response(rpc::rename_oversize)
        .service(routes);
    let accept = tokio::spawn(net::serve(listener, service, net_settings(config), tasks.clone()));
    let watch = tokio::spawn(tell_when_stopped(Arc::clone(&engine), health.clone()));

    Ok(Server {
        address,
        drain_within: Duration::from_secs(config.drain_seconds),
        health,
        hub,
        chats,
        tasks,
        engine,
        metrics,
        actors: vec![accept, watch, hub_task, users_task],
        _temporary: temporary,
    })
}

/// A log that takes no more writes is no longer serving; balancers go elsewhere.
async fn tell_when_stopped(engine: Arc<dyn Engine>, health: HealthReporter) {
    engine.stopped().await;
    for service in SERVICES {
        health.set_service_status(service, ServingStatus::NotServing).await;
    }
}

/// Every service on the main port.
async fn routes(
    config: &Config,
    chat: rpc::ChatParts,
    users: users::Users,
) -> Result<(HealthReporter, axum::Router), Error> {
    let settings = rpc_settings(config);
    let (health, health_service) = tonic_health::server::health_reporter();
    for service in SERVICES {
        health.set_service_status(service, ServingStatus::Serving).await;
    }
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let routes = Routes::new(rpc::users(users, chat.draining.clone(), &settings))
        .add_service(health_service)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?)
        .into_axum_router()
        // The router prefers the longer path: Chat goes to its own service, every other method to the generated one.
        .route_service(rpc::CHAT_PATH, rpc::chat(chat, &settings));
    Ok((health, routes))
}

/// What health is told of: the server as a whole, and its service.
const SERVICES: [&str; 2] = ["", "user.UserService"];

impl Server {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has counted since its start.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// What it holds now.
    pub async fn counts(&self) -> Counts {
        let hub::Counts { rooms, members, ring_bytes } = self.hub.counts().await.unwrap_or_default();
        Counts {
            connections: self.tasks.connections.len(),
            streams: self.tasks.streams.len(),
            chats: self.chats.count(),
            rooms,
            members,
            ring_bytes,
        }
    }

    /// Ends it within the deadline: no new connections or streams, what was accepted is committed and delivered, then streams end. What
    /// has not ended at three quarters of the deadline is dropped.
    pub async fn shutdown(mut self) {
        tracing::info!(within = ?self.drain_within, "draining");
        for service in SERVICES {
            self.health.set_service_status(service, ServingStatus::NotServing).await;
            // Ends the watches.
            self.health.clear_service_status(service).await;
        }
        self.tasks.connections.close();
        self.tasks.streams.close();
        self.tasks.drain.cancel();

        let (most, some) = (self.drain_within.mul_f32(0.75), self.drain_within.mul_f32(0.125));
        let drained = async {
            // What was accepted goes its way: to the log, through the hub, which ends behind it, and out of the streams, which end then.
            self.engine.seal().await;
            self.ended().await;
        };
        if timeout(most, drained).await.is_err() {
            tracing::warn!(streams = self.tasks.streams.len(), "the drain takes too long: resetting what is left");
            self.tasks.abort_streams.cancel();
            if timeout(some, self.ended()).await.is_err() {
                self.tasks.abort_connections.cancel();
            }
        }
        let actors = std::mem::take(&mut self.actors);
        let closed = async {
            self.engine.close().await;
            for actor in actors {
                if let Err(error) = actor.await {
                    tracing::error!(%error, "an actor failed");
                }
            }
        };
        match timeout(some, closed).await {
            Ok(()) => tracing::info!("ended"),
            Err(_) => tracing::error!("ended without the log, which does not answer"),
        }
    }

    /// All connections and streams have ended.
    async fn ended(&self) {
        self.tasks.connections.wait().await;
        self.tasks.streams.wait().await;
    }
}

impl Drop for Server {
    /// A server that is dropped without a shutdown leaves nothing running.
    fn drop(&mut self) {
        self.tasks.drain.cancel();
        self.tasks.abort_streams.cancel();
        self.tasks.abort_connections.cancel();
        self.actors.iter().for_each(JoinHandle::abort);
    }
}

fn data_folder(config: &Config) -> Result<(PathBuf, Option<TempDir>), Error> {
    if config.data.as_os_str() != ":memory:" {
        return Ok((config.data.clone(), None));
    }
    let folder = tempfile::Builder::new().prefix("rialto-").tempdir().map_err(Error::Temporary)?;
    Ok((folder.path().to_owned(), Some(folder)))
}

fn embedded_settings(config: &Config, folder: PathBuf) -> Result<embedded::Settings, config::Error> {
    Ok(embedded::Settings {
        folder,
        queue_drafts: config.max_queued_messages,
        queue_bytes: config.max_queued_bytes,
        feed_groups: config.max_queued_groups,
        page_bytes: config.max_page_bytes,
        file_bytes: config.max_file_bytes,
        rooms: config.max_rooms,
        readers: config.max_readers,
        retention: retention(config)?,
    })
}

fn retention(config: &Config) -> Result<Retention, config::Error> {
    let limits = |seconds, messages| Limits {
        age: (seconds > 0).then(|| Duration::from_secs(seconds)),
        messages: NonZeroU64::new(messages),
    };
    let rooms = config.retain_rooms.iter().map(|(name, Retained { seconds, messages })| {
        let named = RoomName::new(name).map_err(|bad| config::Error::Senseless {
            name: "retain_rooms",
            reason: format!("names the room {name:?}, but {bad}"),
        });
        Ok((named?, limits(*seconds, *messages)))
    });
    Ok(Retention {
        limits: limits(config.retain_seconds, config.retain_messages),
        rooms: rooms.collect::<Result<_, config::Error>>()?,
        interval: Duration::from_secs(config.retain_interval_seconds),
    })
}

fn hub_settings(config: &Config) -> hub::Settings {
    hub::Settings {
        ring_batches: config.max_ring_batches,
        ring_bytes: config.max_ring_bytes,
        inbox: config.max_queued_joins,
        open_rooms: config.max_open_rooms,
        memberships: config.max_memberships,
        rooms_per_stream: config.max_rooms_per_stream,
    }
}

fn users_settings(config: &Config) -> users::Settings {
    users::Settings {
        bulks: config.max_bulk_calls,
        bulk: config.max_users_per_call,
        bulk_passwords: config.max_passwords_per_call,
        concurrent_hashes: config.max_concurrent_hashes,
    }
}

fn rpc_settings(config: &Config) -> rpc::Settings {
    rpc::Settings {
        chat_frame_bytes: config.max_chat_frame_bytes,
        frame_bytes: config.max_frame_bytes,
        text_bytes: config.max_text_bytes,
        reply_bytes: config.max_reply_bytes,
        inflight_per_stream: config.max_inflight_per_stream,
        rooms_per_stream: config.max_rooms_per_stream,
    }
}

fn net_settings(config: &Config) -> net::Settings {
    net::Settings {
        connections: config.max_connections,
        first_bytes: Duration::from_secs(config.first_bytes_seconds),
        concurrent_streams: config.max_streams_per_connection,
        local_error_resets: config.max_local_error_resets,
        pending_accept_resets: config.max_pending_accept_resets,
        header_list_bytes: config.max_header_list_bytes,
        stream_window: config.stream_window_bytes,
        connection_window: config.connection_window_bytes,
        send_buffer: config.send_buffer_bytes,
        keepalive_interval: Duration::from_secs(config.keepalive_interval_seconds),
        keepalive_timeout: Duration::from_secs(config.keepalive_timeout_seconds),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rooms_keep_is_as_configured_and_0_is_without_limit() {
        let all = retention(&Config::default()).unwrap();
        assert_eq!(all, Retention::default());
        let rooms = [("all", 0, 0), ("hour", 3600, 0), ("ten", 0, 10)];
        let rooms = rooms.map(|(name, seconds, messages)| (name.to_owned(), Retained { seconds, messages }));
        let config = Config {
            retain_seconds: 60,
            retain_messages: 100,
            retain_rooms: rooms.into(),
            retain_interval_seconds: 3,
            ..Config::default()
        };
        let retention = retention(&config).unwrap();
        let kept = |room| {
            let Limits { age, messages } = retention.of(&RoomName::new(room).unwrap());
            (age.map_or(0, |age| age.as_secs()), messages.map_or(0, NonZeroU64::get))
        };
        assert_eq!(["all", "hour", "ten", "other"].map(kept), [(0, 0), (3600, 0), (0, 10), (60, 100)]);
        assert_eq!(retention.interval, Duration::from_secs(3));
    }
}
