//! Tokens: which are valid, and how long they carry a stream. Every forged one is refused and changes nothing.

mod issuers;
mod login;
mod streams;
mod unread;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, jwk::Jwk};
use rialto::proto::{
    rialto::v1::{GetHistoryRequest, SubscribeRequest},
    user::{ChatMessage, CreateUserRequest, GetUserRequest, ListUsersRequest},
};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tonic::{Code, Request, Status};

use crate::support::{
    Hub, soon,
    tokens::{By, forge, fresh_key, now, part},
    wire::{Refusal, connection},
};

/// How the calls of a bearer end: one of each kind, each of which would change something if it succeeded.
async fn ends(by: &mut By) -> Vec<Result<(), Status>> {
    let create = CreateUserRequest { username: "mallory".into(), ..CreateUserRequest::default() };
    let message = ChatMessage { room: "den".into(), text: "canary of mallory".into(), ..ChatMessage::default() };
    vec![
        by.users.create_user(create.clone()).await.map(drop),
        by.users.create_users(tokio_stream::once(create)).await.map(drop),
        by.users.get_user(GetUserRequest { username: "ada".into(), ..GetUserRequest::default() }).await.map(drop),
        by.users.list_users(ListUsersRequest::default()).await.map(drop),
        by.users.chat(tokio_stream::once(message.clone())).await.map(drop),
        by.rooms.publish(rialto::proto::rialto::v1::PublishRequest { message: Some(message) }).await.map(drop),
        by.rooms.subscribe(SubscribeRequest::default()).await.map(drop),
        by.rooms.get_history(GetHistoryRequest::default()).await.map(drop),
    ]
}

/// Asserts that users and messages are unchanged.
async fn is_untouched(hub: &Hub) {
    let mut admin = hub.by(&hub.admin()).await;
    let mut users = admin.users.list_users(ListUsersRequest::default()).await.unwrap().into_inner();
    assert_eq!(soon(users.message()).await.unwrap().unwrap().username, "ada");
    assert!(soon(users.message()).await.unwrap().is_none());
    let history = admin.rooms.get_history(GetHistoryRequest { room: "den".into(), ..GetHistoryRequest::default() });
    assert_eq!(history.await.unwrap().into_inner().head_seq, 0);
}

/// A hand-made token with any header, and an optional signature.
fn unsigned(header: &Value, claims: &Value) -> String {
    format!("{}.{}.", part(header), part(claims))
}

fn good_claims() -> Value {
    json!({ "iss": "rialto", "aud": "rialto", "sub": "operator:mallory", "exp": now() + 3600, "roles": ["admin"] })
}

