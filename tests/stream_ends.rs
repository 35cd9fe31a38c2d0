//! However a stream ends, it leaves no task and no subscriber behind. Only END_STREAM is a half-close.

mod reaped;
mod shutdown;
mod unread;

use bytes::Bytes;
use h2::Reason;
use rialto::{
    proto::user::{CreateUserRequest, CreateUsersResponse, ListUsersRequest, User},
    server::Counts,
};
use tonic::Code;

use crate::support::{
    Chat, Client, Hub, keyed,
    raw::{CHAT, CREATE_USERS, Call, Raw, framed},
    rejected, said, soon, texts,
};

/// Codes of RST_STREAM. hyper hides the first and tonic the second.
const RESETS: [Reason; 9] = [
    Reason::NO_ERROR,
    Reason::CANCEL,
    Reason::INTERNAL_ERROR,
    Reason::PROTOCOL_ERROR,
    Reason::STREAM_CLOSED,
    Reason::FLOW_CONTROL_ERROR,
    Reason::REFUSED_STREAM,
    Reason::ENHANCE_YOUR_CALM,
    Reason::HTTP_1_1_REQUIRED,
];

/// Waits until no stream is left and this many connections are.
async fn nothing_left_but(hub: &Hub, connections: usize) {
    hub.counts_become(|counts| *counts == Counts { connections, ..Counts::default() }).await;
}

/// A stream in two rooms on its own connection; the server holds nothing else.
async fn alone(hub: &Hub, raw: &mut Raw) -> Call {
    let call = raw.chat("den,attic").await;
    let held = Counts { connections: 1, streams: 1, chats: 1, rooms: 2, members: 2, ring_bytes: 0 };
    hub.counts_become(|counts| *counts == held).await;
    call
}

/// The first bytes of a message.
fn part() -> Bytes {
    let whole = framed(&said("den", "ada", "never finished"));
    whole.slice(..whole.len() - 1)
}

/// Where a message is cut: in its header, after it, and in its body.
const PARTS: [usize; 4] = [1, 4, 5, 7];

#[tokio::test]
async fn a_half_closed_stream_leaves_nothing_behind() {
    let hub = Hub::start().await;
    let mut raw = Raw::connect(hub.address()).await;
    for trailers in [false, true] {
        let mut call = alone(&hub, &mut raw).await;
        call.request.say(&said("den", "ada", "last words")).await;
        if trailers {
            call.request.half_close_with_trailers();
        } else {
            call.request.half_close();
        }
        let (messages, end) = call.response.rest().await;
        assert_eq!(texts(&messages), ["last words"]);
        assert_eq!(end.unwrap().code(), Code::Ok);
        nothing_left_but(&hub, 1).await;
    }
}

#[tokio::test]
async fn a_cancelled_call_leaves_nothing_behind() {
    let hub = Hub::start().await;
    let mut client = hub.client().await;
    for said_something in [false, true] {
        let mut chat = Chat::open(&mut client, Some("den,attic")).await.unwrap();
        hub.counts_become(|counts| counts.chats == 1 && counts.members == 2).await;
        if said_something {
            chat.say("den", "ada", "hello").await;
            chat.next().await;
        }
        drop(chat);
        nothing_left_but(&hub, 1).await;
    }
    drop(client);
    nothing_left_but(&hub, 0).await;
}

#[tokio::test]
async fn a_reset_stream_leaves_nothing_behind_whatever_its_code() {
    let hub = Hub::start().await;
    let mut raw = Raw::connect(hub.address()).await;
    for reason in RESETS {
        // Idle; with messages in flight; in the middle of a message.
        let mut call = alone(&hub, &mut raw).await;
        call.request.reset(reason);
        nothing_left_but(&hub, 1).await;

        let mut call = alone(&hub, &mut raw).await;
        for _ in 0..100 {
            call.request.say(&said("den", "ada", "hello")).await;
        }
        raw.flushed().await;
        call.request.reset(reason);
        nothing_left_but(&hub, 1).await;

        let mut call = alone(&hub, &mut raw).await;
        call.request.write(part()).await;
        raw.flushed().await;
        call.request.reset(reason);
        nothing_left_but(&hub, 1).await;
    }
}

#[tokio::test]
async fn a_stream_whose_connection_is_gone_leaves_nothing_behind() {
    let hub = Hub::start().await;
    for abrupt in [false, true] {
        for bytes in [Bytes::new(), framed(&said("den", "ada", "hello")), part()] {
            let address = hub.address();
            let mut raw = if abrupt { Raw::connect_abrupt(address).await } else { Raw::connect(address).await };
            let mut call = alone(&hub, &mut raw).await;
            call.request.write(bytes).await;
            raw.flushed().await;
            raw.hang_up().await;
            nothing_left_but(&hub, 0).await;
        }
    }
}

