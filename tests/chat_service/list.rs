//! ListRooms: the rooms that exist, and what changes in them.

use std::{collections::BTreeMap, time::SystemTime};

use rialto::proto::rialto::v1::Room;
use tonic::{Code, Streaming};

use super::{list_rooms, publish};
use crate::support::{Hub, rejected, rooms::live, said, soon, wire::Refusal};

async fn rest(mut rooms: Streaming<Room>) -> Vec<Room> {
    let mut all = Vec::new();
    while let Some(room) = soon(rooms.message()).await.unwrap() {
        all.push(room);
    }
    all
}

async fn next(rooms: &mut Streaming<Room>) -> (String, u64, u32) {
    let Room { name, head_seq, online, .. } = soon(rooms.message()).await.unwrap().expect("a watch goes on");
    (name, head_seq, online)
}

/// Waits until this change arrives; earlier ones are skipped.
async fn becomes(rooms: &mut Streaming<Room>, name: &str, head_seq: u64, online: u32) {
    let wanted = (name.to_owned(), head_seq, online);
    while next(rooms).await != wanted {}
}

fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

#[tokio::test]
async fn rooms_are_listed_by_name_once_they_have_a_message() {
    let hub = Hub::start().await;
    let mut service = hub.service().await;
    assert_eq!(rest(list_rooms(&mut service, false).await.unwrap()).await, []);
    let began = now();
    let mut heads = BTreeMap::new();
    for (n, name) in ["den", "a", "attic", "den.2", "den-1", "0", "z_z"].into_iter().enumerate() {
        for _ in 0..=n {
            let message = publish(&mut service, said(name, "ada", "hello")).await.unwrap().message.unwrap();
            heads.insert(name.to_owned(), message.seq);
        }
    }
    // Neither joining nor a rejected message creates a room.
    let mut chat = hub.chat("silent").await;
    chat.join("joined", live()).await;
    chat.say("silent", "ada", "").await;
    assert_eq!(rejected(&chat.next().await).reason, "INVALID_TEXT");
    let rooms = rest(list_rooms(&mut service, false).await.unwrap()).await;
    let listed: Vec<_> = rooms.iter().map(|room| (room.name.clone(), room.head_seq)).collect();
    assert_eq!(listed, heads.into_iter().collect::<Vec<_>>());
    assert!(rooms.iter().all(|room| (began..=now()).contains(&room.created_at) && room.online == 0), "{rooms:?}");

    drop((service, chat));
    let hub = Hub::start_in(hub.shutdown().await, |_| {}).await;
    assert_eq!(rest(list_rooms(&mut hub.service().await, false).await.unwrap()).await, rooms, "also after a restart");
}

#[tokio::test]
async fn lists_longer_than_one_lookup_are_complete() {
    let hub = Hub::start().await;
    let names: Vec<_> = (0..600).map(|n| format!("room{n:03}")).collect();
    let mut services = Vec::new();
    for names in names.chunks(150) {
        let (mut service, names) = (hub.service().await, names.to_vec());
        services.push(async move {
            for name in names {
                publish(&mut service, said(&name, "ada", "hello")).await.unwrap();
            }
        });
    }
    futures_util::future::join_all(services).await;
    for watch in [false, true] {
        let mut rooms = list_rooms(&mut hub.service().await, watch).await.unwrap();
        for name in &names {
            assert_eq!(next(&mut rooms).await.0, *name);
        }
    }
}

#[tokio::test]
async fn a_watch_gets_the_list_and_then_the_changes() {
    let hub = Hub::start().await;
    hub.filled("den", 2).await;
    hub.filled("attic", 1).await;
    hub.counts_become(|counts| counts.members == 0).await;
    let mut watch = list_rooms(&mut hub.service().await, true).await.unwrap();
    assert_eq!(next(&mut watch).await, ("attic".into(), 1, 0));
    assert_eq!(next(&mut watch).await, ("den".into(), 2, 0));

    let mut chat = hub.chat("").await;
    chat.join_as("ada", "den", live()).await;
    assert_eq!(next(&mut watch).await, ("den".into(), 2, 1), "somebody comes");
    chat.say("den", "ada", "hello").await;
    assert_eq!(chat.next().await.seq, 3);
    assert_eq!(next(&mut watch).await, ("den".into(), 3, 1), "something is said");
    publish(&mut hub.service().await, said("cellar", "ada", "hello")).await.unwrap();
    assert_eq!(next(&mut watch).await, ("cellar".into(), 1, 0), "a room comes into being, with nobody there");
    chat.join_as("ada", "silent", live()).await;
    chat.leave("den").await;
    assert_eq!(next(&mut watch).await, ("den".into(), 3, 0), "somebody goes; a room without messages is none");
    chat.say("silent", "ada", "not any more").await;
    assert_eq!(next(&mut watch).await, ("silent".into(), 1, 1));
}

