//! Presence and typing in a room, for streams that asked for them.

use std::{collections::BTreeSet, time::Instant};

use rialto::{
    proto::{
        rialto::v1::{ListRoomsRequest, chat_service_client::ChatServiceClient},
        user::{ChatMessage, Join, Presence, chat_message::Event},
    },
    server::Counts,
};

use crate::support::{
    Chat, Hub,
    raw::Raw,
    rooms::{join_as, leave, live, typing, with_presence},
    soon,
    wire::connection,
};

/// A stream that is in the den as this user.
async fn in_den(hub: &Hub, user_id: &str, how: Join) -> Chat {
    let mut chat = hub.chat("").await;
    chat.join_as(user_id, "den", how).await;
    chat
}

/// The `presence` event of a message, which must be one.
fn presence(message: &ChatMessage) -> &Presence {
    match &message.event {
        Some(Event::Presence(presence)) if message.room == "den" => presence,
        _ => panic!("no presence in the den: {message:?}"),
    }
}

/// The user, `online` and `count` of the next event.
async fn told(chat: &mut Chat) -> (String, bool, u32) {
    let message = chat.next().await;
    let Presence { user_id, online, count } = presence(&message).clone();
    (user_id, online, count)
}

fn word(user_id: &str, online: bool, count: u32) -> (String, bool, u32) {
    (user_id.to_owned(), online, count)
}

/// The next `n` users, in any order, each with this count.
async fn names(chat: &mut Chat, n: usize, count: u32) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for _ in 0..n {
        let (user_id, online, counted) = told(chat).await;
        assert_eq!((online, counted), (true, count), "{user_id}");
        names.insert(user_id);
    }
    names
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[tokio::test]
async fn after_joined_come_all_members_and_then_the_changes() {
    let hub = Hub::start().await;
    let _ada = in_den(&hub, "ada", live()).await;
    let bob = in_den(&hub, "bob", live()).await;
    let mut chat = hub.chat("").await;
    assert_eq!(chat.join_as("cyd", "den", with_presence()).await.online, 3);
    assert_eq!(names(&mut chat, 3, 3).await, set(&["ada", "bob", "cyd"]), "itself, too");
    let mut dan = in_den(&hub, "dan", with_presence()).await;
    assert_eq!(names(&mut dan, 4, 4).await, set(&["ada", "bob", "cyd", "dan"]));
    assert_eq!(told(&mut chat).await, word("dan", true, 4));
    drop(bob);
    assert_eq!(told(&mut chat).await, word("bob", false, 3));
    assert_eq!(told(&mut dan).await, word("bob", false, 3));
    assert_eq!(dan.leave("den").await, []);
    assert_eq!(told(&mut chat).await, word("dan", false, 2));
    assert_eq!(chat.finish().await, []);
}

#[tokio::test]
async fn presence_follows_joined_and_comes_before_the_history() {
    let hub = Hub::start().await;
    let all = hub.filled("den", 10).await;
    let mut chat = hub.chat("").await;
    chat.join_as("ada", "den", Join { history: 3, ..with_presence() }).await;
    assert_eq!(told(&mut chat).await, word("ada", true, 1));
    assert_eq!(chat.take(3).await, all[7..]);
}

#[tokio::test]
async fn a_user_counts_once_whatever_its_streams_and_each_anonymous_stream_counts() {
    let hub = Hub::start().await;
    let mut chat = in_den(&hub, "", with_presence()).await;
    assert_eq!(told(&mut chat).await, word("", true, 1), "somebody without a name");
    let first = in_den(&hub, "ada", live()).await;
    assert_eq!(told(&mut chat).await, word("ada", true, 2));
    let second = in_den(&hub, "ada", live()).await;
    drop(first);
    hub.counts_become(|counts| counts.members == 2).await;
    let bob = in_den(&hub, "bob", live()).await;
    assert_eq!(told(&mut chat).await, word("bob", true, 3), "nothing of ada, who is still there");
    drop(second);
    assert_eq!(told(&mut chat).await, word("ada", false, 2));
    let _metadata = hub.chat("den").await;
    assert_eq!(told(&mut chat).await, word("", true, 3), "an original client is somebody");
    drop(bob);
    assert_eq!(told(&mut chat).await, word("bob", false, 2));
}

