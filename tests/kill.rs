//! D2 to D5 when the server is killed: clients that resume and republish lose nothing and get nothing twice.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use rialto::proto::{
    rialto::v1::{GetHistoryRequest, PublishRequest, chat_service_client::ChatServiceClient},
    user::{ChatMessage, chat_message::Event, user_service_client::UserServiceClient},
};
use tokio::{sync::watch, task::JoinSet, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request,
    transport::{Channel, Endpoint},
};

use crate::support::{
    keyed,
    process::Process,
    resuming::{Way, enter},
    rooms::after,
    size, soon,
};

const ROOMS: [&str; 3] = ["den", "attic", "cellar"];
const PUBLISHERS: usize = 8;
const SUBSCRIBERS: usize = 8;

/// Messages of one publisher that are not acknowledged yet.
const AHEAD: usize = 32;

/// What the clients know of the server.
#[derive(Clone)]
struct World {
    address: watch::Receiver<String>,
    /// Publishers send no new messages any more.
    enough: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    duplicates: Arc<AtomicU64>,
    resumes: Arc<AtomicU64>,
}

impl World {
    /// Connects to the running server, retrying until it succeeds.
    async fn connect(&mut self) -> Channel {
        loop {
            let address = self.address.borrow_and_update().clone();
            let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
            if let Ok(channel) = endpoint.connect().await {
                return channel;
            }
            // It was killed: the next one has another address.
            _ = timeout(Duration::from_millis(100), self.address.changed()).await;
        }
    }
}

/// A publisher and what it knows.
struct Publisher {
    world: World,
    name: String,
    room: &'static str,
    next: u64,
    unacknowledged: VecDeque<u64>,
    /// By message number.
    acknowledged: BTreeMap<u64, u64>,
}

impl Publisher {
    async fn run(mut self, nth: usize) -> Self {
        for life in nth.. {
            let channel = self.world.connect().await;
            match Way::of(life) {
                Way::Chat => self.chat(channel).await,
                Way::Subscribe => self.publish(channel).await,
            }
            if self.is_done() {
                break;
            }
        }
        self
    }

    fn is_done(&self) -> bool {
        self.world.enough.load(Ordering::Relaxed) && self.unacknowledged.is_empty()
    }

    /// The next new message.
    fn new_one(&mut self) -> Option<u64> {
        if self.unacknowledged.len() >= AHEAD || self.world.enough.load(Ordering::Relaxed) {
            return None;
        }
        let n = self.next;
        self.next += 1;
        self.unacknowledged.push_back(n);
        Some(n)
    }

    fn message(&self, n: u64) -> ChatMessage {
        keyed(self.room, &self.name, &n.to_string(), &text(&self.name, n))
    }

    fn acknowledge(&mut self, message: &ChatMessage, duplicate: bool) {
        let n: u64 = message.id.parse().unwrap();
        assert_eq!((message.room.as_str(), message.user_id.as_str()), (self.room, self.name.as_str()));
        if duplicate {
            self.world.duplicates.fetch_add(1, Ordering::Relaxed);
        } else {
            assert_eq!(message.text, text(&self.name, n));
        }
        let before = self.acknowledged.insert(n, message.seq);
        assert!(before.is_none_or(|seq| seq == message.seq), "{n} had {before:?}, and now {}", message.seq);
        if before.is_none() {
            self.world.acknowledged.fetch_add(1, Ordering::Relaxed);
        }
        self.unacknowledged.retain(|waiting| *waiting != n);
    }

    /// Runs one Chat stream to its end: republishes what was not acknowledged, then publishes new messages.
    async fn chat(&mut self, channel: Channel) {
        let (sender, messages) = tokio::sync::mpsc::channel(2 * AHEAD);
        for n in &self.unacknowledged {
            sender.try_send(self.message(*n)).unwrap();
        }
        let mut request = Request::new(ReceiverStream::new(messages));
        request.metadata_mut().insert("rialto-rooms", self.room.parse().unwrap());
        let Ok(answer) = UserServiceClient::new(channel).chat(request).await else { return };
        let mut receiver = answer.into_inner();
        while !self.is_done() {
            while let Some(n) = self.new_one() {
                // The channel holds every message that may be in flight, as long as the stream lives.
                if sender.try_send(self.message(n)).is_err() {
                    return;
                }
            }
            let Ok(Some(message)) = soon(receiver.message()).await else { return };
            match &message.event {
                None if message.user_id == self.name => self.acknowledge(&message, false),
                None => {}
                Some(Event::Duplicate(_)) => self.acknowledge(&message, true),
                Some(_) => panic!("{message:?}"),
            }
        }
    }

