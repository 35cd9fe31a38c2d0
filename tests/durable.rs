//! D2: acknowledged means durable, whatever happens to the process.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use rialto::{
    config::Limit,
    engine::{Engine, Log, Retention, embedded},
    proto::user::{ChatMessage, CreateUserRequest, GetUserRequest, ListUsersRequest, chat_message::Event},
    types::RoomName,
};

use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_types::StatusExt;

use crate::support::{Chat, Client, Hub, client, keyed, process::Process, rejected, soon, wire::connection};

/// The messages of a room in the log, read through the engine after the server has ended.
async fn log(folder: &Path, room: &str) -> Vec<(u64, String)> {
    let settings = embedded::Settings {
        folder: folder.to_owned(),
        queue_drafts: 1,
        queue_bytes: 1,
        feed_groups: 1,
        page_bytes: 1 << 20,
        file_bytes: 0,
        rooms: 1,
        rooms_per_user: 0,
        users: 100,
        readers: std::num::NonZeroUsize::MIN,
        retention: Retention::default(),
    };
    let (engine, _feeds) = embedded::open(&settings, Arc::default()).unwrap();
    let (mut records, mut after) = (Vec::new(), 0);
    loop {
        let page = engine.read(&RoomName::new(room).unwrap(), after, 1000).await.unwrap();
        let Some(last) = page.records.last() else { break };
        after = last.seq;
        records.extend(page.records.into_iter().map(|record| (record.seq, record.text)));
    }
    engine.close().await;
    records
}

async fn usernames(client: &mut Client) -> Vec<String> {
    let mut list = client.list_users(ListUsersRequest::default()).await.unwrap().into_inner();
    let mut names = Vec::new();
    while let Some(user) = soon(list.message()).await.unwrap() {
        names.push(user.username);
    }
    names
}

async fn create(client: &mut Client, username: &str) {
    let request = CreateUserRequest { username: username.into(), ..CreateUserRequest::default() };
    client.create_user(request).await.unwrap();
}

#[tokio::test]
async fn a_restart_keeps_users_and_messages() {
    let hub = Hub::start().await;
    create(&mut hub.client().await, "ada").await;
    let mut chat = hub.chat("den").await;
    for n in 0..10 {
        chat.say("den", "ada", &n.to_string()).await;
    }
    let before = chat.take(10).await;
    drop(chat);

    let hub = Hub::start_in(hub.shutdown().await, |_| {}).await;
    assert_eq!(usernames(&mut hub.client().await).await, ["ada"]);
    let mut chat = hub.chat("den").await;
    chat.say("den", "ada", "after").await;
    assert!(chat.next().await.seq > before[9].seq, "seq never goes back");
    drop(chat);

    let folder = hub.shutdown().await;
    let kept = log(folder.path(), "den").await;
    let mut said: Vec<_> = before.into_iter().map(|message| (message.seq, message.text)).collect();
    said.push((11, "after".into()));
    assert_eq!(kept, said);
}

