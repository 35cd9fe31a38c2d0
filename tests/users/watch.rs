//! WatchUsers: every user once, then every change. However slowly a watcher reads, it ends up with the true state.

use std::collections::BTreeMap;

use rialto::proto::user::{ChatMessage, GetUserRequest, Join, ListUsersRequest, State, User, chat_message::Event};
use tokio::{sync::watch, task::JoinSet};
use tokio_stream::iter;
use tonic::{Code, Status, Streaming};

use super::{all, create, create_many, delete, new, roles, update};
use crate::support::{
    Client, Hub,
    raw::{Call, Raw},
    soon,
    wire::Refusal,
};

const LIST_USERS: &str = "/user.UserService/ListUsers";

fn watching() -> ListUsersRequest {
    ListUsersRequest { watch: true, ..ListUsersRequest::default() }
}

/// Starts a watch; it is active when this returns.
async fn watch(client: &mut Client) -> Result<Streaming<User>, Status> {
    Ok(soon(client.list_users(watching())).await?.into_inner())
}

async fn next(stream: &mut Streaming<User>) -> User {
    soon(stream.message()).await.unwrap().expect("the watch ended too early")
}

async fn take(stream: &mut Streaming<User>, count: usize) -> Vec<User> {
    let mut users = Vec::new();
    while users.len() < count {
        users.push(next(stream).await);
    }
    users
}

/// A watcher that reads only when the test does.
async fn watch_unread(raw: &mut Raw) -> Call {
    let mut call = raw.call(LIST_USERS, None).await;
    call.request.say(&watching()).await;
    call.request.half_close();
    call.response.opened().await;
    call
}

/// An address of about 250 bytes, so that some hundred users fill the windows and buffers of a stream.
fn long_email(name: &str) -> String {
    let label = "d".repeat(59);
    format!("{name:0>60}@{label}.{label}.{label}.com")
}

/// Far more than the windows and buffers of a stream, about 64 KiB each.
const FULL: usize = 2_000;

async fn create_long(client: &mut Client, prefix: &str, count: usize) -> Vec<User> {
    let names = (0..count).map(|n| format!("{prefix}{n}"));
    let requests: Vec<_> = names.map(|name| new(&name, &long_email(&name), "")).collect();
    soon(client.create_users(iter(requests))).await.unwrap().into_inner().users
}

fn gone(user: &User, revision: u64) -> User {
    User { id: user.id.clone(), revision, state: State::Deleted.into(), ..User::default() }
}

#[tokio::test]
async fn a_watcher_gets_all_users_in_id_order_and_then_every_change() {
    let hub = Hub::start().await;
    let (mut client, mut other) = (hub.client().await, hub.client().await);
    let everybody = create_many(&mut client, 600).await;
    let mut stream = watch(&mut client).await.unwrap();
    assert_eq!(take(&mut stream, 600).await, everybody);

    let ada = create(&mut other, "ada").await.unwrap();
    assert_eq!(next(&mut stream).await, ada);
    update(&mut other, &ada.id, |_| {}).await.unwrap();
    let updated = update(&mut other, &everybody[7].id, |it| it.roles = roles(&["a", "b"])).await.unwrap();
    assert_eq!(next(&mut stream).await, updated, "and nothing for what changed nothing");
    delete(&mut other, &everybody[7].id).await.unwrap();
    assert_eq!(next(&mut stream).await, gone(&updated, 3));
    delete(&mut other, &ada.id).await.unwrap();
    assert_eq!(next(&mut stream).await, gone(&ada, 2));
}

#[tokio::test]
async fn a_watch_of_an_empty_store_begins_at_once_and_waits() {
    let hub = Hub::start().await;
    let mut client = hub.client().await;
    let mut stream = watch(&mut client).await.unwrap();
    let ada = create(&mut client, "ada").await.unwrap();
    assert_eq!(next(&mut stream).await, ada);
}

/// The state that a watcher has built.
#[derive(Default)]
struct Seen {
    /// Every user ever reported.
    revisions: BTreeMap<String, u64>,
    content: BTreeMap<String, User>,
    messages: usize,
}

impl Seen {
    fn hear(&mut self, user: User) {
        self.messages += 1;
        if let Some(before) = self.revisions.insert(user.id.clone(), user.revision) {
            assert!(before < user.revision, "from revision {before} to {user:?}");
            assert!(self.content.contains_key(&user.id), "told of after its deletion: {user:?}");
        }
        match user.state() {
            State::Active => _ = self.content.insert(user.id.clone(), user),
            State::Deleted => {
                assert_eq!(user, gone(&user, user.revision));
                self.content.remove(&user.id);
            }
        }
    }
}

