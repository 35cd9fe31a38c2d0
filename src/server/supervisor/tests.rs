use std::{future::Future, time::Duration};

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Code, Request, Status, Streaming,
    transport::{Channel, Endpoint},
};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::*;
use crate::{
    config::{Auth, AuthMode, Config, Tls},
    proto::user::{ChatMessage, chat_message::Event, user_service_client::UserServiceClient},
    server::{self, Server},
};

async fn soon<F: Future>(what: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(30), what).await.expect("a wait of 30 seconds is over")
}

impl Supervisor {
    /// Ends an actor as if it had returned.
    pub(in crate::server) fn abort(&self, actor: &str) {
        self.actors.iter().filter(|(name, _)| *name == actor).for_each(|(_, task)| task.abort());
    }

    fn names(&self) -> Vec<&'static str> {
        self.actors.iter().map(|(name, _)| *name).collect()
    }
}

async fn panic_in_task() {
    panic!("the ring is empty");
}

#[tokio::test]
async fn a_panic_is_a_failure_in_every_phase() {
    for phase in [Phase::Serving, Phase::Draining, Phase::Closing] {
        let mut supervisor = Supervisor::new();
        supervisor.enter(phase);
        supervisor.watch("hub", Phase::Draining, tokio::spawn(panic_in_task()));
        let failure = soon(supervisor.failed()).await;
        assert_eq!(failure.to_string(), "the hub panicked: the ring is empty");
        assert_eq!(supervisor.outcome(), Err(failure));
    }
}

#[tokio::test]
async fn an_actor_may_end_only_from_its_phase_on() {
    let phases = [Phase::Serving, Phase::Draining, Phase::Closing];
    for (until, now) in phases.into_iter().flat_map(|until| phases.map(|now| (until, now))) {
        let mut supervisor = Supervisor::new();
        supervisor.enter(now);
        supervisor.watch("hub", until, tokio::spawn(async {}));
        soon(supervisor.wait()).await;
        let expected = if now < until { Err(ActorFailure::EndedEarly { actor: "hub" }) } else { Ok(()) };
        assert_eq!(supervisor.outcome(), expected, "until {until:?}, now {now:?}");
    }
}

#[tokio::test]
async fn a_panic_is_reported_rather_than_the_early_ends_that_it_causes() {
    let mut supervisor = Supervisor::new();
    supervisor.watch("hub", Phase::Draining, tokio::spawn(async {}));
    assert_eq!(soon(supervisor.failed()).await, ActorFailure::EndedEarly { actor: "hub" });
    supervisor.watch("log writer", Phase::Closing, tokio::spawn(panic_in_task()));
    supervisor.watch("accept loop", Phase::Draining, tokio::spawn(async {}));
    soon(supervisor.wait()).await;
    assert!(matches!(supervisor.outcome(), Err(ActorFailure::Panicked { actor: "log writer", .. })));
}

fn config(folder: &tempfile::TempDir) -> Config {
    Config { listen: "127.0.0.1:0".parse().unwrap(), data: folder.path().into(), ..Config::default() }
}

/// A Chat stream in a room and a health watch, opened while the server was serving.
struct Clients {
    chat: Streaming<ChatMessage>,
    health: Streaming<HealthCheckResponse>,
    _sender: mpsc::Sender<ChatMessage>,
}

impl Clients {
    async fn connect(server: &Server) -> Self {
        let channel: Channel =
            Endpoint::from_shared(format!("http://{}", server.address())).unwrap().connect().await.unwrap();
        let (sender, messages) = mpsc::channel(1);
        let mut request = Request::new(ReceiverStream::new(messages));
        request.metadata_mut().insert("rialto-rooms", "den".parse().unwrap());
        let chat = UserServiceClient::new(channel.clone()).chat(request).await.unwrap().into_inner();
        let watch = HealthClient::new(channel).watch(HealthCheckRequest::default()).await;
        let mut health = watch.unwrap().into_inner();
        assert_eq!(health.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
        Self { chat, health, _sender: sender }
    }

    /// Reads both streams to their ends: the health must have turned, and the chat must not have ended with OK.
    async fn see_the_end(mut self) -> Status {
        let last = soon(self.health.message()).await.unwrap().expect("a last status before the end");
        assert_eq!(last.status(), ServingStatus::NotServing);
        loop {
            match soon(self.chat.message()).await {
                Ok(Some(message)) => assert!(matches!(message.event, Some(Event::Draining(_)))),
                Ok(None) => panic!("the stream ended with OK"),
                Err(status) => return status,
            }
        }
    }
}

/// What `rialto serve` does after its start: see `cli::serve`.
async fn run(mut server: Server) -> Result<(), ActorFailure> {
    server.failed().await;
    server.shutdown().await
}

#[tokio::test]
async fn an_actor_that_ends_early_turns_health_off_ends_the_streams_and_shuts_the_server_down() {
    let folder = tempfile::tempdir().unwrap();
    let server = server::start(&config(&folder)).await.unwrap();
    let actors = server.supervisor.names();
    assert_eq!(actors, ["hub", "follower of the users' feed", "accept loop", "health reporter", "stream reaper"]);
    soon(server.shutdown()).await.unwrap();
    for actor in actors {
        let server = server::start(&config(&folder)).await.unwrap();
        let clients = Clients::connect(&server).await;
        server.end_actor(actor);
        let running = tokio::spawn(run(server));
        assert_eq!(clients.see_the_end().await.code(), Code::Unavailable, "{actor}");
        assert_eq!(soon(running).await.unwrap(), Err(ActorFailure::EndedEarly { actor }));
    }
}

#[tokio::test]
async fn a_panic_of_the_log_writer_turns_health_off_ends_the_streams_and_shuts_the_server_down() {
    let folder = tempfile::tempdir().unwrap();
    let server = server::start(&config(&folder)).await.unwrap();
    let clients = Clients::connect(&server).await;
    server.embedded.panic_writer().await;
    let running = tokio::spawn(run(server));
    assert_eq!(clients.see_the_end().await.code(), Code::Unavailable);
    let Err(ActorFailure::Panicked { actor, .. }) = soon(running).await.unwrap() else { panic!("no panic reported") };
    assert_eq!(actor, "log writer");
}

#[tokio::test]
async fn the_actors_that_only_some_settings_start_are_watched_too() {
    let folder = tempfile::tempdir().unwrap();
    let names = vec!["localhost".to_owned()];
    let rcgen::CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(names).unwrap();
    let tls = Tls { cert: folder.path().join("cert.pem"), key: folder.path().join("key.pem"), ..Default::default() };
    std::fs::write(&tls.cert, cert.pem()).unwrap();
    std::fs::write(&tls.key, signing_key.serialize_pem()).unwrap();
    let issuer = crate::config::Issuer {
        issuer: "other".into(),
        jwks_url: "http://127.0.0.1:1/keys".into(),
        ..Default::default()
    };
    let auth = Auth { mode: AuthMode::Token, issuers: vec![issuer], ..Default::default() };
    let config = Config { auth, tls, ..config(&folder) };
    for actor in ["key fetcher", "session purge", "TLS file watcher"] {
        let server = server::start(&config).await.unwrap();
        assert!(server.supervisor.names().contains(&actor), "{:?}", server.supervisor.names());
        server.end_actor(actor);
        assert_eq!(soon(run(server)).await, Err(ActorFailure::EndedEarly { actor }));
    }
}
