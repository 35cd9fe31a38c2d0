//! Tokens of other issuers, verified by their published keys or by a shared secret.

use std::{
    os::unix::fs::PermissionsExt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, jwk::Jwk};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use rialto::{
    config::{self, AuthMode, Issuer, Limit},
    proto::user::{DeleteUserRequest, GetUserRequest, ListUsersRequest},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::watch,
    task::JoinSet,
};
use tonic::{Code, Status};

use crate::support::{
    Hub, soon,
    tokens::{forge, fresh_key, now, write_private},
    wire::Refusal,
};

const ISSUER: &str = "https://id.example";

/// Publishes keys over HTTP, and counts the requests for them.
pub(super) struct Publisher {
    url: String,
    shared: Arc<Shared>,
    _serving: JoinSet<()>,
}

#[derive(Default)]
struct Shared {
    /// The whole HTTP answer.
    answer: Mutex<String>,
    asked: AtomicUsize,
    /// Requests wait for an answer.
    held: watch::Sender<bool>,
}

impl Publisher {
    pub(super) async fn start(keys: &[Value]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/jwks.json", listener.local_addr().unwrap());
        let shared = Arc::<Shared>::default();
        let serving = Arc::clone(&shared);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                serving.asked.fetch_add(1, Ordering::SeqCst);
                let mut request = [0; 1024];
                _ = socket.read(&mut request).await;
                _ = serving.held.subscribe().wait_for(|held| !held).await;
                let answer = serving.answer.lock().unwrap().clone();
                _ = socket.write_all(answer.as_bytes()).await;
            }
        });
        let publisher = Self { url, shared, _serving: tasks };
        publisher.publish(keys);
        publisher
    }

    pub(super) fn publish(&self, keys: &[Value]) {
        self.answer("200 OK", "", &json!({ "keys": keys }).to_string());
    }

    fn answer(&self, status: &str, headers: &str, body: &str) {
        let length = body.len();
        *self.shared.answer.lock().unwrap() =
            format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}");
    }

    /// Answers no request until it is released.
    pub(super) fn hold(&self) {
        self.shared.held.send_replace(true);
    }

    pub(super) fn release(&self) {
        self.shared.held.send_replace(false);
    }

    pub(super) fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::SeqCst)
    }

    pub(super) fn issuer(&self) -> Issuer {
        Issuer { issuer: ISSUER.into(), jwks_url: self.url.clone(), ..Issuer::default() }
    }
}

pub(super) fn jwk(key: &KeyPair, algorithm: Algorithm) -> Value {
    let decoding = match algorithm {
        Algorithm::ES256 => DecodingKey::from_ec_der(key.public_key_raw()),
        _ => DecodingKey::from_ed_der(key.public_key_raw()),
    };
    let mut jwk = Jwk::from_decoding_key(&decoding, Some(algorithm)).unwrap();
    jwk.common.key_id = Some(kid(key, algorithm));
    serde_json::to_value(jwk).unwrap()
}

fn kid(key: &KeyPair, algorithm: Algorithm) -> String {
    format!("{algorithm:?}-{}", URL_SAFE_NO_PAD.encode(key.public_key_raw()))
}

/// A token of the other issuer.
pub(super) fn issued(key: &KeyPair, algorithm: Algorithm, adjust: impl FnOnce(&mut Header, &mut Value)) -> String {
    forge(key, algorithm, |header, claims| {
        header.kid = Some(kid(key, algorithm));
        (claims["iss"], claims["sub"]) = (json!(ISSUER), json!("carol"));
        adjust(header, claims);
    })
}

/// Whether a token is accepted; if not, the reason.
async fn shown(hub: &Hub, token: &str) -> Result<(), Status> {
    hub.by(token).await.users.list_users(ListUsersRequest::default()).await.map(drop)
}

async fn refused(hub: &Hub, token: &str) -> Refusal {
    Refusal::of(&shown(hub, token).await.unwrap_err())
}