#[tokio::test]
async fn a_half_close_in_the_middle_of_a_message_is_an_error() {
    let hub = Hub::start().await;
    let mut raw = Raw::connect(hub.address()).await;
    for cut in PARTS {
        let mut call = alone(&hub, &mut raw).await;
        call.request.write(part().slice(..cut)).await;
        call.request.half_close();
        let (messages, end) = call.response.rest().await;
        assert_eq!(messages, []);
        let end = end.expect("a status, and no reset");
        assert!(matches!(end.code(), Code::InvalidArgument | Code::Internal), "{cut} bytes: {end:?}");
        nothing_left_but(&hub, 1).await;
    }
}

#[tokio::test]
async fn a_call_that_fails_before_it_begins_leaves_nothing_behind() {
    let hub = Hub::start().await;
    let mut raw = Raw::connect(hub.address()).await;
    let mut call = raw.call(CHAT, Some("den,No Such Name")).await;
    let (messages, end) = call.response.rest().await;
    assert_eq!((texts(&messages), end.unwrap().code()), (vec![], Code::InvalidArgument));
    drop(call);
    nothing_left_but(&hub, 1).await;
}

#[tokio::test]
async fn a_call_reset_before_its_headers_come_leaves_nothing_behind() {
    let hub = Hub::start().await;
    let mut raw = Raw::connect(hub.address()).await;
    for reason in RESETS {
        let mut call = raw.call(CHAT, Some("den,attic")).await;
        raw.flushed().await;
        call.request.reset(reason);
        raw.flushed().await;
        nothing_left_but(&hub, 1).await;
    }
}

