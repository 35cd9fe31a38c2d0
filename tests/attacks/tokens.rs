//! Thousands of tokens and passwords. `tests/tokens` covers single forged ones.

use futures_util::future::join_all;
use jsonwebtoken::Algorithm;
use rialto::proto::{
    rialto::v1::LoginRequest,
    user::{CreateUserRequest, GetUserRequest},
};
use serde_json::json;
use tonic::Code;

use super::{ATTACKERS, LITTLE, MIB};
use crate::support::{
    siege::Siege,
    tokens::{By, forge, fresh_key},
    wire::{Refusal, connection},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_number_of_forged_tokens_gets_in() {
    let mut siege = Siege::begin_with_tokens(&[]).await;
    let address = siege.address();
    let forged = forge(&fresh_key(), Algorithm::EdDSA, |_, claims| claims["roles"] = json!(["admin"]));
    let tokens = ["garbage".to_owned(), forged, "x".repeat(12_000)];
    siege
        .repeat(async || {
            let attacks = (0..ATTACKERS).map(|n| &tokens[n % tokens.len()]).map(|token| async move {
                let mut by = By::over(connection(address).await, Some(token));
                for _ in 0..50 {
                    let mallory = CreateUserRequest { username: "mallory".into(), ..CreateUserRequest::default() };
                    for status in [
                        by.users.create_user(mallory).await.unwrap_err(),
                        by.users.get_user(GetUserRequest::default()).await.unwrap_err(),
                        by.users.chat(tokio_stream::pending()).await.unwrap_err(),
                    ] {
                        assert_eq!(Refusal::of(&status), Refusal::new(Code::Unauthenticated, "TOKEN_INVALID"));
                    }
                }
            });
            join_all(attacks).await;
        })
        .await;
    siege.withstood("forged tokens", LITTLE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn password_guesses_take_no_more_than_their_share() {
    // As if each guess came from another address.
    let settings = [
        "rates.logins_per_minute_per_user=0",
        "rates.logins_per_minute_per_user_and_address=0",
        "rates.logins_per_minute_per_address=0",
        "users.max_concurrent_logins=1",
        "users.max_queued_logins=4",
    ];
    let mut siege = Siege::begin_with_tokens(&settings).await;
    let mut by = By::over(connection(siege.address()).await, None);
    let outcomes = siege
        .repeat(async || {
            let guesses = (0..16).map(|_| {
                let mut auth = by.auth.clone();
                let guess = LoginRequest { username: "bystander0".into(), password: "canary-guess".into() };
                async move { Refusal::of(&auth.login(guess).await.unwrap_err()) }
            });
            join_all(guesses).await
        })
        .await
        .concat();
    let failed = Refusal::new(Code::Unauthenticated, "LOGIN_FAILED");
    let busy = Refusal::new(Code::ResourceExhausted, "TOO_MANY_LOGINS").retry();
    assert!(outcomes.iter().all(|outcome| [&failed, &busy].contains(&outcome)), "{outcomes:?}");
    assert!(outcomes.contains(&failed) && outcomes.contains(&busy));
    let status = by.users.get_user(GetUserRequest::default()).await.unwrap_err();
    assert_eq!(Refusal::of(&status).reason, "TOKEN_MISSING");
    // Computing a hash takes 19 MiB, and one is computed at a time. But the allocator keeps that memory for every thread that has computed
    // one, and there are as many such threads as log readers.
    siege.withstood("guesses at passwords", LITTLE + 5 * 20 * MIB).await;
}