fn invalid() -> Refusal {
    Refusal::new(Code::Unauthenticated, "TOKEN_INVALID")
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_verified_by_the_published_keys_of_their_issuer() {
    let (ed, ec) = (fresh_key(), KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap());
    let secret = json!({ "kty": "oct", "kid": "secret", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA" });
    let sealing = fresh_key();
    let mut for_encryption = jwk(&sealing, Algorithm::EdDSA);
    for_encryption["use"] = json!("enc");
    let contradicting = fresh_key();
    let mut for_another_algorithm = jwk(&contradicting, Algorithm::EdDSA);
    for_another_algorithm["alg"] = json!("RS256");
    let nonsense = json!({ "kty": "what?", "kid": 7 });
    let keys = [
        secret,
        nonsense,
        for_encryption,
        for_another_algorithm,
        jwk(&ed, Algorithm::EdDSA),
        jwk(&ec, Algorithm::ES256),
    ];
    let publisher = Publisher::start(&keys).await;
    let hub = Hub::with_tokens(|config| config.auth.issuers.push(publisher.issuer())).await;
    let (ada, gone) = (hub.user("ada").await, hub.user("gone").await);
    let delete = DeleteUserRequest { id: gone.id.clone() };
    hub.by(&hub.admin()).await.users.delete_user(delete).await.unwrap();

    shown(&hub, &issued(&ed, Algorithm::EdDSA, |_, _| {})).await.unwrap();
    shown(&hub, &issued(&ec, Algorithm::ES256, |_, _| {})).await.unwrap();
    // Only the roles in its tokens count.
    let carol = issued(&ed, Algorithm::EdDSA, |_, _| {});
    let denied = Refusal::new(Code::PermissionDenied, "NOT_ALLOWED");
    assert_eq!(Refusal::of(&hub.by(&carol).await.create("eve").await.unwrap_err()), denied);
    let admin = issued(&ed, Algorithm::EdDSA, |_, claims| claims["roles"] = json!(["poet", "admin"]));
    hub.by(&admin).await.create("eve").await.unwrap();

    let adjusted = |adjust: fn(&mut Header, &mut Value)| issued(&ed, Algorithm::EdDSA, adjust);
    let confused = |secret: &[u8], kid: &str| {
        let header = Header { kid: Some(kid.into()), ..Header::new(Algorithm::HS256) };
        let claims = json!({ "iss": ISSUER, "aud": "rialto", "sub": "carol", "exp": now() + 60, "roles": ["admin"] });
        jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(secret)).unwrap()
    };
    for (what, token) in [
        ("no kid, where there are several keys", adjusted(|header, _| header.kid = None)),
        ("another's kid", issued(&ed, Algorithm::EdDSA, |header, _| header.kid = Some(kid(&ec, Algorithm::ES256)))),
        (
            "another key",
            issued(&fresh_key(), Algorithm::EdDSA, |header, _| header.kid = Some(kid(&ed, Algorithm::EdDSA))),
        ),
        ("a key for another algorithm", issued(&contradicting, Algorithm::EdDSA, |_, _| {})),
        ("a key for encryption", issued(&sealing, Algorithm::EdDSA, |_, _| {})),
        ("the server's key in its name", hub.forge(|_, claims| claims["iss"] = json!(ISSUER))),
        ("its key in the server's name", adjusted(|_, claims| claims["iss"] = json!("rialto"))),
        ("an operator", adjusted(|_, claims| claims["sub"] = json!("operator:carol"))),
        ("a user here", issued(&ed, Algorithm::EdDSA, |_, claims| claims["sub"] = json!(ada.id))),
        ("one who was a user here", issued(&ed, Algorithm::EdDSA, |_, claims| claims["sub"] = json!(gone.id))),
        ("for another audience", adjusted(|_, claims| claims["aud"] = json!("shop"))),
        ("the published secret", confused(b"secret-secret-secret-secret-secret", "secret")),
        ("a public key as a secret", confused(ed.public_key_raw(), &kid(&ed, Algorithm::EdDSA))),
    ] {
        assert_eq!(refused(&hub, &token).await, invalid(), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_fetched_at_most_once_per_interval() {
    let key = fresh_key();
    let publisher = Publisher::start(&[jwk(&key, Algorithm::EdDSA)]).await;
    let hub = Hub::with_tokens(|config| config.auth.issuers.push(publisher.issuer())).await;
    shown(&hub, &issued(&key, Algorithm::EdDSA, |_, _| {})).await.unwrap();
    // Nor do they wait for the next fetch.
    soon(async {
        for _ in 0..50 {
            let stranger = issued(&fresh_key(), Algorithm::EdDSA, |_, _| {});
            assert_eq!(refused(&hub, &stranger).await, invalid());
        }
    })
    .await;
    assert_eq!(publisher.asked(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keys_kept_of_an_issuer_are_limited() {
    let keys: Vec<_> = (0..65).map(|_| fresh_key()).collect();
    let published: Vec<_> = keys.iter().map(|key| jwk(key, Algorithm::EdDSA)).collect();
    let publisher = Publisher::start(&published).await;
    let hub = Hub::with_tokens(|config| config.auth.issuers.push(publisher.issuer())).await;
    shown(&hub, &issued(&keys[63], Algorithm::EdDSA, |_, _| {})).await.unwrap();
    assert_eq!(refused(&hub, &issued(&keys[64], Algorithm::EdDSA, |_, _| {})).await, invalid());
}

/// Waits until tokens of this key are accepted, or refused.
pub(super) async fn until_good(hub: &Hub, key: &KeyPair, good: bool) {
    let wait = async {
        while shown(hub, &issued(key, Algorithm::EdDSA, |_, _| {})).await.is_ok() != good {
            tokio::task::yield_now().await;
        }
    };
    soon(wait).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_is_found_and_the_old_one_is_valid_while_it_is_published() {
    let (old, new) = (fresh_key(), fresh_key());
    let publisher = Publisher::start(&[jwk(&old, Algorithm::EdDSA)]).await;
    let hub = Hub::with_tokens(|config| {
        config.auth.issuers.push(publisher.issuer());
        config.auth.jwks_interval_seconds = 1;
        config.rates.calls_per_second_per_caller = Limit(0);
        config.rates.calls_per_second_per_address = Limit(0);
    })
    .await;
    until_good(&hub, &old, true).await;
    publisher.publish(&[jwk(&old, Algorithm::EdDSA), jwk(&new, Algorithm::EdDSA)]);
    until_good(&hub, &new, true).await;
    shown(&hub, &issued(&old, Algorithm::EdDSA, |_, _| {})).await.unwrap();
    publisher.publish(&[jwk(&new, Algorithm::EdDSA)]);
    // An unknown key triggers the fetch, which would otherwise be far off.
    let stranger = issued(&fresh_key(), Algorithm::EdDSA, |_, _| {});
    let wait = async {
        while shown(&hub, &issued(&old, Algorithm::EdDSA, |_, _| {})).await.is_ok() {
            _ = shown(&hub, &stranger).await;
        }
    };
    soon(wait).await;
    shown(&hub, &issued(&new, Algorithm::EdDSA, |_, _| {})).await.unwrap();
    // An issuer that publishes no keys revokes all of them.
    publisher.publish(&[]);
    let wait = async {
        while shown(&hub, &issued(&new, Algorithm::EdDSA, |_, _| {})).await.is_ok() {
            _ = shown(&hub, &stranger).await;
        }
    };
    soon(wait).await;
    assert_eq!(refused(&hub, &issued(&new, Algorithm::EdDSA, |_, _| {})).await, invalid());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_issuer_changes_nothing() {
    let (key, elsewhere) = (fresh_key(), Publisher::start(&[]).await);
    let publisher = Publisher::start(&[]).await;
    let bodies = [
        ("500 Internal Server Error", String::new(), String::new()),
        ("302 Found", format!("Location: {}\r\n", elsewhere.url), String::new()),
        ("200 OK", String::new(), "no JSON".into()),
        (
            "200 OK",
            String::new(),
            json!({ "keys": [jwk(&key, Algorithm::EdDSA)], "pad": "x".repeat(2 << 20) }).to_string(),
        ),
    ];
    let (status, headers, body) = &bodies[0];
    publisher.answer(status, headers, body);
    let hub = Hub::with_tokens(|config| {
        config.auth.issuers.push(publisher.issuer());
        config.auth.jwks_interval_seconds = 1;
        config.rates.calls_per_second_per_caller = Limit(0);
        config.rates.calls_per_second_per_address = Limit(0);
    })
    .await;
    let token = issued(&key, Algorithm::EdDSA, |_, _| {});
    for (status, headers, body) in &bodies {
        publisher.answer(status, headers, body);
        let before = publisher.asked();
        let asked = async {
            while publisher.asked() < before + 2 {
                let unavailable = Refusal::new(Code::Unavailable, "KEYS_UNAVAILABLE").retry();
                assert_eq!(refused(&hub, &token).await, unavailable, "{status}");
            }
        };
        soon(asked).await;
    }
    assert_eq!(elsewhere.asked(), 0, "no redirect is followed");
    hub.by(&hub.admin()).await.create("ada").await.unwrap();

    publisher.publish(&[jwk(&key, Algorithm::EdDSA)]);
    until_good(&hub, &key, true).await;
    publisher.answer("500 Internal Server Error", "", "");
    let before = publisher.asked();
    let asked = async {
        while publisher.asked() < before + 2 {
            shown(&hub, &token).await.unwrap();
            assert_eq!(refused(&hub, &issued(&fresh_key(), Algorithm::EdDSA, |_, _| {})).await, invalid());
        }
    };
    soon(asked).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_secret_is_valid_for_its_issuer_only() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    let secret = "canary-secret-of-thirty-two-bytes";
    write_private(&file, &format!("{secret}\n"));
    let issuer =
        Issuer { issuer: "old".into(), audience: "shop".into(), hs256_secret_file: file.clone(), ..Issuer::default() };
    let hub = Hub::with_tokens(|config| config.auth.issuers.push(issuer)).await;
    let ada = hub.user("ada").await;
    let signed = |algorithm, secret: &str, iss: &str, aud: &str| {
        let claims = json!({ "iss": iss, "aud": aud, "sub": "carol", "exp": now() + 60, "roles": ["admin"] });
        jsonwebtoken::encode(&Header::new(algorithm), &claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
    };
    let good = signed(Algorithm::HS256, secret, "old", "shop");
    let get = GetUserRequest { id: ada.id, ..GetUserRequest::default() };
    hub.by(&good).await.users.get_user(get).await.unwrap();
    for (what, token) in [
        ("another secret", signed(Algorithm::HS256, "another-secret-of-thirty-two-bytes", "old", "shop")),
        ("another length", signed(Algorithm::HS512, secret, "old", "shop")),
        ("in the server's name", signed(Algorithm::HS256, secret, "rialto", "rialto")),
        ("for the server's audience", signed(Algorithm::HS256, secret, "old", "rialto")),
        (
            "the server's key in its name",
            hub.forge(|_, claims| (claims["iss"], claims["aud"]) = (json!("old"), json!("shop"))),
        ),
    ] {
        assert_eq!(refused(&hub, &token).await, invalid(), "{what}");
    }
}

#[tokio::test]
async fn issuers_that_cannot_be_trusted_keep_the_server_from_starting() {
    let folder = tempfile::tempdir().unwrap();
    let short = folder.path().join("short");
    write_private(&short, "too short\n");
    let exposed = folder.path().join("exposed");
    write_private(&exposed, "canary-secret-of-thirty-two-bytes");
    std::fs::set_permissions(&exposed, std::fs::Permissions::from_mode(0o644)).unwrap();
    let secret = |hs256_secret_file| Issuer { issuer: "old".into(), hs256_secret_file, ..Issuer::default() };
    let url = |url: &str| Issuer { issuer: "new".into(), jwks_url: url.into(), ..Issuer::default() };
    for (n, (issuer, expected)) in [
        (secret(short), "too short; it must have at least 32 bytes"),
        (secret(folder.path().join("nowhere")), "cannot read the secret"),
        (secret(exposed), "is readable by all users of this machine"),
        (url("http://id.example/jwks.json"), "must be https"),
        (url("ftp://127.0.0.1/jwks.json"), "must be https"),
        (url("no url"), "is not a URL"),
    ]
    .into_iter()
    .enumerate()
    {
        let config = config::Config {
            listen: "127.0.0.1:0".parse().unwrap(),
            data: folder.path().join(n.to_string()),
            auth: config::Auth { mode: AuthMode::Token, issuers: vec![issuer], ..Default::default() },
            ..Default::default()
        };
        let error = rialto::server::start(&config).await.err().unwrap().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