#[tokio::test]
async fn messages_accepted_before_a_reset_reach_the_others() {
    let hub = Hub::start().await;
    let mut listener = hub.chat("den").await;
    let mut raw = Raw::connect(hub.address()).await;
    for reason in RESETS {
        let mut call = raw.chat("den").await;
        for n in 0..10 {
            call.request.say(&said("den", "ada", &n.to_string())).await;
        }
        // They were accepted, because they came back.
        for n in 0..10 {
            assert_eq!(call.response.next().await.text, n.to_string());
        }
        call.request.reset(reason);
        assert_eq!(texts(&listener.take(10).await), ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
    }
}

#[tokio::test]
async fn messages_in_flight_at_a_reset_are_delivered_at_most_once_and_in_order() {
    let hub = Hub::start().await;
    let mut listener = hub.chat("den").await;
    let mut other = hub.chat("den").await;
    let mut raw = Raw::connect(hub.address()).await;
    for reason in RESETS {
        let mut call = raw.chat("den").await;
        for n in 0..100 {
            call.request.say(&keyed("den", "ada", &format!("{reason:?} {n}"), &n.to_string())).await;
        }
        raw.flushed().await;
        call.request.reset(reason);
        hub.counts_become(|counts| counts.chats == 2).await;
        // Messages still on their way to the log come before this one.
        other.say("den", "bob", "end").await;
        let mut heard = 0;
        loop {
            let message = listener.next().await;
            if message.text == "end" {
                break;
            }
            assert_eq!(message.text, heard.to_string(), "a beginning of what was sent");
            heard += 1;
        }
        // What others received was accepted, and what they did not receive was not.
        while other.next().await.text != "end" {}
        for n in 0..100 {
            other.send(keyed("den", "ada", &format!("{reason:?} {n}"), "again")).await;
            assert_eq!(other.next().await.event.is_some(), n < heard, "message {n} of {heard}");
        }
        listener.take(100 - heard).await;
    }
}

#[tokio::test]
async fn a_thousand_streams_ended_in_every_way_leave_nothing_behind() {
    const CONNECTIONS: usize = 20;
    const STREAMS: usize = 50;
    let hub = Hub::start().await;
    let mut connections = Vec::new();
    let mut open = Vec::new();
    for c in 0..CONNECTIONS {
        let address = hub.address();
        let mut raw = if c % 2 == 0 { Raw::connect(address).await } else { Raw::connect_abrupt(address).await };
        for s in 0..STREAMS {
            let mut call = raw.chat(["den", "den,attic", ""][s % 3]).await;
            // These messages go to all open streams, which do not have to read them.
            if s % 7 == 0 {
                call.request.say(&said(["den", "attic"][s % 2], "ada", "hello")).await;
            }
            match s % 10 {
                0 => call.request.half_close(),
                1 => call.request.half_close_with_trailers(),
                2 => drop(call.response),
                3 => {
                    call.request.write(part()).await;
                    call.request.half_close();
                }
                4 => {
                    call.request.write(part()).await;
                    call.request.reset(Reason::NO_ERROR);
                }
                5 => call.request.reset(RESETS[s / 10]),
                6 => call.request.reset(RESETS[s / 10 + 4]),
                // Two of ten stay until their connection ends.
                7 | 8 => open.push(call),
                _ => drop(call),
            }
        }
        connections.push(raw);
    }
    hub.counts_become(|counts| counts.chats == open.len() && counts.streams == open.len()).await;
    assert_eq!(open.len(), CONNECTIONS * STREAMS / 5);
    for raw in connections {
        raw.hang_up().await;
    }
    nothing_left_but(&hub, 0).await;
    drop(open);

    let mut chat = hub.chat("den").await;
    chat.say("attic", "ada", "not there").await;
    assert_eq!(rejected(&chat.next().await).reason, "NOT_IN_ROOM", "and the server still serves");
}

/// More than a stream's window: when all of it is sent, the server has read some of it.
const USERS: usize = 2_000;

/// `CreateUsers` with all elements sent, but not half-closed.
async fn creating(raw: &mut Raw) -> Call {
    let mut call = raw.call(CREATE_USERS, None).await;
    for n in 0..USERS {
        let (username, email) = (format!("user{n}"), format!("user{n}@a-rather-long-domain.example"));
        call.request.say(&CreateUserRequest { username, email, ..CreateUserRequest::default() }).await;
    }
    raw.flushed().await;
    call
}

async fn users(client: &mut Client) -> Vec<User> {
    let mut list = soon(client.list_users(ListUsersRequest::default())).await.unwrap().into_inner();
    let mut users = Vec::new();
    while let Some(user) = soon(list.message()).await.unwrap() {
        users.push(user);
    }
    users
}

async fn no_user_is_created(hub: &Hub, client: &mut Client, how: &str) {
    hub.counts_become(|counts| counts.streams == 0).await;
    assert_eq!(users(client).await.len(), 0, "{how}");
}

#[tokio::test]
async fn create_users_reset_before_its_half_close_creates_no_users() {
    let hub = Hub::start().await;
    let mut client = hub.client().await;
    let mut raw = Raw::connect(hub.address()).await;
    for reason in RESETS {
        let mut call = creating(&mut raw).await;
        call.request.reset(reason);
        no_user_is_created(&hub, &mut client, &format!("{reason:?}")).await;
    }
    drop(creating(&mut raw).await);
    no_user_is_created(&hub, &mut client, "both halves dropped").await;
}

#[tokio::test]
async fn create_users_whose_connection_ends_before_its_half_close_creates_no_users() {
    let hub = Hub::start().await;
    let mut client = hub.client().await;
    for mut raw in [Raw::connect(hub.address()).await, Raw::connect_abrupt(hub.address()).await] {
        let _call = creating(&mut raw).await;
        raw.hang_up().await;
        no_user_is_created(&hub, &mut client, "the connection is gone").await;
    }
    hub.counts_become(|counts| counts.connections == 1).await;
}

#[tokio::test]
async fn create_users_half_closed_in_the_middle_of_an_element_creates_no_users() {
    let hub = Hub::start().await;
    let mut client = hub.client().await;
    let mut raw = Raw::connect(hub.address()).await;
    let last = framed(&CreateUserRequest { username: "last".into(), ..CreateUserRequest::default() });
    for cut in PARTS {
        let mut call = creating(&mut raw).await;
        call.request.write(last.slice(..cut)).await;
        call.request.half_close();
        let end = call.response.end().await.expect("a status, and no reset");
        assert!(matches!(end.code(), Code::InvalidArgument | Code::Internal), "{cut} bytes of the last: {end:?}");
        no_user_is_created(&hub, &mut client, &format!("{cut} bytes of the last")).await;
    }
}

#[tokio::test]
async fn create_users_half_closed_after_its_elements_creates_all_users() {
    for trailers in [false, true] {
        let hub = Hub::start().await;
        let mut client = hub.client().await;
        let mut raw = Raw::connect(hub.address()).await;
        let mut call = creating(&mut raw).await;
        if trailers {
            call.request.half_close_with_trailers();
        } else {
            call.request.half_close();
        }
        let response: CreateUsersResponse = call.response.read().await.unwrap().unwrap();
        assert_eq!(response.users.len(), USERS);
        assert!(users(&mut client).await == response.users);
        hub.counts_become(|counts| counts.streams == 0).await;
    }
}
