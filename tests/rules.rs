//! Who may call what: `docs/security.md` documents it, `rpc::METHODS` has it, and the server enforces it.

use std::collections::BTreeMap;

use prost::Message;
use prost_types::FileDescriptorSet;
use rialto::{
    auth::Who,
    proto::{
        self,
        user::{
            CreateUserRequest, DeleteUserRequest, GetUserRequest, ListUsersRequest, Roles, UpdateUserRequest, User,
        },
    },
    rpc::METHODS,
};
use serde_json::json;
use tonic::{Code, Status, body::Body, transport::Channel};
use tower::ServiceExt;

use crate::support::{
    Hub, soon,
    tokens::{By, write_private},
    wire::{Refusal, connection, frame},
};

/// The columns of the table.
const COLUMNS: [&str; 4] = ["no token", "any token", "oneself", "admin"];

fn documented() -> BTreeMap<String, [String; 4]> {
    let page = include_str!("../docs/security.md");
    let section = page.split("\n## ").find(|section| section.starts_with("Who may call what")).unwrap();
    let mut rows = section.lines().filter(|line| line.starts_with('|')).map(|row| {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
        let [method, cells @ ..] = &cells[..] else { panic!("{row}") };
        (format!("/{}", method.trim_matches('`')), <[String; 4]>::try_from(cells.to_vec()).unwrap())
    });
    let (_, heads) = rows.next().unwrap();
    assert_eq!(heads, COLUMNS);
    rows.skip(1).collect()
}

#[test]
fn the_documented_rules_match_the_code() {
    let coded = METHODS.iter().map(|method| {
        let cells = match method.who {
            Who::Anyone => ["yes", "yes", "yes", "yes"],
            Who::Registration => ["if open", "if open", "if open", "yes"],
            Who::Authenticated => ["no", "yes", "yes", "yes"],
            Who::SelfOrAdmin => ["no", "no", "yes", "yes"],
            Who::Admin => ["no", "no", "no", "yes"],
        };
        (method.path.to_owned(), cells.map(str::to_owned))
    });
    assert_eq!(documented(), coded.collect());
}

/// The path of every method of the server.
fn methods() -> Vec<String> {
    let sets = [
        proto::DESCRIPTORS,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ];
    let files = sets.into_iter().flat_map(|set| FileDescriptorSet::decode(set).unwrap().file);
    let mut methods = Vec::new();
    for file in files {
        for service in &file.service {
            let path = |method: &prost_types::MethodDescriptorProto| {
                format!("/{}.{}/{}", file.package(), service.name(), method.name())
            };
            methods.extend(service.method.iter().map(path));
        }
    }
    methods
}

#[test]
fn every_method_has_a_rule() {
    let mut methods = methods();
    methods.sort();
    let documented: Vec<_> = documented().into_keys().collect();
    assert_eq!(methods, documented);
}

/// Whether a bearer may make the call, about this user if it concerns one. Other errors of the call do not matter.
async fn may(channel: &Channel, path: &str, token: Option<&str>, about: &str) -> bool {
    let id = || about.to_owned();
    let message = match path {
        "/user.UserService/UpdateUser" => frame(&UpdateUserRequest { id: id(), ..UpdateUserRequest::default() }),
        "/user.UserService/DeleteUser" => frame(&DeleteUserRequest { id: id() }),
        _ => frame(&()),
    };
    let mut request = http::Request::post(path).header("content-type", "application/grpc").header("te", "trailers");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let request = request.body(Body::new(axum::body::Body::from(message))).unwrap();
    let response = soon(channel.clone().oneshot(request)).await.unwrap();
    // Without a status in the headers, the call was admitted.
    let Some(status) = Status::from_header_map(response.headers()) else { return true };
    let refusal = Refusal::of(&status);
    match refusal.reason.as_str() {
        "TOKEN_MISSING" => {
            assert!(token.is_none() && refusal == Refusal::new(Code::Unauthenticated, "TOKEN_MISSING"), "{path}");
            false
        }
        "NOT_ALLOWED" => {
            assert!(token.is_some() && refusal == Refusal::new(Code::PermissionDenied, "NOT_ALLOWED"), "{path}");
            false
        }
        _ => true,
    }
}