#[tokio::test]
async fn a_client_that_disappears_leaves_the_room() {
    let hub = Hub::start().await;
    let mut chat = in_den(&hub, "", with_presence()).await;
    told(&mut chat).await;
    for (n, user_id) in ["ada", "bob", "cyd"].into_iter().enumerate() {
        let mut raw = Raw::connect_abrupt(hub.address()).await;
        let mut call = raw.chat("").await;
        call.request.say(&join_as(user_id, "den", with_presence())).await;
        assert_eq!(told(&mut chat).await, word(user_id, true, 2));
        match n {
            0 => raw.hang_up().await,
            1 => call.request.reset(h2::Reason::CANCEL),
            _ => call.request.half_close(),
        }
        assert_eq!(told(&mut chat).await, word(user_id, false, 1));
    }
    let held = Counts { connections: 1, streams: 1, chats: 1, rooms: 1, members: 1, ring_bytes: 0 };
    hub.counts_become(|counts| Counts { connections: 1, ..*counts } == held).await;
}

#[tokio::test]
async fn streams_that_did_not_ask_for_presence_get_none() {
    let hub = Hub::start().await;
    let mut chat = in_den(&hub, "ada", live()).await;
    let mut original = hub.chat("den").await;
    let mut witness = in_den(&hub, "", with_presence()).await;
    names(&mut witness, 2, 3).await;
    let mut bob = in_den(&hub, "bob", live()).await;
    assert_eq!(told(&mut witness).await, word("bob", true, 4));
    bob.send(typing("den", "bob")).await;
    assert!(matches!(witness.next().await.event, Some(Event::Typing(_))));
    bob.leave("den").await;
    assert_eq!(told(&mut witness).await, word("bob", false, 3));
    for chat in [&mut chat, &mut original] {
        assert_eq!(chat.finish().await, []);
    }
}

#[tokio::test]
async fn d8_a_half_closed_stream_does_not_wait_for_presence() {
    let hub = Hub::start().await;
    let mut chat = hub.chat("").await;
    chat.send(join_as("ada", "den", with_presence())).await;
    let heard = chat.finish().await;
    assert_eq!(heard.len(), 2);
    assert_eq!(presence(&heard[1]).user_id, "ada");
}

#[tokio::test]
async fn a_user_that_joins_and_leaves_quickly_is_debounced_to_its_final_state() {
    let hub = Hub::start().await;
    let mut chat = in_den(&hub, "ada", with_presence()).await;
    told(&mut chat).await;
    let mut bob = hub.chat("").await;
    let began = Instant::now();
    for _ in 0..20 {
        bob.send(join_as("bob", "den", live())).await;
        bob.send(leave("den")).await;
    }
    bob.take(40).await;
    bob.join_as("bob", "den", live()).await;
    let _cyd = in_den(&hub, "cyd", live()).await;
    let mut of_bob = Vec::new();
    loop {
        let (user_id, online, _) = told(&mut chat).await;
        if user_id == "cyd" {
            break;
        }
        assert_eq!(user_id, "bob");
        of_bob.push(online);
    }
    let told_at_most = 2 + 2 * (began.elapsed().as_secs() / 5);
    assert!((2..=told_at_most).contains(&(of_bob.len() as u64)), "{of_bob:?}");
    assert!(of_bob.iter().enumerate().all(|(n, online)| *online == n.is_multiple_of(2)), "in turn: {of_bob:?}");
    if of_bob.len().is_multiple_of(2) {
        assert_eq!(told(&mut chat).await, word("bob", true, 3), "in the end, and without anybody's doing");
    }
}

#[tokio::test]
async fn members_above_presence_max_are_counted_and_named_again_below_it() {
    let hub = Hub::start_with(|config| config.rooms.presence_max = 3).await;
    let mut chat = in_den(&hub, "ada", with_presence()).await;
    assert_eq!(told(&mut chat).await, word("ada", true, 1));
    let _bob = in_den(&hub, "bob", live()).await;
    let cyd = in_den(&hub, "cyd", live()).await;
    assert_eq!(told(&mut chat).await, word("bob", true, 2));
    assert_eq!(told(&mut chat).await, word("cyd", true, 3));
    let dan = in_den(&hub, "dan", live()).await;
    assert_eq!(told(&mut chat).await, word("", false, 4), "only how many");
    let mut eve = in_den(&hub, "eve", with_presence()).await;
    assert_eq!(told(&mut eve).await, word("", false, 5));
    assert_eq!(told(&mut chat).await, word("", false, 5));
    drop((cyd, eve));
    // At most one count per second, so an intermediate one may be skipped.
    let mut next = told(&mut chat).await;
    while next == word("", false, 4) {
        next = told(&mut chat).await;
    }
    assert_eq!(next, word("", false, 3), "they are named anew");
    assert_eq!(names(&mut chat, 3, 3).await, set(&["ada", "bob", "dan"]));
    drop(dan);
    assert_eq!(told(&mut chat).await, word("dan", false, 2));
}