    /// The same by unary calls, several at once.
    async fn publish(&mut self, channel: Channel) {
        let client = ChatServiceClient::new(channel);
        let mut again: VecDeque<u64> = self.unacknowledged.clone();
        let mut calls = JoinSet::new();
        while !self.is_done() {
            while calls.len() < AHEAD
                && let Some(n) = again.pop_front().or_else(|| self.new_one())
            {
                let (mut client, message) = (client.clone(), Some(self.message(n)));
                calls.spawn(async move { client.publish(PublishRequest { message }).await });
            }
            let Some(answer) = soon(calls.join_next()).await else { return };
            let Ok(answer) = answer.unwrap() else { return };
            let answer = answer.into_inner();
            self.acknowledge(&answer.message.unwrap(), answer.duplicate);
        }
    }
}

fn text(name: &str, n: u64) -> String {
    format!("{name}:{n}")
}

/// A subscriber of all rooms and what it has received.
struct Subscriber {
    world: World,
    epoch: String,
    heard: BTreeMap<&'static str, Vec<(u64, String)>>,
    /// The heads of the rooms, once they are known.
    ends: watch::Receiver<Option<BTreeMap<&'static str, u64>>>,
}

impl Subscriber {
    async fn run(mut self, way: Way) -> Self {
        loop {
            let channel = self.world.connect().await;
            self.listen(&channel, way).await;
            if self.is_done() {
                return self;
            }
        }
    }

    fn last(&self, room: &str) -> u64 {
        self.heard.get(room).and_then(|heard| heard.last()).map_or(0, |(seq, _)| *seq)
    }

    fn is_done(&self) -> bool {
        self.ends.borrow().as_ref().is_some_and(|ends| ends.iter().all(|(room, end)| self.last(room) >= *end))
    }

    /// Runs one stream to its end.
    async fn listen(&mut self, channel: &Channel, way: Way) {
        let rooms = ROOMS.map(|room| (room.to_owned(), after(self.last(room), &self.epoch))).into();
        let Ok(Ok(mut stream)) = timeout(Duration::from_secs(30), enter(channel, way, rooms)).await else { return };
        while !self.is_done() {
            let message = tokio::select! {
                message = stream.receiver.message() => message,
                // It may have received everything already.
                Ok(()) = self.ends.changed() => continue,
            };
            let Ok(Some(message)) = message else { return };
            let room = ROOMS.into_iter().find(|room| *room == message.room).expect("a room of ours");
            match message.event {
                Some(Event::Joined(joined)) => {
                    assert!(joined.recovered, "nothing is ever missing: {joined:?}");
                    assert!(joined.head_seq >= self.last(room), "nobody was shown what a crash took back");
                    assert!(self.epoch.is_empty() || self.epoch == joined.epoch, "it is the same log: {joined:?}");
                    self.epoch = joined.epoch;
                    self.world.resumes.fetch_add(1, Ordering::Relaxed);
                }
                Some(event) => panic!("{event:?}"),
                None => {
                    let last = self.last(room);
                    assert!(message.seq > last, "{room}: {} after {last}", message.seq);
                    self.heard.entry(room).or_default().push((message.seq, message.text));
                }
            }
        }
    }
}