async fn the_server_keeps_the_rules(open_registration: bool) {
    let folder = tempfile::tempdir().unwrap();
    let secret = "canary-secret-of-thirty-two-bytes";
    write_private(&folder.path().join("secret"), secret);
    let hub = Hub::with_tokens(|config| {
        config.auth.open_registration = open_registration;
        config.auth.issuers.push(rialto::config::Issuer {
            issuer: "other".into(),
            hs256_secret_file: folder.path().join("secret"),
            ..Default::default()
        });
    })
    .await;
    let foreign = |roles: &[&str]| {
        let claims = json!({
            "iss": "other", "aud": "rialto", "sub": "carol", "exp": crate::support::tokens::now() + 600, "roles": roles
        });
        let key = jsonwebtoken::EncodingKey::from_secret(secret.as_bytes());
        jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap()
    };
    let boss = hub.user_with("boss", &["admin"]).await;
    let poet = hub.user_with("poet", &["poet", "administrator"]).await;
    let mut creator = hub.by(&hub.admin()).await.users;
    let channel = connection(hub.address()).await;
    let mut wrong = Vec::new();
    for (path, cells) in documented() {
        let request = CreateUserRequest { username: "someone".into(), ..CreateUserRequest::default() };
        let someone = creator.create_user(request).await.unwrap().into_inner();
        let of = |user: &User| Some(hub.token_of(user, 600));
        let callers = [
            ("nobody", 0, None),
            ("another user", 1, of(&poet)),
            ("an operator without roles", 1, Some(hub.forge(|_, _| {}))),
            ("a user of another issuer", 1, Some(foreign(&["poet"]))),
            ("an admin's user id, of another issuer", 1, Some(foreign(&[]))),
            ("the user itself", 2, of(&someone)),
            ("an admin", 3, of(&boss)),
            ("an operator", 3, Some(hub.admin())),
            ("an admin of another issuer", 3, Some(foreign(&["admin"]))),
        ];
        for (caller, column, token) in callers {
            let expected = match cells[column].as_str() {
                "yes" => true,
                "no" => false,
                "if open" => open_registration,
                other => panic!("{other}"),
            };
            if path.ends_with("DeleteUser") && expected {
                continue;
            }
            let found = may(&channel, &path, token.as_deref(), &someone.id).await;
            if found != expected {
                wrong.push(format!("{path} by {caller}: {found}"));
            }
        }
        // Deletes its user, so each gets its own.
        let delete = DeleteUserRequest { id: someone.id.clone() };
        hub.by(&hub.token_of(&someone, 600)).await.users.delete_user(delete).await.unwrap();
        assert!(!may(&channel, "/user.UserService/GetUser", None, "").await);
    }
    assert_eq!(wrong, [] as [String; 0]);
    for admin in [hub.token_of(&boss, 600), hub.admin(), foreign(&["admin"])] {
        let request = CreateUserRequest { username: "someone".into(), ..CreateUserRequest::default() };
        let id = creator.create_user(request).await.unwrap().into_inner().id;
        hub.by(&admin).await.users.delete_user(DeleteUserRequest { id }).await.unwrap();
    }
    assert!(!may(&channel, "/user.UserService/NoSuchMethod", None, "").await, "not even that it is not there");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_method_refuses_callers_without_the_right() {
    the_server_keeps_the_rules(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_open_registration_anonymous_callers_may_create_a_user_and_nothing_else() {
    the_server_keeps_the_rules(true).await;
}

async fn user(by: &mut By, id: &str) -> User {
    let request = GetUserRequest { id: id.into(), ..GetUserRequest::default() };
    by.users.get_user(request).await.unwrap().into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_cannot_change_others_or_give_itself_a_role() {
    let hub = Hub::with_tokens(|_| {}).await;
    let (ada, bob) = (hub.user("ada").await, hub.user("bob").await);
    let mut by_ada = hub.by(&hub.token_of(&ada, 600)).await;
    let denied = Refusal::new(Code::PermissionDenied, "NOT_ALLOWED");
    let of = |user: &User| UpdateUserRequest { id: user.id.clone(), ..UpdateUserRequest::default() };
    let roles = |values: &[&str]| Some(Roles { values: values.iter().map(ToString::to_string).collect() });
    for request in [
        UpdateUserRequest { username: Some("mine".into()), ..of(&bob) },
        UpdateUserRequest { password: Some("canary-mine".into()), ..of(&bob) },
        UpdateUserRequest { roles: roles(&["admin"]), ..of(&ada) },
        UpdateUserRequest { roles: roles(&[]), username: Some("countess".into()), ..of(&ada) },
        UpdateUserRequest { id: "no-such-user".into(), ..UpdateUserRequest::default() },
    ] {
        let status = by_ada.users.update_user(request.clone()).await.unwrap_err();
        assert_eq!(Refusal::of(&status), denied, "{request:?}");
    }
    for id in [&bob.id, "no-such-user"] {
        let status = by_ada.users.delete_user(DeleteUserRequest { id: id.into() }).await.unwrap_err();
        assert_eq!(Refusal::of(&status), denied);
    }
    let mut admin = hub.by(&hub.admin()).await;
    assert_eq!((user(&mut admin, &ada.id).await, user(&mut admin, &bob.id).await), (ada.clone(), bob));
    let own = UpdateUserRequest { username: Some("countess".into()), ..of(&ada) };
    assert_eq!(by_ada.users.update_user(own).await.unwrap().into_inner().username, "countess");
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_follow_the_current_roles() {
    let hub = Hub::with_tokens(|_| {}).await;
    let ada = hub.user_with("ada", &["admin"]).await;
    let mut by_ada = hub.by(&hub.token_of(&ada, 600)).await;
    by_ada.create("bob").await.unwrap();
    let request =
        UpdateUserRequest { id: ada.id.clone(), roles: Some(Roles::default()), ..UpdateUserRequest::default() };
    hub.by(&hub.admin()).await.users.update_user(request).await.unwrap();
    let denied = Refusal::new(Code::PermissionDenied, "NOT_ALLOWED");
    assert_eq!(Refusal::of(&by_ada.create("eve").await.unwrap_err()), denied);
    // For the hub's own users, roles in the token do not count.
    let claiming = hub.forge(|_, claims| (claims["sub"], claims["roles"]) = (json!(ada.id), json!(["admin"])));
    assert_eq!(Refusal::of(&hub.by(&claiming).await.create("eve").await.unwrap_err()), denied);
}

/// The email addresses that a caller sees in GetUser, ListUsers and WatchUsers.
async fn emails(by: &mut By, ids: &[&str]) -> Vec<Vec<String>> {
    let mut alone = Vec::new();
    for id in ids {
        alone.push(user(by, id).await.email);
    }
    let mut seen = vec![alone];
    for watch in [false, true] {
        let request = ListUsersRequest { watch, ..ListUsersRequest::default() };
        let mut list = by.users.list_users(request).await.unwrap().into_inner();
        let mut listed = Vec::new();
        while listed.len() < ids.len() {
            listed.push(soon(list.message()).await.unwrap().unwrap().email);
        }
        seen.push(listed);
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn an_email_address_is_visible_to_its_user_and_to_admins() {
    let hub = Hub::with_tokens(|_| {}).await;
    let (ada, bob) = (hub.user("ada").await, hub.user("bob").await);
    let ids = [ada.id.as_str(), bob.id.as_str()];
    for (token, expected) in [
        (hub.token_of(&ada, 600), ["ada@example.com", ""]),
        (hub.forge(|_, _| {}), ["", ""]),
        (hub.admin(), ["ada@example.com", "bob@example.com"]),
    ] {
        for seen in emails(&mut hub.by(&token).await, &ids).await {
            assert_eq!(seen, expected);
        }
    }
}
