//! The composition: the only place that names concrete parts, wires them, and takes them down again.

mod settings;

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use axum::middleware::from_fn_with_state;
use tempfile::TempDir;
use tokio::{
    net::{TcpListener, TcpSocket},
    task::JoinHandle,
    time::timeout,
};
use tonic::service::Routes;
use tonic_health::{ServingStatus, pb::health_server::HealthServer, server::HealthReporter};
use tonic_reflection::server::{v1, v1alpha};
use tower::ServiceBuilder;

use crate::{
    auth::{self, Auth},
    config::{self, AuthMode, Config},
    engine::{self, Engine, embedded},
    hub,
    limit::{self, RateLimits},
    metrics::Metrics,
    net, proto,
    rooms::Rooms,
    rpc::{self, StreamLimit},
    types::Time,
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
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] net::TlsError),
    /// There is no folder for `:memory:`.
    #[error("no temporary folder can be made: {0}")]
    Temporary(io::Error),
    /// The data folder cannot be used.
    #[error(transparent)]
    Open(#[from] embedded::OpenError),
    /// The users cannot be read.
    #[error("the users cannot be read: {0}")]
    Load(#[from] engine::Error),
    /// There can be no tokens.
    #[error(transparent)]
    Auth(#[from] auth::StartError),
    /// The table of methods does not match the descriptors.
    #[error(transparent)]
    Methods(#[from] rpc::MethodsError),
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
    streams: StreamLimit,
    tasks: net::Tasks,
    tls: Option<net::Tls>,
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

/// Starts a server: it listens when this returns. It binds first, so that a wrong address is told before anything else is done.
pub async fn start(config: &Config) -> Result<Server, Error> {
    config.check()?;
    rpc::check_methods()?;
    let failed = |cause| Error::Listen { address: config.listen, cause };
    let listener = listen(config.listen).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let tls = settings::tls(config).as_ref().map(net::Tls::load).transpose()?;

    let metrics = Arc::<Metrics>::default();
    let (folder, temporary) = data_folder(config)?;
    let (engine, feeds) = embedded::open(&settings::embedded(config, folder.clone()), Arc::clone(&metrics))?;
    let engine: Arc<dyn Engine> = engine;
    let (hub, hub_task) = hub::start(&settings::hub(config), engine.clone(), feeds.rooms, Arc::clone(&metrics));
    let users = users::start(config.users.clone(), engine.clone(), feeds.users, Arc::clone(&metrics));
    let (users, users_task) = users.await?;

    let tasks = net::Tasks::default();
    let limits = if config.auth.is_required() { RateLimits::new(&config.rates) } else { RateLimits::unlimited() };
    let auth_settings = settings::auth(config, &folder);
    let auth::Started { auth, sessions, tasks: auth_tasks } =
        auth::start(&auth_settings, engine.clone(), users.clone(), &tasks.drain)?;

    let streams = StreamLimit::new(config.limits.max_streams, config.limits.max_streams_per_caller);
    let parts = rpc::ChatParts {
        rooms_per_stream: config.rooms.max_rooms_per_stream,
        hub: hub.clone(),
        rooms: Rooms::new(engine.clone(), engine.clone(), hub.clone()),
        streams: streams.clone(),
        auth: auth.clone(),
        limits: limits.clone(),
        draining: tasks.drain.clone(),
    };
    let (health, routes) = routes(config, parts, users, sessions).await?;
    let is_open = config.auth.mode == AuthMode::Open;
    let admission = rpc::Admission {
        streams: tasks.streams.clone(),
        max_streams: config.limits.max_streams,
        local_names_only: is_open && config.listen.ip().is_loopback() && !config.insecure,
    };
    let limit = limit::Layer { limits, refuse: rpc::refuse };
    let identify = auth::Layer { auth: auth.clone(), access: rpc::access, refuse: rpc::refuse };
    let unfinished = rpc::Unfinished::new(config.limits.max_incomplete_bytes);
    let service = ServiceBuilder::new()
        // Ends calls at their deadline, with their token, and when they are not read.
        .layer(rpc::EndingLayer)
        // Tells the half-close of a request from a reset.
        .map_request(move |request| {
            rpc::HalfClose::wrap(rpc::keep_plain(request), unfinished.clone()).map(axum::body::Body::new)
        })
        // Refuses what is not gRPC, or comes from where it must not.
        .layer(from_fn_with_state(admission, rpc::admit))
        // Limits the rate of calls by address.
        .layer(from_fn_with_state(limit.clone(), limit::by_address))
        // Authenticates the caller. No inner layer sees a token.
        .layer(from_fn_with_state(identify, auth::identify))
        // Limits the rate of calls by caller.
        .layer(from_fn_with_state(limit, limit::by_caller))
        // Adds details to the statuses that tonic makes.
        .map_response(rpc::with_details_in_response)
        .service(routes);
    let accept = net::serve(
        listener,
        service,
        config.http.clone(),
        tls.clone(),
        Duration::from_secs(config.tls.handshake_seconds),
        tasks.clone(),
    );
    let tell = tell_when_stopped(Arc::clone(&engine), health.clone());
    let patience = Duration::from_secs(config.limits.slow_reader_seconds);
    let reap = reap(tasks.clone(), patience, auth, Arc::clone(&metrics));
    let mut actors = vec![tokio::spawn(accept), tokio::spawn(tell), tokio::spawn(reap), hub_task, users_task];
    actors.extend(auth_tasks);
    if let Some(tls) = tls.clone() {
        actors.push(tokio::spawn(tls.watch(Duration::from_secs(config.tls.reload_seconds), tasks.drain.clone())));
    }

    Ok(Server {
        address,
        drain_within: Duration::from_secs(config.drain_seconds),
        health,
        hub,
        streams,
        tasks,
        tls,
        engine,
        metrics,
        actors,
        _temporary: temporary,
    })
}

/// Connections that may wait to be accepted. The system's own limit may be lower. When it is reached, clients try again after a second.
const BACKLOG: u32 = 4096;

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A restart need not wait for the connections of before to be forgotten. (Windows means something else by it.)
    #[cfg(not(windows))]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Ends streams whose clients do not read or have no pass any more, for as long as there may be streams.
async fn reap(tasks: net::Tasks, patience: Duration, auth: Auth, metrics: Arc<Metrics>) {
    let ended = async {
        tasks.drain.cancelled().await;
        tasks.streams.wait().await;
    };
    tokio::select! {
        () = tasks.requests.watch(patience, |pass| auth.judge(pass, Time::now().seconds()), &metrics) => {}
        () = ended => {}
    }
}

/// A log that takes no more writes is no longer serving; balancers go elsewhere.
async fn tell_when_stopped(engine: Arc<dyn Engine>, health: HealthReporter) {
    engine.stopped().await;
    for service in rpc::health_services() {
        health.set_service_status(service, ServingStatus::NotServing).await;
    }
}

/// Every service on the main port.
async fn routes(
    config: &Config,
    chat: rpc::ChatParts,
    users: users::Users,
    sessions: Option<auth::Sessions>,
) -> Result<(HealthReporter, axum::Router), Error> {
    let settings = &config.limits;
    let (health, health_service) = tonic_health::server::health_reporter();
    for service in rpc::health_services() {
        health.set_service_status(service, ServingStatus::Serving).await;
    }
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let (reflection_v1, reflection_v1alpha) = (reflection().build_v1()?, reflection().build_v1alpha()?);
    let most = rpc::SMALL_FRAME.min(settings.max_frame_bytes);
    let routes = Routes::new(rpc::users(users, &chat, settings))
        .add_service(rpc::auth(sessions, &chat, settings))
        .add_service(rpc::rooms(&chat, settings))
        .add_service(
            rpc::with_encodings(health_service, HealthServer::accept_compressed).max_decoding_message_size(most),
        )
        .add_service(
            rpc::with_encodings(reflection_v1, v1::ServerReflectionServer::accept_compressed)
                .max_decoding_message_size(most),
        )
        .add_service(
            rpc::with_encodings(reflection_v1alpha, v1alpha::ServerReflectionServer::accept_compressed)
                .max_decoding_message_size(most),
        )
        .into_axum_router()
        // The router prefers the longer path: these go to their own services, every other method to the generated ones.
        .route_service(rpc::CHAT, rpc::chat(chat.clone(), settings))
        .route_service(rpc::SUBSCRIBE, rpc::subscribe(chat, settings));
    Ok((health, routes))
}

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
            chats: self.streams.open_streams(),
            rooms,
            members,
            ring_bytes,
        }
    }

    /// Looks at the files of its certificate now, for the connections to come. What comes of it stands in the log.
    pub fn reload(&self) {
        if let Some(tls) = &self.tls {
            tls.reload();
        }
    }

    /// Ends it within the deadline: no new connections or streams, what was accepted is committed and delivered, then streams end. What
    /// has not ended at three quarters of the deadline is dropped.
    pub async fn shutdown(mut self) {
        tracing::info!(within = ?self.drain_within, "draining");
        for service in rpc::health_services() {
            self.health.set_service_status(service, ServingStatus::NotServing).await;
            // Ends the watches.
            self.health.clear_service_status(service).await;
        }
        self.tasks.connections.close();
        self.tasks.streams.close();
        self.tasks.drain.cancel();
        self.tasks.connections.drain();
        self.tasks.requests.drain();

        let (most, some) = (self.drain_within.mul_f32(0.75), self.drain_within.mul_f32(0.125));
        let drained = async {
            // What was accepted goes its way: to the log, through the hub, which ends behind it, and out of the streams, which end then.
            self.engine.seal().await;
            self.ended().await;
        };
        if timeout(most, drained).await.is_err() {
            tracing::warn!(streams = self.tasks.streams.len(), "the drain takes too long: resetting what is left");
            self.tasks.requests.abort();
            if timeout(some, self.ended()).await.is_err() {
                self.tasks.connections.abort();
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
        self.tasks.requests.abort();
        self.tasks.connections.abort();
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