/// Reads a watch until its state matches the final one.
async fn follow(
    mut stream: Streaming<User>,
    mut truth: watch::Receiver<Option<BTreeMap<String, User>>>,
) -> (Streaming<User>, Seen) {
    let mut seen = Seen::default();
    while truth.borrow().as_ref() != Some(&seen.content) {
        tokio::select! {
            user = stream.message() => seen.hear(user.unwrap().expect("the watch ended too early")),
            Ok(()) = truth.changed() => {}
        }
    }
    (stream, seen)
}

/// Creates, changes and deletes users as fast as the server answers; returns the number of changes.
async fn churn(mut client: Client, name: String, mut mine: Vec<User>, rounds: watch::Sender<usize>) -> usize {
    let mut changes = 0;
    for round in 0..100 {
        let name = format!("{name}-{round}");
        let created = client.create_user(new(&name, &long_email(&name), "")).await.unwrap().into_inner();
        mine.push(created);
        for step in [1, 7, 13, 29, 31, 37] {
            let id = &mine[round * step % mine.len()].id;
            update(&mut client, id, |it| it.roles = roles(&[&format!("r{round}"), &format!("s{step}")])).await.unwrap();
        }
        changes += 7;
        if round % 3 == 0 {
            let last = mine.swap_remove(round * 5 % mine.len());
            delete(&mut client, &last.id).await.unwrap();
            changes += 1;
        }
        rounds.send_modify(|rounds| *rounds += 1);
    }
    changes
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_watchers_converge_on_the_store_while_everything_changes() {
    const USERS: usize = 600;
    const WRITERS: usize = 4;
    let hub = Hub::start().await;
    let mut client = hub.client().await;
    let everybody = create_long(&mut client, "user", USERS).await;
    let (tell, truth) = watch::channel(None);
    let rounds = watch::Sender::new(0);

    // Forty-five that keep reading and five that do not; half of them start in the middle.
    let mut readers = JoinSet::new();
    let mut unread = Vec::new();
    let mut raw = Raw::connect(hub.address()).await;
    for _ in 0..20 {
        readers.spawn(follow(watch(&mut hub.client().await).await.unwrap(), truth.clone()));
    }
    for _ in 0..3 {
        unread.push(watch_unread(&mut raw).await);
    }
    let mut writers = JoinSet::new();
    for (n, mine) in everybody.chunks(USERS / WRITERS).enumerate() {
        writers.spawn(churn(hub.client().await, format!("new{n}"), mine.to_vec(), rounds.clone()));
    }
    for n in 0..25 {
        soon(rounds.subscribe().wait_for(|rounds| *rounds >= n * 15)).await.unwrap();
        readers.spawn(follow(watch(&mut hub.client().await).await.unwrap(), truth.clone()));
        if n % 10 == 5 {
            unread.push(watch_unread(&mut raw).await);
        }
    }
    let changes: usize = soon(writers.join_all()).await.into_iter().sum();

    let mut truth: BTreeMap<_, _> = all(&mut client).await.into_iter().map(|user| (user.id.clone(), user)).collect();
    tell.send_replace(Some(truth.clone()));
    let mut readers = soon(readers.join_all()).await;
    let mut late = Vec::new();
    for mut call in unread {
        let mut seen = Seen::default();
        while seen.content != truth {
            seen.hear(call.response.read().await.unwrap().expect("the watch ended too early"));
        }
        assert!(seen.messages < USERS + changes, "what waited was merged: {} of {changes}", seen.messages);
        late.push((call, seen));
    }
    assert_eq!((readers.len(), late.len()), (45, 5));

    // None of them receives anything else.
    let last = update(&mut client, truth.keys().next().unwrap(), |it| it.roles = roles(&["last"])).await.unwrap();
    truth.insert(last.id.clone(), last.clone());
    for (stream, seen) in &mut readers {
        while seen.content[&last.id] != last {
            seen.hear(next(stream).await);
        }
        assert_eq!(seen.content, truth);
    }
    for (call, seen) in &mut late {
        while seen.content[&last.id] != last {
            seen.hear(call.response.read().await.unwrap().expect("the watch ended too early"));
        }
        assert_eq!(seen.content, truth);
    }
}

#[tokio::test]
async fn a_watcher_too_far_behind_is_ended_and_may_watch_again() {
    const ROUNDS: usize = 10;
    const ROUND: usize = FULL / 5;
    let hub = Hub::start_with(|config| config.users.max_waiting_changes = FULL / 2).await;
    let mut client = hub.client().await;
    let mut raw = Raw::connect(hub.address()).await;
    let mut unread = watch_unread(&mut raw).await;
    let mut stream = watch(&mut client).await.unwrap();
    for round in 0..ROUNDS {
        let created = create_long(&mut client, &format!("u{round}-"), ROUND).await;
        assert_eq!(take(&mut stream, ROUND).await, created, "whoever reads along is sent everything");
    }
    let end = unread.response.end().await.unwrap();
    assert_eq!(Refusal::of(&end), Refusal::new(Code::ResourceExhausted, "SLOW_WATCHER").retry());
    assert!(end.message().contains("list anew"), "{end:?}");

    let mut anew = watch(&mut client).await.unwrap();
    assert_eq!(take(&mut anew, ROUNDS * ROUND).await, all(&mut client).await);
}

#[tokio::test]
async fn watchers_above_the_limit_are_refused_until_one_ends() {
    let hub = Hub::start_with(|config| config.users.max_watchers = 1).await;
    let mut client = hub.client().await;
    let everybody = create_long(&mut client, "user", FULL).await;
    let refused = Refusal::new(Code::ResourceExhausted, "TOO_MANY_WATCHERS").retry();

    let idle = watch(&mut client).await.unwrap();
    assert_eq!(Refusal::of(&watch(&mut client).await.unwrap_err()), refused);
    assert_eq!(all(&mut client).await, everybody, "a list without watch takes no place");
    drop(idle);
    hub.counts_become(|counts| counts.streams == 0).await;

    let mut raw = Raw::connect(hub.address()).await;
    let unread = watch_unread(&mut raw).await;
    assert_eq!(Refusal::of(&watch(&mut client).await.unwrap_err()), refused);
    drop(unread);
    hub.counts_become(|counts| counts.streams == 0).await;

    let _unread = watch_unread(&mut raw).await;
    raw.hang_up().await;
    hub.counts_become(|counts| counts.streams == 0).await;
    assert_eq!(next(&mut watch(&mut client).await.unwrap()).await, everybody[0]);
}

#[tokio::test]
async fn a_drain_ends_watches_at_once() {
    let hub = Hub::start().await;
    let mut client = hub.client().await;
    let mut nobody = watch(&mut client).await.unwrap();
    let ada = create(&mut client, "ada").await.unwrap();
    let mut stream = watch(&mut client).await.unwrap();
    assert_eq!((next(&mut nobody).await, next(&mut stream).await), (ada.clone(), ada));
    hub.shutdown().await;
    for mut stream in [nobody, stream] {
        let end = soon(stream.message()).await.unwrap_err();
        assert_eq!(Refusal::of(&end), Refusal::new(Code::Unavailable, "DRAINING").retry());
    }
}

/// The user, with `online` as it is while a stream carries its id or none does.
async fn becomes(stream: &mut Streaming<User>, user: &User, online: bool) {
    let expected = User { online, ..user.clone() };
    assert_eq!(next(stream).await, expected, "the same revision: nothing else has changed");
}

#[tokio::test]
async fn a_user_is_online_while_some_stream_carries_its_id() {
    let hub = Hub::start().await;
    let mut client = hub.client().await;
    let ada = create(&mut client, "ada").await.unwrap();
    let mut watcher = watch(&mut client).await.unwrap();
    becomes(&mut watcher, &ada, false).await;

    let (first, second) = (hub.chat("").await, hub.chat("").await);
    for (chat, room) in [(&first, "den"), (&second, "attic")] {
        let event = Some(Event::Join(Join::default()));
        chat.send(ChatMessage { room: room.into(), user_id: ada.id.clone(), event, ..ChatMessage::default() }).await;
    }
    becomes(&mut watcher, &ada, true).await;
    hub.counts_become(|counts| counts.members == 2).await;
    let request = GetUserRequest { id: ada.id.clone(), ..GetUserRequest::default() };
    assert!(client.get_user(request.clone()).await.unwrap().into_inner().online);
    assert!(all(&mut client).await[0].online);

    drop(first);
    hub.counts_become(|counts| counts.members == 1).await;
    assert!(client.get_user(request.clone()).await.unwrap().into_inner().online, "the other one is still there");
    drop(second);
    becomes(&mut watcher, &ada, false).await;
    assert!(!client.get_user(request).await.unwrap().into_inner().online);
}
