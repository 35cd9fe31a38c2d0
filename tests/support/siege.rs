//! What must hold under every attack: a bystander is served meanwhile, nothing changes, and memory stays bounded.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use rialto::proto::{
    rialto::v1::ListRoomsRequest,
    user::{CreateUserRequest, GetUserRequest, ListUsersRequest},
};
use tempfile::TempDir;
use tokio::{sync::watch, task::JoinHandle};

use super::{
    Chat,
    process::Process,
    soon,
    tokens::{self, By},
    wire::connection,
};

const MIB: u64 = 1024 * 1024;

/// Memory that the bystander needs: database pages, users, its connection.
const BYSTANDER: u64 = 6 * MIB;

/// A server in its own process, and a bystander that calls it continuously on its own connection.
pub struct Siege {
    pub server: Process,
    _folder: TempDir,
    /// The bystander's token, where the server requires one.
    token: Option<String>,
    /// Bytes of memory before the attack.
    before: Option<u64>,
    rounds: watch::Receiver<u64>,
    enough: watch::Sender<bool>,
    bystander: JoinHandle<Done>,
    was_served: bool,
}

/// What the bystander did; all of it must be found afterwards.
struct Done {
    usernames: Vec<String>,
    seq: u64,
    longest: Duration,
}

impl Siege {
    pub async fn begin() -> Self {
        Self::begin_with(&[]).await
    }

    /// Starts it with settings, as `NAME=VALUE`.
    pub async fn begin_with(settings: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = Process::serve_with(folder.path(), &args(settings)).await;
        Self::of(server, folder, None).await
    }

    /// The same on a server that requires tokens and has no rate limits.
    pub async fn begin_with_tokens(settings: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let uncounted =
            ["rates.calls_per_second_per_caller=0", "rates.calls_per_second_per_address=0", "auth.mode=token"];
        let server = Process::serve_with(folder.path(), &args(&[&uncounted, settings].concat())).await;
        let token = tokens::admin(folder.path());
        Self::of(server, folder, Some(token)).await
    }

    /// Starts it with a limit on open descriptors.
    pub async fn begin_with_descriptors(most: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = Process::serve_with_descriptors(most, folder.path(), &[]).await;
        Self::of(server, folder, None).await
    }

    async fn of(server: Process, folder: TempDir, token: Option<String>) -> Self {
        let (told, rounds) = watch::channel(0);
        let (enough, until) = watch::channel(false);
        let by = By::over(connection(server.address().parse().unwrap()).await, token.as_deref());
        let bystander = tokio::spawn(stand_by(by, token.is_none(), told, until));
        let mut siege =
            Self { server, _folder: folder, token, before: None, rounds, enough, bystander, was_served: false };
        siege.wait_for_round(8).await;
        siege.before = siege.server.memory();
        siege
    }

    /// Another connection of the bystander.
    pub async fn bystanders(&self) -> By {
        By::over(connection(self.address()).await, self.token.as_deref())
    }

    pub fn address(&self) -> SocketAddr {
        self.server.address().parse().unwrap()
    }

    /// Waits until the bystander has been served in a round that began after this call.
    pub async fn serves_others(&mut self) {
        // A round may be in progress.
        let round = *self.rounds.borrow() + 2;
        self.wait_for_round(round).await;
        self.was_served = true;
    }

    /// Repeats the attack until the bystander has been served during it.
    pub async fn repeat<T>(&mut self, mut attack: impl AsyncFnMut() -> T) -> Vec<T> {
        let round = *self.rounds.borrow() + 2;
        let mut outcomes = Vec::new();
        while *self.rounds.borrow() < round {
            assert!(!self.bystander.is_finished(), "the bystander gave up");
            outcomes.push(attack().await);
        }
        self.was_served = true;
        outcomes
    }

    async fn wait_for_round(&mut self, round: u64) {
        soon(self.rounds.wait_for(|done| *done >= round)).await.expect("the bystander gave up");
    }

    /// Stops the bystander.
    pub fn leave_alone(&self) {
        self.enough.send_replace(true);
    }

    /// The most bytes by which the process has grown, where the system reports it.
    pub fn grown(&self) -> Option<u64> {
        Some(self.server.peak_memory()?.saturating_sub(self.before?))
    }

    /// Asserts that the attack changed nothing and cost at most this much memory, beyond what the bystander needs.
    pub async fn withstood(self, attack: &str, most: u64) {
        self.withstood_but(attack, most, 0).await;
    }

    /// The same, but the attack may have created this many rooms.
    pub async fn withstood_but(self, attack: &str, most: u64, rooms: usize) {
        assert!(self.was_served, "nobody looked whether others are served");
        self.leave_alone();
        let grown = self.grown();
        let mut by = self.bystanders().await;
        let done = soon(self.bystander).await.unwrap();
        let mib = grown.unwrap_or_default() as f64 / MIB as f64;
        eprintln!("{attack}: the process grew by {mib:.1} MiB at most; others waited for {:?} at most", done.longest);

        assert_eq!(usernames(&mut by).await, done.usernames, "{attack}: nobody else came or went");
        let mut list = by.rooms.list_rooms(ListRoomsRequest::default()).await.unwrap().into_inner();
        let mut others = 0;
        while let Some(room) = soon(list.message()).await.unwrap() {
            match room.name.as_str() {
                ROOM => assert_eq!(room.head_seq, done.seq, "{attack}: nobody else spoke"),
                _ => others += 1,
            }
        }
        assert_eq!(others, rooms, "{attack}: rooms of others");
        assert!(grown.is_none_or(|grown| grown < most + BYSTANDER), "{attack}: {mib:.1} MiB are too much");
        self.server.kill().await;
    }
}

fn args<'a>(settings: &[&'a str]) -> Vec<&'a str> {
    settings.iter().flat_map(|setting| ["--set", *setting]).collect()
}

const ROOM: &str = "bystanders";

/// Repeatedly creates a user, reads it, publishes its name and receives the message.
async fn stand_by(mut by: By, is_anybody: bool, told: watch::Sender<u64>, mut until: watch::Receiver<bool>) -> Done {
    let mut chat = Chat::open_by(&mut by, ROOM).await.unwrap();
    let mut done = Done { usernames: Vec::new(), seq: 0, longest: Duration::ZERO };
    while !*until.borrow() {
        let began = Instant::now();
        let username = format!("bystander{}", done.usernames.len());
        let request = CreateUserRequest { username: username.clone(), ..CreateUserRequest::default() };
        let created = soon(by.users.create_user(request)).await.unwrap().into_inner();
        let request = GetUserRequest { id: created.id.clone(), ..GetUserRequest::default() };
        assert_eq!(soon(by.users.get_user(request)).await.unwrap().into_inner(), created);
        let name = if is_anybody { username.as_str() } else { "" };
        chat.say(ROOM, name, &username).await;
        let heard = chat.next().await;
        assert!(heard.text == username && (!is_anybody || heard.user_id == username), "{heard:?}");
        done.longest = done.longest.max(began.elapsed());
        done.seq = heard.seq;
        done.usernames.push(username);
        told.send_modify(|rounds| *rounds += 1);
        // Paced, so that the bystander is no attack itself.
        _ = tokio::time::timeout(Duration::from_millis(10), until.wait_for(|enough| *enough)).await;
    }
    done
}

async fn usernames(by: &mut By) -> Vec<String> {
    let mut list = soon(by.users.list_users(ListUsersRequest::default())).await.unwrap().into_inner();
    let mut names = Vec::new();
    while let Some(user) = soon(list.message()).await.unwrap() {
        names.push(user.username);
    }
    names
}