/// Publishes until the server dies; returns the acknowledged messages.
async fn talk_until_death(address: String, name: usize) -> Vec<ChatMessage> {
    let chat = Chat::open(&mut client(&address).await, Some("den")).await.unwrap();
    let (sender, mut receiver) = chat.split();
    let send = async {
        for n in 0.. {
            let message = keyed("den", &format!("user{name}"), &n.to_string(), &format!("{name}:{n}"));
            if sender.send(message).await.is_err() {
                return;
            }
        }
    };
    let receive = async {
        let mut own = Vec::new();
        while let Ok(Some(message)) = soon(receiver.message()).await {
            if message.user_id == format!("user{name}") {
                own.push(message);
            }
        }
        own
    };
    tokio::select! {
        own = receive => own,
        () = async { send.await; std::future::pending().await } => unreachable!(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d2_every_acknowledged_message_survives_a_kill_exactly_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged: BTreeMap<u64, String> = BTreeMap::new();
    for round in 0..3 {
        let server = Process::serve(folder.path()).await;
        create(&mut client(server.address()).await, &format!("ada{round}")).await;
        let mut talks = tokio::task::JoinSet::new();
        for name in 0..4 {
            talks.spawn(talk_until_death(server.address().to_owned(), 10 * round + name));
        }
        // At a random moment once messages flow.
        let mut witness = Chat::open(&mut client(server.address()).await, Some("den")).await.unwrap();
        witness.take(200).await;
        server.kill().await;
        while let Some(own) = talks.join_next().await {
            for message in own.unwrap() {
                let before = acknowledged.insert(message.seq, message.text);
                assert_eq!(before, None, "no seq is given twice, not even by another life of the server");
            }
        }
    }
    assert!(acknowledged.len() >= 300, "the test said something: {}", acknowledged.len());

    // The client's view: a message published again gets its first seq.
    let server = Process::serve(folder.path()).await;
    let mut client = client(server.address()).await;
    assert_eq!(usernames(&mut client).await, ["ada0", "ada1", "ada2"]);
    let mut chat = Chat::open(&mut client, Some("den")).await.unwrap();
    for (seq, text) in acknowledged.iter().step_by(50) {
        let (name, n) = text.split_once(':').unwrap();
        chat.send(keyed("den", &format!("user{name}"), n, "again")).await;
        let answer = chat.next().await;
        assert!(matches!(answer.event, Some(Event::Duplicate(_))), "{answer:?}");
        assert_eq!(answer.seq, *seq);
    }
    drop(chat);
    assert!(server.terminate().await.success());

    // The log's view: every acknowledged message, once.
    let kept = log(folder.path(), "den").await;
    let by_seq: BTreeMap<u64, String> = kept.iter().cloned().collect();
    assert_eq!(by_seq.len(), kept.len());
    let lost: Vec<_> = acknowledged.iter().filter(|(seq, text)| by_seq.get(seq) != Some(text)).collect();
    assert!(lost.is_empty(), "acknowledged, but not in the log: {lost:?}");
    let distinct: std::collections::BTreeSet<_> = kept.iter().map(|(_, text)| text).collect();
    assert_eq!(distinct.len(), kept.len(), "no message twice");
}

#[tokio::test]
async fn a_second_server_on_the_same_data_refuses_to_start() {
    let hub = Hub::start().await;
    let config = rialto::config::Config {
        listen: "127.0.0.1:0".parse().unwrap(),
        data: hub.folder().into(),
        ..rialto::config::Config::default()
    };
    let refused = rialto::server::start(&config).await.unwrap_err().to_string();
    assert!(refused.contains("in use by another server"), "{refused}");
}

#[tokio::test]
async fn data_in_memory_is_forgotten() {
    let hub = Hub::start_with(|config| config.data = ":memory:".into()).await;
    create(&mut hub.client().await, "ada").await;
    let hub = Hub::start_in(hub.shutdown().await, |config| config.data = ":memory:".into()).await;
    assert!(usernames(&mut hub.client().await).await.is_empty());
}

#[tokio::test]
async fn a_full_disk_refuses_writes_and_accepts_them_again_when_there_is_space() {
    let hub = Hub::start_with(|config| config.storage.max_file_bytes = Limit(256 * 1024)).await;
    let mut chat = hub.chat("den").await;
    let mut kept = 0;
    let refused = loop {
        chat.say("den", "ada", &"x".repeat(4000)).await;
        let answer = chat.next().await;
        if answer.event.is_some() {
            break answer;
        }
        kept += 1;
    };
    let rejection = rejected(&refused);
    assert_eq!((rejection.code, rejection.reason.as_str()), (Code::ResourceExhausted.into(), "DISK_FULL"));
    assert!(rejection.retry_after.is_some());
    assert!(kept > 10, "there was space for some: {kept}");
    let request = GetUserRequest { username: "nobody".into(), ..GetUserRequest::default() };
    let read = hub.client().await.get_user(request).await.unwrap_err();
    assert_eq!(read.code(), Code::NotFound, "reads go on");
    drop(chat);

    let hub = Hub::start_in(hub.shutdown().await, |_| {}).await;
    let mut chat = hub.chat("den").await;
    chat.say("den", "ada", "there is space again").await;
    assert_eq!(chat.next().await.seq, kept + 1, "what was refused took no seq");
    drop(chat);
    assert_eq!(log(hub.shutdown().await.path(), "den").await.len() as u64, kept + 1);
}

#[tokio::test]
async fn after_a_failed_commit_nothing_is_acknowledged_until_a_restart() {
    let hub = Hub::start().await;
    let mut chat = hub.chat("den").await;
    chat.say("den", "ada", "before").await;
    chat.next().await;
    drop(chat);
    let folder = hub.shutdown().await;
    // SQLite fails this write for a reason that is neither a full disk nor a lock, so what the file contains is unknown.
    let file = rusqlite::Connection::open(folder.path().join("rialto.db")).unwrap();
    file.execute_batch(
        "CREATE TRIGGER fail BEFORE INSERT ON messages WHEN NEW.text = 'poison' BEGIN SELECT RAISE(ABORT, 'broken'); END",
    )
    .unwrap();
    drop(file);

    let hub = Hub::start_in(folder, |_| {}).await;
    let mut other = hub.chat("den").await;
    let mut chat = hub.chat("den").await;
    let mut health = HealthClient::new(connection(hub.address()).await);
    let mut watch = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(soon(watch.message()).await.unwrap().unwrap().status(), ServingStatus::Serving);
    chat.say("den", "ada", "poison").await;
    // OK would mean that every message was answered.
    chat.half_close();
    let status = chat.rest().await.1.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "the outcome is unknown, so the stream ends");
    assert_eq!(status.get_error_details().error_info().unwrap().reason, "LOG_STOPPED");

    assert_eq!(soon(watch.message()).await.unwrap().unwrap().status(), ServingStatus::NotServing);

    other.say("den", "bob", "after").await;
    let answer = other.next().await;
    assert_eq!(rejected(&answer).reason, "LOG_STOPPED", "this one is certainly not in the log");
    let mut client = hub.client().await;
    let create = CreateUserRequest { username: "ada".into(), ..CreateUserRequest::default() };
    assert_eq!(client.create_user(create).await.unwrap_err().code(), Code::Unavailable);
    assert!(usernames(&mut client).await.is_empty(), "reads go on");
    drop((chat, other));

    let folder = hub.shutdown().await;
    assert_eq!(log(folder.path(), "den").await, [(1, "before".into())]);
}