#[tokio::test]
async fn with_presence_max_0_there_are_only_counts() {
    let hub = Hub::start_with(|config| config.rooms.presence_max = 0).await;
    let mut chat = in_den(&hub, "ada", with_presence()).await;
    assert_eq!(told(&mut chat).await, word("", false, 1));
    let _bob = in_den(&hub, "bob", live()).await;
    assert_eq!(told(&mut chat).await, word("", false, 2));
}

#[tokio::test]
async fn typing_reaches_the_other_streams_that_asked_and_is_rate_limited() {
    let hub = Hub::start().await;
    let mut ada = in_den(&hub, "ada", with_presence()).await;
    told(&mut ada).await;
    let mut bob = in_den(&hub, "bob", with_presence()).await;
    names(&mut bob, 2, 2).await;
    assert_eq!(told(&mut ada).await.0, "bob");
    let began = Instant::now();
    for _ in 0..50 {
        ada.send(typing("den", "ada")).await;
    }
    ada.say("den", "ada", "that was it").await;
    assert_eq!(bob.next().await, typing("den", "ada"), "it looks as it was sent, and comes before what was typed");
    let mut more = 0;
    while bob.next().await.text != "that was it" {
        more += 1;
    }
    assert!(more <= began.elapsed().as_secs() / 2, "once in two seconds, and not {more} times more");
    assert_eq!(ada.next().await.text, "that was it", "not back to whoever types");

    bob.send(typing("den", "bob")).await;
    assert_eq!(ada.next().await, typing("den", "bob"), "another one is told at once");
    // Another stream of the same user receives it, too.
    let mut second = in_den(&hub, "ada", with_presence()).await;
    names(&mut second, 2, 2).await;
    second.send(typing("den", "cyd")).await;
    for chat in [&mut ada, &mut bob] {
        assert_eq!(chat.next().await, typing("den", "cyd"));
    }
    assert_eq!(second.finish().await, []);
}

/// The ring of presence events is short, and a stream whose window is closed does not read it.
#[tokio::test]
async fn a_stream_that_missed_presence_gets_a_new_snapshot() {
    const FLAPPERS: usize = 200;
    let hub = Hub::start_with(|config| config.rooms.presence_max = 1_000).await;
    let mut raw = Raw::connect(hub.address()).await;
    let mut slow = raw.chat("den").await;
    slow.request.say(&leave("den")).await;
    slow.request.say(&join_as("slow", "den", with_presence())).await;
    slow.response.next().await;
    let first = slow.response.next().await;
    assert_eq!(presence(&first).user_id, "slow");
    // Now it stops reading. Its window is full, so later events wait in the hub.
    let mut bob = hub.chat("den").await;
    for _ in 0..64 {
        bob.say("den", "bob", &"x".repeat(4_096)).await;
        bob.next().await;
    }
    let mut others = hub.chat("").await;
    let witness = &mut in_den(&hub, "", with_presence()).await;
    for n in 0..FLAPPERS {
        others.send(join_as(&format!("user{n}"), "den", live())).await;
        others.send(leave("den")).await;
        others.take(2).await;
    }
    let _stays = in_den(&hub, "stays", live()).await;
    while told(witness).await.0 != "stays" {}

    // The client's resulting view.
    let mut here = BTreeSet::new();
    let mut named_anew = 0;
    let mut texts = 0;
    while !(texts == 64 && here == set(&["slow", "stays"])) {
        let message = slow.response.next().await;
        if message.event.is_none() {
            texts += 1;
            continue;
        }
        let Presence { user_id, online, .. } = presence(&message).clone();
        match (user_id.as_str(), online) {
            ("", true) => {}
            ("", false) => {
                here.clear();
                named_anew += 1;
            }
            (_, true) => assert!(here.insert(user_id.clone()), "{user_id}"),
            (_, false) => assert!(here.remove(&user_id), "{user_id}"),
        }
    }
    assert_eq!(named_anew, 1);
}

#[tokio::test]
async fn the_list_of_rooms_has_their_member_counts() {
    let hub = Hub::start().await;
    hub.filled("den", 1).await;
    hub.filled("attic", 1).await;
    hub.counts_become(|counts| counts.members == 0).await;
    let mut members = Vec::new();
    for user_id in ["ada", "ada", "bob", ""] {
        members.push(in_den(&hub, user_id, live()).await);
    }
    let mut service = ChatServiceClient::new(connection(hub.address()).await);
    let mut rooms = service.list_rooms(ListRoomsRequest::default()).await.unwrap().into_inner();
    let mut online = Vec::new();
    while let Some(room) = soon(rooms.message()).await.unwrap() {
        online.push((room.name, room.online));
    }
    assert_eq!(online, [("attic".to_owned(), 0), ("den".to_owned(), 3)]);
}