/// HS256 keyed with the server's public key.
fn with_public_key_as_secret(secret: &[u8]) -> String {
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &good_claims(), &EncodingKey::from_secret(secret)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_token_is_refused_and_changes_nothing() {
    let hub = Hub::with_tokens(|_| {}).await;
    hub.user("ada").await;
    let own = hub.key();
    let forged = |adjust: &dyn Fn(&mut Header, &mut Value)| {
        hub.forge(|header, claims| {
            claims["roles"] = json!(["admin"]);
            adjust(header, claims);
        })
    };
    let without = |claim: &str| forged(&|_, claims| drop(claims.as_object_mut().unwrap().remove(claim)));
    let claiming = |claim: &str, value: Value| forged(&|_, claims| claims[claim] = value.clone());
    let headed = |adjust: &dyn Fn(&mut Header)| {
        forge(&fresh_key(), Algorithm::EdDSA, |header, claims| {
            claims["roles"] = json!(["admin"]);
            adjust(header);
        })
    };
    let mut own_kid = Header::new(Algorithm::EdDSA);
    own_kid.kid = Some("own".into());
    // A server that fetched a key named by a token would connect here.
    let trap = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let trap_url = format!("http://{}/jwks.json", trap.local_addr().unwrap());
    let attackers = fresh_key();
    let attackers_jwk =
        Jwk::from_decoding_key(&DecodingKey::from_ed_der(attackers.public_key_raw()), Some(Algorithm::EdDSA)).unwrap();
    let good = hub.admin();
    let [head, body, signature] = good.split('.').collect::<Vec<_>>()[..] else { panic!("{good}") };
    let other_body = part(&good_claims());

    let tokens = [
        ("garbage", "garbage".to_owned()),
        ("dots", "..".into()),
        ("nothing behind Bearer", String::new()),
        ("alg none", unsigned(&json!({ "alg": "none" }), &good_claims())),
        ("alg nOnE", unsigned(&json!({ "alg": "nOnE", "typ": "JWT" }), &good_claims())),
        ("alg none with a signature", format!("{}.{body}.{signature}", part(&json!({ "alg": "none" })))),
        ("no signature", unsigned(&json!({ "alg": "EdDSA" }), &good_claims())),
        ("a signature of something else", format!("{head}.{other_body}.{signature}")),
        ("HS256 by the raw public key", with_public_key_as_secret(own.public_key_raw())),
        ("HS256 by the public key in PEM", with_public_key_as_secret(own.public_key_pem().as_bytes())),
        ("HS256 by nothing", with_public_key_as_secret(b"")),
        ("another key", headed(&|_| {})),
        ("another key under our issuer's kid", headed(&|header| header.kid.clone_from(&own_kid.kid))),
        ("our key under another name", forged(&|header, _| header.kid = Some("another".into()))),
        ("a kid that is a path", headed(&|header| header.kid = Some("../../../../dev/null".into()))),
        ("a kid with a quote", headed(&|header| header.kid = Some("' UNION SELECT 'secret' --".into()))),
        ("a jku", headed(&|header| header.jku = Some(trap_url.clone()))),
        ("an x5u", headed(&|header| header.x5u = Some(trap_url.clone()))),
        (
            "a jwk",
            forge(&attackers, Algorithm::EdDSA, |header, claims| {
                claims["roles"] = json!(["admin"]);
                header.jwk = Some(attackers_jwk.clone());
            }),
        ),
        ("a critical extension", forged(&|header, _| header.crit = Some(vec!["exp".into()]))),
        ("wrong aud", claiming("aud", json!("somebody"))),
        ("several wrong aud", claiming("aud", json!(["somebody", "else"]))),
        ("no aud", without("aud")),
        ("wrong iss", claiming("iss", json!("https://evil.example"))),
        ("several iss", claiming("iss", json!(["rialto", "evil"]))),
        ("no iss", without("iss")),
        ("no sub", without("sub")),
        ("an empty sub", claiming("sub", json!(""))),
        ("a sub that is a number", claiming("sub", json!(7))),
        ("a long sub", claiming("sub", json!(format!("operator:{}", "x".repeat(128))))),
        ("a sub with a newline", claiming("sub", json!("operator:a\nb"))),
        ("no exp", without("exp")),
        ("a float exp", claiming("exp", json!(now() as f64 + 3600.5))),
        ("a whole float exp", claiming("exp", serde_json::from_str("1e12").unwrap())),
        ("a negative exp", claiming("exp", json!(-1))),
        ("an exp that is a string", claiming("exp", json!((now() + 3600).to_string()))),
        ("an exp that is null", claiming("exp", Value::Null)),
        ("an exp beyond 64 bits", claiming("exp", serde_json::from_str("99999999999999999999").unwrap())),
        ("expired", claiming("exp", json!(now() - 60))),
        ("nbf in the future", claiming("nbf", json!(now() + 60))),
        ("a float nbf", claiming("nbf", json!(1.5))),
        ("roles that are no list", claiming("roles", json!("admin"))),
        ("a user that is not there", claiming("sub", json!("01890a5d-ac96-774b-bcce-b302099a8057"))),
        ("a user's name", claiming("sub", json!("ada"))),
        ("too long", claiming("pad", json!("x".repeat(8 * 1024)))),
    ];
    for (what, token) in &tokens {
        for end in ends(&mut hub.by(token).await).await {
            let end = end.expect_err(what);
            assert_eq!(end.code(), Code::Unauthenticated, "{what}: {end:?}");
            let Refusal { reason, retry, .. } = Refusal::of(&end);
            let expected = match *what {
                "expired" => "TOKEN_EXPIRED",
                "a user that is not there" | "a user's name" => "USER_DELETED",
                _ => "TOKEN_INVALID",
            };
            assert_eq!((reason.as_str(), retry), (expected, false), "{what}");
            assert!(!end.message().contains(token.as_str()) || token.is_empty(), "what was shown is not told back");
        }
    }
    for end in ends(&mut hub.by_nobody().await).await {
        assert_eq!(Refusal::of(&end.unwrap_err()), Refusal::new(Code::Unauthenticated, "TOKEN_MISSING"));
    }
    is_untouched(&hub).await;
    let fetched = tokio::select! {
        biased;
        _ = trap.accept() => true,
        () = std::future::ready(()) => false,
    };
    assert!(!fetched, "nothing is fetched because a token says so");

    // The same token without the fault is valid, so the fault was the reason for the refusal.
    for good in [forged(&|_, _| {}), claiming("aud", json!(["else", "rialto"])), claiming("exp", json!(now() - 5))] {
        hub.by(&good).await.users.list_users(ListUsersRequest::default()).await.unwrap();
    }
}

#[tokio::test]
async fn the_metadata_must_be_one_bearer_token() {
    let hub = Hub::with_tokens(|_| {}).await;
    let mut users = hub.client().await;
    let admin = hub.admin();
    let mut get = async |values: &[String]| {
        let mut request = Request::new(ListUsersRequest::default());
        for value in values {
            request.metadata_mut().append("authorization", value.parse().unwrap());
        }
        users.list_users(request).await.map(drop).map_err(|status| Refusal::of(&status).reason)
    };
    assert_eq!(get(&[format!("Bearer {admin}")]).await, Ok(()));
    assert_eq!(get(&[format!("bearer {admin}")]).await, Ok(()));
    for bad in [vec![admin.clone()], vec![format!("Basic {admin}")], vec![format!("Bearer {admin}"); 2]] {
        assert_eq!(get(&bad).await, Err("TOKEN_INVALID".into()), "{}", bad.len());
    }
}

#[tokio::test]
async fn in_open_mode_tokens_are_ignored() {
    let hub = Hub::start().await;
    let mut anybody = By::over(connection(hub.address()).await, Some("garbage"));
    anybody.create("ada").await.unwrap();
    assert!(!hub.folder().join("token-key.pem").exists(), "a key that nobody needs is not made");
    let refused = hub.login("ada", "any").await.unwrap_err();
    assert_eq!(Refusal::of(&refused), Refusal::new(Code::FailedPrecondition, "AUTH_DISABLED"));
}
