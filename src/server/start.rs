//! The composition: names the concrete parts and wires them.

use std::{path::PathBuf, sync::Arc, time::Duration};

use axum::middleware::from_fn_with_state;
use tempfile::TempDir;
use tower::ServiceBuilder;

use super::{
    Error, Server, health,
    listening::listen,
    routes::routes,
    settings,
    supervisor::{Phase, Supervisor},
};
use crate::{
    auth::{self, Auth},
    config::{AuthMode, Config},
    engine::{Engine, embedded},
    hub,
    limit::{self, RateLimits},
    metrics::Metrics,
    net,
    rooms::Rooms,
    rpc::{self, StreamLimit},
    types::Time,
    users,
};

/// Starts a server, which listens when this returns. Binds the address first, so that a wrong one fails before anything else is done.
// Long: the one place that lists all parts, and the order in which they are wired.
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
    #[cfg(test)]
    let embedded = Arc::clone(&engine);
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
    let follow = health::follow_log(Arc::clone(&engine), health.clone(), tasks.drain.clone());
    let patience = Duration::from_secs(config.limits.slow_reader_seconds);
    let reap = reap(tasks.clone(), patience, auth, Arc::clone(&metrics));

    let mut supervisor = Supervisor::new();
    supervisor.watch_engine(Arc::clone(&engine));
    supervisor.watch("hub", Phase::Draining, hub_task);
    supervisor.watch("follower of the users' feed", Phase::Closing, users_task);
    supervisor.watch("accept loop", Phase::Draining, tokio::spawn(accept));
    supervisor.watch("health reporter", Phase::Draining, tokio::spawn(follow));
    supervisor.watch("stream reaper", Phase::Draining, tokio::spawn(reap));
    for (actor, task) in auth_tasks {
        supervisor.watch(actor, Phase::Draining, task);
    }
    if let Some(tls) = tls.clone() {
        let watch = tls.watch(Duration::from_secs(config.tls.reload_seconds), tasks.drain.clone());
        supervisor.watch("TLS file watcher", Phase::Draining, tokio::spawn(watch));
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
        #[cfg(test)]
        embedded,
        metrics,
        supervisor,
        _temporary: temporary,
    })
}

/// Ends streams whose clients do not read, and streams whose tokens are no longer valid. Runs until the drain has ended all streams.
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

fn data_folder(config: &Config) -> Result<(PathBuf, Option<TempDir>), Error> {
    if config.data.as_os_str() != ":memory:" {
        return Ok((config.data.clone(), None));
    }
    let folder = tempfile::Builder::new().prefix("rialto-").tempdir().map_err(Error::Temporary)?;
    Ok((folder.path().to_owned(), Some(folder)))
}