#[tokio::test]
async fn a_watch_converges_while_many_rooms_change() {
    let hub = Hub::start().await;
    let mut watch = list_rooms(&mut hub.service().await, true).await.unwrap();
    for round in 1..=3 {
        let head = hub.filled("den", 400).await.last().unwrap().seq;
        assert_eq!(head, 400 * round);
        becomes(&mut watch, "den", head, 0).await;
    }
}

#[tokio::test]
async fn a_second_watch_begins_with_the_current_state() {
    let hub = Hub::start().await;
    let mut first = list_rooms(&mut hub.service().await, true).await.unwrap();
    hub.filled("den", 5).await;
    becomes(&mut first, "den", 5, 0).await;
    let mut second = list_rooms(&mut hub.service().await, true).await.unwrap();
    assert_eq!(next(&mut second).await.1, 5);
    drop(first);
    hub.filled("attic", 1).await;
    becomes(&mut second, "attic", 1, 0).await;
}

#[tokio::test]
async fn d9_a_watch_ends_at_once_with_the_drain() {
    let hub = Hub::start().await;
    hub.filled("den", 1).await;
    let mut service = hub.service().await;
    let mut watch = list_rooms(&mut service, true).await.unwrap();
    next(&mut watch).await;
    let mut empty = list_rooms(&mut service, true).await.unwrap();
    next(&mut empty).await;
    let stopping = tokio::spawn(hub.shutdown());
    for watch in [&mut watch, &mut empty] {
        let end = loop {
            match soon(watch.message()).await {
                Ok(room) => assert!(room.is_some(), "a watch ends with a status"),
                Err(end) => break end,
            }
        };
        assert_eq!(Refusal::of(&end), Refusal::new(Code::Unavailable, "DRAINING").retry());
    }
    soon(stopping).await.unwrap();
}

#[tokio::test]
async fn d7_watchers_are_limited_and_free_their_place_when_they_end() {
    let hub = Hub::start_with(|config| config.rooms.max_watchers = 2).await;
    let mut service = hub.service().await;
    let first = list_rooms(&mut service, true).await.unwrap();
    let _second = list_rooms(&mut service, true).await.unwrap();
    let refused = list_rooms(&mut service, true).await.unwrap_err();
    assert_eq!(Refusal::of(&refused), Refusal::new(Code::ResourceExhausted, "TOO_MANY_WATCHERS").retry());
    assert_eq!(rest(list_rooms(&mut service, false).await.unwrap()).await, [], "who only looks needs no place");
    drop(first);
    let again = async {
        while list_rooms(&mut service, true).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    soon(again).await;
}

#[tokio::test]
async fn a_watcher_too_far_behind_is_asked_to_list_again() {
    let hub = Hub::start_with(|config| config.rooms.max_waiting_changes = 3).await;
    let mut service = hub.service().await;
    let mut watch = list_rooms(&mut service, true).await.unwrap();
    // More rooms at once than may wait for the watcher.
    for round in 0.. {
        for n in 0..20 {
            publish(&mut service, said(&format!("room{n}"), "ada", &round.to_string())).await.unwrap();
        }
        let mut end = None;
        while let Some(received) = futures_util::FutureExt::now_or_never(watch.message()) {
            end = received.err();
            if end.is_some() {
                break;
            }
        }
        if let Some(end) = end {
            assert_eq!(Refusal::of(&end), Refusal::new(Code::ResourceExhausted, "SLOW_WATCHER").retry());
            return;
        }
    }
}