/// All messages of a room, as a client reads them.
async fn history(client: &mut ChatServiceClient<Channel>, room: &str) -> Vec<ChatMessage> {
    let mut messages: Vec<ChatMessage> = Vec::new();
    loop {
        let after_seq = Some(messages.last().map_or(0, |message| message.seq));
        let request = GetHistoryRequest { room: room.into(), after_seq, ..GetHistoryRequest::default() };
        let page = soon(client.get_history(request)).await.unwrap().into_inner();
        assert_eq!(page.gap, None);
        if page.messages.is_empty() {
            assert!(after_seq >= Some(page.head_seq), "the log ends at its head");
            return messages;
        }
        messages.extend(page.messages);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d2_d3_d4_d5_clients_that_resume_and_republish_through_kills_lose_nothing_and_get_nothing_twice() {
    let kills = size::kills();
    let patience = Duration::from_secs(60 + 5 * kills as u64);
    timeout(patience, kill(kills)).await.expect("this should have happened long ago");
}

async fn kill(kills: usize) {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Process::serve(folder.path()).await;
    let (addresses, address) = watch::channel(server.address().to_owned());
    let (tell_ends, ends) = watch::channel(None);
    let world = World {
        address,
        enough: Arc::default(),
        acknowledged: Arc::default(),
        duplicates: Arc::default(),
        resumes: Arc::default(),
    };
    let mut publishers = JoinSet::new();
    for nth in 0..PUBLISHERS {
        let publisher = Publisher {
            world: world.clone(),
            name: format!("user{nth}"),
            room: ROOMS[nth % ROOMS.len()],
            next: 0,
            unacknowledged: VecDeque::new(),
            acknowledged: BTreeMap::new(),
        };
        publishers.spawn(publisher.run(nth));
    }
    let mut subscribers = JoinSet::new();
    for nth in 0..SUBSCRIBERS {
        let (world, epoch) = (world.clone(), String::new());
        let subscriber = Subscriber { world, epoch, heard: BTreeMap::new(), ends: ends.clone() };
        subscribers.spawn(subscriber.run(Way::of(nth)));
    }

    for _ in 0..kills {
        // At any moment, counted in messages; also before the first.
        let goal = world.acknowledged.load(Ordering::Relaxed) + fastrand::u64(0..1_000);
        while world.acknowledged.load(Ordering::Relaxed) < goal {
            failed(&mut publishers, &mut subscribers);
            tokio::task::yield_now().await;
        }
        server.kill().await;
        server = Process::serve(folder.path()).await;
        addresses.send_replace(server.address().to_owned());
    }
    world.enough.store(true, Ordering::Relaxed);
    let mut acknowledged: BTreeMap<(String, String), u64> = BTreeMap::new();
    while let Some(publisher) = publishers.join_next().await {
        let Publisher { name, acknowledged: own, next, .. } = publisher.unwrap();
        assert_eq!(own.len() as u64, next, "{name} knows of all that it said");
        acknowledged.extend(own.into_iter().map(|(n, seq)| ((name.clone(), n.to_string()), seq)));
    }

    // The log's view: every acknowledged message once, under its seq, and nothing else.
    let mut client = ChatServiceClient::new(world.clone().connect().await);
    let mut log = BTreeMap::new();
    for room in ROOMS {
        log.insert(room, history(&mut client, room).await);
    }
    let mut kept = BTreeMap::new();
    for message in log.values().flatten() {
        assert_eq!(message.text, text(&message.user_id, message.id.parse().unwrap()));
        let before = kept.insert((message.user_id.clone(), message.id.clone()), message.seq);
        assert_eq!(before, None, "{message:?} is there twice");
    }
    assert!(kept == acknowledged, "{} are in the log, and {} were acknowledged", kept.len(), acknowledged.len());

    // The subscribers' view: every message once, in order.
    let ends = log.iter().map(|(room, log)| (*room, log.last().map_or(0, |message| message.seq))).collect();
    tell_ends.send_replace(Some(ends));
    while let Some(subscriber) = subscribers.join_next().await {
        let heard = subscriber.unwrap().heard;
        for (room, log) in &log {
            let log: Vec<_> = log.iter().map(|message| (message.seq, message.text.clone())).collect();
            assert!(heard[room] == log, "{room}: {} heard of {}", heard[room].len(), log.len());
        }
    }

    // And for good: a message published again gets its first seq.
    for ((user_id, id), seq) in acknowledged.iter().step_by(97) {
        let room = log.iter().find(|(_, log)| log.iter().any(|message| message.user_id == *user_id)).unwrap().0;
        let message = Some(keyed(room, user_id, id, "again"));
        let answer = soon(client.publish(PublishRequest { message })).await.unwrap().into_inner();
        assert!(answer.duplicate && answer.message.unwrap().seq == *seq);
    }
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    eprintln!(
        "kills: {kills}, messages acknowledged: {}, resumes: {}, duplicates answered: {}",
        acknowledged.len(),
        count(&world.resumes),
        count(&world.duplicates)
    );
    assert!(count(&world.resumes) >= ((kills + 1) * SUBSCRIBERS) as u64, "they did resume");
    assert!(server.terminate().await.success());
}

/// Panics with the failure of a task that has ended already.
fn failed(publishers: &mut JoinSet<Publisher>, subscribers: &mut JoinSet<Subscriber>) {
    if let Some(ended) = publishers.try_join_next() {
        panic!("{} ended too early", ended.unwrap().name);
    }
    if let Some(ended) = subscribers.try_join_next() {
        panic!("one ended too early, having heard {:?}", ended.unwrap().heard.len());
    }
}
