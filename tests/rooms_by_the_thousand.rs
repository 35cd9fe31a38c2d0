//! Many rooms: each stream in the maximum number of rooms, each room with ten members.

use std::{net::SocketAddr, time::Duration};

use rialto::proto::{
    rialto::v1::{Position, PublishRequest, SubscribeRequest, chat_service_client::ChatServiceClient},
    user::{ChatMessage, Join},
};
use tokio::{task::JoinSet, time::timeout};
use tonic::transport::Channel;

use crate::support::{
    Hub,
    process::Process,
    raw::{CHAT, Call, Raw, SUBSCRIBE},
    resuming::Way,
    said, size, soon,
    wire::connection,
};

/// Members of each room.
const MEMBERS: usize = 10;

/// Rooms of one stream.
const EACH: usize = 1_000;

/// Messages in flight at once.
const AHEAD: usize = 64;

fn name(room: usize) -> String {
    format!("r{room}")
}

/// Opens one stream for each thousand rooms, on one connection; all joins have succeeded when this returns.
async fn members(address: SocketAddr, rooms: usize, way: Way) -> (Raw, Vec<Call>) {
    let mut raw = Raw::connect(address).await;
    let mut calls = Vec::new();
    for first in (0..rooms).step_by(EACH) {
        let names = (first..rooms.min(first + EACH)).map(name);
        let mut call = match way {
            Way::Chat => raw.call(CHAT, Some(&names.collect::<Vec<_>>().join(","))).await,
            Way::Subscribe => {
                let mut call = raw.call(SUBSCRIBE, None).await;
                let rooms = names.map(|room| Position { room, join: Some(Join::default()) }).collect();
                call.request.say(&SubscribeRequest { rooms }).await;
                call.request.half_close();
                call
            }
        };
        call.response.opened().await;
        calls.push(call);
    }
    (raw, calls)
}

/// Publishes one message in each room.
async fn publish(channel: Channel, rooms: usize) {
    let client = ChatServiceClient::new(channel);
    let mut calls = JoinSet::new();
    for room in 0..rooms {
        let (mut client, message) = (client.clone(), Some(said(&name(room), "ada", &format!("to {room}"))));
        calls.spawn(async move { soon(client.publish(PublishRequest { message })).await.unwrap() });
        if calls.len() >= AHEAD {
            calls.join_next().await.unwrap().unwrap();
        }
    }
    while let Some(published) = calls.join_next().await {
        published.unwrap();
    }
}

/// Asserts that each member receives one message from each of its rooms.
async fn heard(members: &mut [(Raw, Vec<Call>)], rooms: usize) {
    for (_, calls) in members {
        for (nth, call) in calls.iter_mut().enumerate() {
            let own = nth * EACH..rooms.min((nth + 1) * EACH);
            let mut heard = Vec::new();
            while heard.len() < own.len() {
                let ChatMessage { room, text, event, .. } = call.response.next().await;
                if event.is_none() {
                    assert_eq!(text.strip_prefix("to "), room.strip_prefix('r'));
                    heard.push(text);
                }
            }
            heard.sort_unstable();
            heard.dedup();
            assert_eq!(heard.len(), own.len(), "each of its rooms, once");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_in_each_of_many_rooms_reaches_its_ten_members() {
    let rooms = size::rooms();
    let test = async {
        let hub = Hub::start().await;
        let mut all = Vec::new();
        for nth in 0..MEMBERS {
            all.push(members(hub.address(), rooms, Way::of(nth)).await);
        }
        let counts = hub.counts().await;
        assert_eq!((counts.rooms, counts.members), (rooms, MEMBERS * rooms));
        publish(connection(hub.address()).await, rooms).await;
        heard(&mut all, rooms).await;
        drop(all);
        let counts = hub.counts_become(|counts| counts.rooms == 0 && counts.members == 0).await;
        assert_eq!(counts.ring_bytes, 0, "a room that nobody is in holds nothing");
    };
    timeout(Duration::from_secs(600), test).await.expect("this should have happened long ago");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_room_costs_little_memory() {
    let rooms = size::rooms();
    let test = async {
        let folder = tempfile::tempdir().unwrap();
        let server = Process::serve(folder.path()).await;
        let address = server.address().parse().unwrap();
        // The first room and connection include fixed costs that do not count.
        drop(members(address, 1, Way::Chat).await);
        let Some(none) = server.memory() else { return };
        let mut all = vec![members(address, rooms, Way::Chat).await];
        let one = server.memory().unwrap();
        for nth in 1..MEMBERS {
            all.push(members(address, rooms, Way::of(nth)).await);
        }
        let ten = server.memory().unwrap();
        publish(connection(address).await, rooms).await;
        heard(&mut all, rooms).await;
        let used = server.memory().unwrap();
        let per = |more: u64, less: u64| more.saturating_sub(less) / rooms as u64;
        eprintln!(
            "{rooms} rooms: {} bytes for one with its first member, {} for each further member, {} more after a message in each",
            per(one, none),
            per(ten, one) / (MEMBERS as u64 - 1),
            per(used, ten),
        );
        // Far above the actual size, and far below a ring of full batches.
        assert!(per(one, none) < 32 * 1024);
        server.kill().await;
    };
    timeout(Duration::from_secs(600), test).await.expect("this should have happened long ago");
}
