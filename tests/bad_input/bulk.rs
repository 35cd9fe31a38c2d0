//! `CreateUsers` creates all users or none.

use std::io;

use h2::Reason;
use rialto::proto::user::{CreateUserRequest, CreateUsersResponse};
use tokio::sync::mpsc;
use tokio_stream::{iter, wrappers::ReceiverStream};

use super::{Call, KIB, Scene, bad_emails, bad_usernames, email_taken, invalid, new, oversize, username_taken};
use crate::support::{
    raw::{CREATE_USERS, Raw},
    soon,
    wire::{self, frame},
};

/// Valid users, with the given one as the third.
fn with(third: CreateUserRequest) -> Call {
    Call::Bulk(vec![new("carl", "", ""), new("dora", "dora@example.com", ""), third, new("emil", "", "")])
}

#[tokio::test]
async fn a_bad_element_fails_the_whole_call_by_its_index() {
    let mut scene = Scene::start().await;
    let mut rows = vec![
        (with(new("", "", "")), invalid("users[2].username")),
        (with(new("frida", "", &"p".repeat(129))), invalid("users[2].password")),
        (with(new("Dora", "", "")), username_taken("Dora")),
        (with(new("ADA", "", "")), username_taken("ADA")),
        (with(new("frida", "DORA@example.com", "")), email_taken("DORA@example.com")),
        (with(new("frida", "BOB@example.com", "")), email_taken("BOB@example.com")),
    ];
    rows.extend(bad_usernames().iter().map(|name| (with(new(name, "", "")), invalid("users[2].username"))));
    rows.extend(bad_emails().iter().map(|email| (with(new("frida", email, "")), invalid("users[2].email"))));
    scene.refuses(rows).await;
}

#[tokio::test]
async fn a_taken_value_is_reported_with_the_index_of_its_element() {
    let mut scene = Scene::start().await;
    for taken in
        [new("CARL", "", ""), new("ADA", "", ""), new("f", "Dora@example.com", ""), new("f", "BOB@example.com", "")]
    {
        let status = scene.call(with(taken.clone())).await.unwrap_err();
        assert!(status.message().contains("users[2]"), "{taken:?}: {status:?}");
    }
    scene.is_unharmed().await;
}

#[tokio::test]
async fn the_first_of_several_bad_elements_is_reported() {
    let mut scene = Scene::start().await;
    let bad = || new("", "", "");
    let rows = [
        (Call::Bulk(vec![bad(), new("carl", "@", "")]), invalid("users[0].username")),
        (Call::Bulk(vec![new("ADA", "", ""), bad()]), username_taken("ADA")),
        (Call::Bulk(vec![new("carl", "bob@example.com", ""), bad()]), email_taken("bob@example.com")),
        (Call::Bulk(vec![new("carl", "bob@example.com", ""), new("ada", "", "")]), email_taken("bob@example.com")),
    ];
    scene.refuses(rows).await;
}

fn many(count: usize, password: &str) -> Call {
    Call::Bulk((0..count).map(|n| new(&format!("user{n}"), "", password)).collect())
}

#[tokio::test]
async fn more_users_or_passwords_than_one_call_may_have_create_no_users() {
    let mut scene = Scene::start().await;
    scene.refuses([(many(10_001, ""), invalid("users")), (many(101, "secret"), invalid("users[100].password"))]).await;
}

#[tokio::test]
async fn an_answer_that_would_be_too_large_creates_no_users() {
    let mut scene = Scene::start().await;
    let domain = format!("{}.{}.{}", "d".repeat(63), "d".repeat(63), "d".repeat(61));
    let widest = |n: u32| {
        let digits = [n / 100, n % 100].map(|digit| char::from_u32(0x2_0000 + digit).unwrap());
        let username: String = "𠀀".chars().cycle().take(62).chain(digits).collect();
        let email = format!("{n:064}@{domain}");
        assert_eq!((username.len(), email.len()), (256, 254));
        new(&username, &email, "")
    };
    let wide = |count| (0..count).map(widest).collect::<Vec<_>>();
    scene.refuses([(Call::Bulk(wide(10_000)), invalid("users"))]).await;
    let fitting = soon(scene.client.create_users(iter(wide(5_000)))).await.unwrap().into_inner();
    assert_eq!(fitting.count, 5_000, "not their width was refused, but the answer's");
}

#[tokio::test]
async fn frames_at_the_limit_are_read() {
    let mut scene = Scene::start().await;
    let largest = || with(new(&"a".repeat(256 * KIB - 4), "", ""));
    let too_large = || with(new(&"a".repeat(256 * KIB - 3), "", ""));
    scene.refuses([(largest(), invalid("users[2].username")), (too_large(), oversize())]).await;
}

#[tokio::test]
async fn a_call_dropped_before_its_half_close_creates_no_users() {
    let mut scene = Scene::start().await;
    let open = scene.hub.counts().await.streams;
    for _ in 0..10 {
        let (sender, requests) = mpsc::channel(1);
        let mut client = scene.client.clone();
        let call = tokio::spawn(async move { client.create_users(ReceiverStream::new(requests)).await });
        for name in ["carl", "dora", "emil"] {
            sender.send(new(name, "", "")).await.unwrap();
        }
        scene.hub.counts_become(|counts| counts.streams == open + 1).await;
        call.abort();
        scene.hub.counts_become(|counts| counts.streams == open).await;
    }
    scene.is_unharmed().await;
}

#[tokio::test]
async fn a_request_body_that_fails_midway_creates_no_users() {
    let mut scene = Scene::start().await;
    let open = scene.hub.counts().await.streams;
    let frames = [
        Ok(frame(&new("carl", "", ""))),
        Ok(frame(&new("dora", "", ""))),
        Err(io::Error::from(io::ErrorKind::BrokenPipe)),
    ];
    let body = axum::body::Body::from_stream(iter(frames));
    let outcome = wire::call::<CreateUsersResponse>(&scene.channel, "CreateUsers", body).await;
    assert!(outcome.is_err());
    scene.hub.counts_become(|counts| counts.streams == open).await;
    scene.is_unharmed().await;
}

/// Libraries mistake `NO_ERROR` and `CANCEL` for the end of a request.
#[tokio::test]
async fn a_reset_after_whole_elements_creates_no_users() {
    let mut scene = Scene::start().await;
    let open = scene.hub.counts().await.streams;
    for reason in [Reason::NO_ERROR, Reason::CANCEL, Reason::INTERNAL_ERROR] {
        let mut raw = Raw::connect(scene.hub.address()).await;
        let mut call = raw.call(CREATE_USERS, None).await;
        call.request.say(&new("carl", "", "")).await;
        call.request.say(&new("dora", "", "")).await;
        raw.flushed().await;
        scene.hub.counts_become(|counts| counts.streams == open + 1).await;
        call.request.reset(reason);
        scene.hub.counts_become(|counts| counts.streams == open).await;
        raw.hang_up().await;
    }
    scene.hub.counts_become(|counts| counts.connections == 1).await;
    scene.is_unharmed().await;
}
