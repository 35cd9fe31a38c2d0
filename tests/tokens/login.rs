//! Login, refresh, logout, and password guessing.

use jsonwebtoken::dangerous::insecure_decode_claims;
use rialto::{
    config::{AuthMode, Limit},
    proto::{
        rialto::v1::{LogoutRequest, RefreshRequest, Tokens},
        user::{DeleteUserRequest, GetUserRequest, UpdateUserRequest},
    },
};
use serde_json::Value;
use tonic::{Code, Status};

use crate::support::{
    Hub,
    tokens::{PASSWORD, now},
    wire::Refusal,
};

fn refused(reason: &str) -> Refusal {
    Refusal::new(Code::Unauthenticated, reason)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_gives_tokens_that_can_be_refreshed() {
    let hub = Hub::with_tokens(|config| config.auth.access_token_seconds = 600).await;
    let ada = hub.user("ada").await;
    // Usernames are case-insensitive (RFC 8265).
    let tokens = hub.login("ADA", PASSWORD).await.unwrap();
    assert_eq!(tokens.access_expires_in.unwrap().seconds, 600);
    let get = || GetUserRequest { id: ada.id.clone(), ..GetUserRequest::default() };
    let seen = hub.by(&tokens.access_token).await.users.get_user(get()).await.unwrap().into_inner();
    assert_eq!(seen.email, "ada@example.com", "oneself");

    let second = hub.refresh(&tokens.refresh_token).await.unwrap();
    assert_ne!(second.refresh_token, tokens.refresh_token);
    let third = hub.refresh(&second.refresh_token).await.unwrap();
    hub.by(&third.access_token).await.users.get_user(get()).await.unwrap();
    // An expired token does not matter for a call that needs none.
    let request = RefreshRequest { refresh_token: third.refresh_token };
    hub.by(&hub.token_of(&ada, -60)).await.auth.refresh(request).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_valid_for_the_configured_time() {
    let hub = Hub::with_tokens(|config| {
        config.auth.access_token_seconds = 600;
        config.auth.refresh_token_seconds = 7_200;
    })
    .await;
    hub.user("ada").await;
    let file = rusqlite::Connection::open(hub.folder().join("rialto.db")).unwrap();
    let check = |tokens: &Tokens, began: i64| {
        let claims: Value = insecure_decode_claims(&tokens.access_token).unwrap();
        let access = claims["exp"].as_i64().unwrap();
        assert!((began + 600..=now() + 600).contains(&access), "{access}");
        let of_session = "SELECT expires_at / 1000000000 FROM sessions";
        let refresh: i64 = file.query_row(of_session, [], |row| row.get(0)).unwrap();
        assert!((began + 7_200..=now() + 7_200).contains(&refresh), "{refresh}");
    };
    let began = now();
    let first = hub.login("ada", PASSWORD).await.unwrap();
    check(&first, began);
    let began = now();
    check(&hub.refresh(&first.refresh_token).await.unwrap(), began);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_used_twice_ends_the_session_for_both() {
    let hub = Hub::with_tokens(|_| {}).await;
    hub.user("ada").await;
    let first = hub.login("ada", PASSWORD).await.unwrap();
    let other_session = hub.login("ada", PASSWORD).await.unwrap();
    let owners = hub.refresh(&first.refresh_token).await.unwrap();
    let thief = hub.refresh(&first.refresh_token).await.unwrap_err();
    assert_eq!(Refusal::of(&thief), refused("SESSION_ENDED"));
    let owner = hub.refresh(&owners.refresh_token).await.unwrap_err();
    assert_eq!(Refusal::of(&owner), refused("SESSION_ENDED"), "nobody knows who of the two is the thief");
    hub.refresh(&other_session.refresh_token).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn at_most_one_concurrent_use_of_a_refresh_token_succeeds() {
    let hub = Hub::with_tokens(|_| {}).await;
    hub.user("ada").await;
    let first = hub.login("ada", PASSWORD).await.unwrap();
    let tries = (0..8).map(|_| hub.refresh(&first.refresh_token));
    let outcomes = futures_util::future::join_all(tries).await;
    let given: Vec<_> = outcomes.into_iter().filter_map(Result::ok).collect();
    assert_eq!(given.len(), 1);
    assert!(hub.refresh(&given[0].refresh_token).await.is_err(), "and not for long");
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_end_by_logout_password_change_and_deletion_and_survive_restarts() {
    let hub = Hub::with_tokens(|_| {}).await;
    let ada = hub.user("ada").await;
    hub.user("bob").await;
    let out = hub.login("ada", PASSWORD).await.unwrap();
    let changed = hub.login("ada", PASSWORD).await.unwrap();
    let kept = hub.login("bob", PASSWORD).await.unwrap();
    let logout = LogoutRequest { refresh_token: out.refresh_token.clone() };
    hub.by_nobody().await.auth.logout(logout.clone()).await.unwrap();
    hub.by_nobody().await.auth.logout(logout).await.unwrap();
    assert_eq!(Refusal::of(&hub.refresh(&out.refresh_token).await.unwrap_err()), refused("SESSION_ENDED"));

    let password = Some("canary-another".to_owned());
    let request = UpdateUserRequest { id: ada.id.clone(), password, ..UpdateUserRequest::default() };
    hub.by(&changed.access_token).await.users.update_user(request).await.unwrap();
    assert_eq!(Refusal::of(&hub.refresh(&changed.refresh_token).await.unwrap_err()), refused("SESSION_ENDED"));
    assert_eq!(Refusal::of(&hub.login("ada", PASSWORD).await.unwrap_err()), refused("LOGIN_FAILED"));
    let again = hub.login("ada", "canary-another").await.unwrap();

    let folder = hub.shutdown().await;
    let hub = Hub::start_in(folder, |config| config.auth.mode = AuthMode::Token).await;
    let again = hub.refresh(&again.refresh_token).await.unwrap();
    hub.refresh(&kept.refresh_token).await.unwrap();
    let delete = DeleteUserRequest { id: ada.id };
    hub.by(&again.access_token).await.users.delete_user(delete.clone()).await.unwrap();
    assert_eq!(Refusal::of(&hub.refresh(&again.refresh_token).await.unwrap_err()), refused("SESSION_ENDED"));
    let gone = hub.by(&again.access_token).await.users.delete_user(delete).await.unwrap_err();
    assert_eq!(Refusal::of(&gone), refused("USER_DELETED"));
}

#[tokio::test]
async fn a_malformed_refresh_token_is_refused() {
    let hub = Hub::with_tokens(|_| {}).await;
    let ada = hub.user("ada").await;
    let good = hub.login("ada", PASSWORD).await.unwrap();
    let access = hub.token_of(&ada, 600);
    for garbage in ["", "rialto_rt_", "rialto_rt_****", "garbage", access.as_str()] {
        let refused_as = Refusal::of(&hub.refresh(garbage).await.unwrap_err());
        assert_eq!(refused_as, refused("SESSION_ENDED"), "{garbage}");
    }
    let good = hub.refresh(&good.refresh_token).await.unwrap();
    let as_access = hub.by(&good.refresh_token).await.create("eve").await.unwrap_err();
    assert_eq!(Refusal::of(&as_access), refused("TOKEN_INVALID"));
    // A token with a valid session but an old secret was used before.
    let altered = format!("{}AAAA", &good.refresh_token[..good.refresh_token.len() - 4]);
    assert_eq!(Refusal::of(&hub.refresh(&altered).await.unwrap_err()), refused("SESSION_ENDED"));
    assert_eq!(Refusal::of(&hub.refresh(&good.refresh_token).await.unwrap_err()), refused("SESSION_ENDED"));
}

/// What a client can learn from a failed login, and the hashes that the server computed for it.
async fn failed(hub: &Hub, name: &str, password: &str) -> (Code, String, Vec<u8>, u64) {
    let before = hub.metrics().password_hashes.get();
    let status: Status = hub.login(name, password).await.unwrap_err();
    let work = hub.metrics().password_hashes.get() - before;
    (status.code(), status.message().to_owned(), status.details().to_vec(), work)
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_name_get_the_same_answer_for_the_same_work() {
    let hub = Hub::with_tokens(|config| config.rates.logins_per_minute_per_user = Limit(0)).await;
    hub.user("ada").await;
    let without = UpdateUserRequest {
        id: hub.user("nopass").await.id,
        password: Some(String::new()),
        ..UpdateUserRequest::default()
    };
    hub.by(&hub.admin()).await.users.update_user(without).await.unwrap();

    let wrong = failed(&hub, "ada", "canary-wrong").await;
    assert_eq!((wrong.0, wrong.3), (Code::Unauthenticated, 1), "one evaluation of Argon2");
    let long_name = "x".repeat(1000);
    let others = [
        ("nobody", PASSWORD),
        ("nopass", PASSWORD),
        ("nopass", ""),
        ("ada", ""),
        ("", PASSWORD),
        ("no such \u{0} name", PASSWORD),
        (long_name.as_str(), PASSWORD),
    ];
    for (name, password) in others {
        assert_eq!(failed(&hub, name, password).await, wrong, "{name:?}");
    }
    let before = hub.metrics().password_hashes.get();
    hub.login("ada", PASSWORD).await.unwrap();
    assert_eq!(hub.metrics().password_hashes.get() - before, 1, "nor does a good one take more");
    let too_long = hub.login("ada", &"x".repeat(129)).await.unwrap_err();
    assert_eq!(Refusal::of(&too_long), Refusal::new(Code::InvalidArgument, "INVALID_VALUE").field("password"));
}

#[tokio::test]
async fn guessing_passwords_is_limited_by_name_and_by_address() {
    let hub = Hub::with_tokens(|config| {
        config.rates.logins_per_minute_per_user = Limit(3);
        config.rates.logins_per_minute_per_address = Limit(5);
    })
    .await;
    for name in ["ada", "bob"] {
        hub.user(name).await;
    }
    let began = now();
    for _ in 0..3 {
        assert_eq!(Refusal::of(&hub.login("ada", "canary-guess").await.unwrap_err()), refused("LOGIN_FAILED"));
    }
    let limited = Refusal::new(Code::ResourceExhausted, "RATE_LIMITED").retry();
    let before = hub.metrics().password_hashes.get();
    for password in ["canary-guess", PASSWORD] {
        let status = hub.login("ADA", password).await.unwrap_err();
        assert_eq!(Refusal::of(&status), limited, "also the right one, or it would be known");
    }
    assert_eq!(hub.metrics().password_hashes.get(), before, "and nothing is computed");
    // These five counted for the address, too.
    let status = hub.login("bob", PASSWORD).await.unwrap_err();
    assert_eq!(Refusal::of(&status), limited);
    assert!(now() - began < 12, "it took so long that another login is allowed: nothing was shown");
    hub.by(&hub.admin()).await.create("joe").await.unwrap();
}

#[tokio::test]
async fn guesses_at_one_password_are_limited_by_address_too() {
    let hub = Hub::with_tokens(|config| {
        config.rates.logins_per_minute_per_user = Limit(0);
        config.rates.logins_per_minute_per_address = Limit(0);
        config.rates.logins_per_minute_per_user_and_address = Limit(2);
    })
    .await;
    let mut guesses = Vec::new();
    for _ in 0..3 {
        guesses.push(Refusal::of(&hub.login("ada", "canary-guess").await.unwrap_err()).reason);
    }
    assert_eq!(guesses, ["LOGIN_FAILED", "LOGIN_FAILED", "RATE_LIMITED"]);
    assert_eq!(Refusal::of(&hub.login("bob", "canary-guess").await.unwrap_err()), refused("LOGIN_FAILED"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_above_the_limit_ends_the_oldest_session() {
    let hub = Hub::with_tokens(|config| config.auth.max_sessions_per_user = 2).await;
    hub.user("ada").await;
    let mut tokens = Vec::new();
    for _ in 0..3 {
        tokens.push(hub.login("ada", PASSWORD).await.unwrap());
    }
    assert!(hub.refresh(&tokens[0].refresh_token).await.is_err());
    for kept in &tokens[1..] {
        hub.refresh(&kept.refresh_token).await.unwrap();
    }
}
