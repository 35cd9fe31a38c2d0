//! Users: the behavior of correct calls.

mod watch;

use std::{collections::HashSet, fs, path::Path};

use rialto::proto::user::{
    CreateUserRequest, DeleteUserRequest, GetUserRequest, ListUsersRequest, Roles, State, UpdateUserRequest, User,
};
use tokio::task::JoinSet;
use tokio_stream::iter;
use tonic::{Code, Status};
use uuid::Uuid;

use crate::support::{Client, Hub, soon};

fn new(username: &str, email: &str, password: &str) -> CreateUserRequest {
    CreateUserRequest { username: username.into(), email: email.into(), password: password.into() }
}

async fn create(client: &mut Client, username: &str) -> Result<User, Status> {
    Ok(soon(client.create_user(new(username, "", ""))).await?.into_inner())
}

async fn get(client: &mut Client, id: &str) -> Result<User, Status> {
    let request = GetUserRequest { id: id.into(), ..GetUserRequest::default() };
    Ok(soon(client.get_user(request)).await?.into_inner())
}

async fn get_by_username(client: &mut Client, username: &str) -> Result<User, Status> {
    let request = GetUserRequest { username: username.into(), ..GetUserRequest::default() };
    Ok(soon(client.get_user(request)).await?.into_inner())
}

async fn update(client: &mut Client, id: &str, set: impl FnOnce(&mut UpdateUserRequest)) -> Result<User, Status> {
    let mut request = UpdateUserRequest { id: id.into(), ..UpdateUserRequest::default() };
    set(&mut request);
    Ok(soon(client.update_user(request)).await?.into_inner())
}

async fn delete(client: &mut Client, id: &str) -> Result<bool, Status> {
    Ok(soon(client.delete_user(DeleteUserRequest { id: id.into() })).await?.into_inner().success)
}

async fn page(client: &mut Client, page_size: i32, page_token: &str) -> Vec<User> {
    let request = ListUsersRequest { page_size, page_token: page_token.into(), watch: false };
    let mut stream = soon(client.list_users(request)).await.unwrap().into_inner();
    let mut users = Vec::new();
    while let Some(user) = soon(stream.message()).await.unwrap() {
        users.push(user);
    }
    users
}

async fn all(client: &mut Client) -> Vec<User> {
    page(client, 0, "").await
}

async fn create_many(client: &mut Client, count: usize) -> Vec<User> {
    let requests: Vec<_> = (0..count).map(|n| new(&format!("user{n}"), "", "")).collect();
    let response = soon(client.create_users(iter(requests))).await.unwrap().into_inner();
    assert_eq!(usize::try_from(response.count), Ok(count));
    response.users
}

fn roles(names: &[&str]) -> Option<Roles> {
    Some(Roles { values: names.iter().map(|name| (*name).to_owned()).collect() })
}

/// The stored hash of a user's password, read after the server has ended.
fn stored_password(folder: &Path, user: &User) -> Option<String> {
    let file = rusqlite::Connection::open(folder.join("rialto.db")).unwrap();
    let id = Uuid::parse_str(&user.id).unwrap();
    file.query_row("SELECT password FROM users WHERE id = ?", [id.as_bytes()], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn a_created_user_has_the_given_fields() {
    let hub = Hub::start().await;
    let mut client = hub.client().await;
    let ada = client.create_user(new("Ada", "Ada@example.com", "secret")).await.unwrap().into_inner();
    assert_eq!((ada.username.as_str(), ada.email.as_str()), ("Ada", "Ada@example.com"), "as they were given");
    assert_eq!((ada.revision, ada.state(), ada.online), (1, State::Active, false));
    assert_eq!(ada.roles, Vec::<String>::new());
    assert_eq!(ada.created_at, ada.updated_at);
    let (seconds, _) = Uuid::parse_str(&ada.id).unwrap().get_timestamp().unwrap().to_unix();
    assert!(u64::try_from(ada.created_at).unwrap().abs_diff(seconds) <= 1, "Unix seconds");
    assert_eq!(all(&mut client).await, [ada]);
}

#[tokio::test]
async fn a_user_is_found_by_id_and_by_username_in_any_case_form() {
    let hub = Hub::start().await;
    let mut client = hub.client().await;
    let ada = create(&mut client, "Ada").await.unwrap();
    let umlaut = create(&mut client, "Ünal").await.unwrap();
    assert_eq!(get(&mut client, &ada.id).await.unwrap(), ada);
    for form in ["Ada", "ada", "ADA", "ＡｄＡ"] {
        assert_eq!(get_by_username(&mut client, form).await.unwrap(), ada, "{form}");
    }
    for form in ["ünal", "ÜNAL", "U\u{308}nal"] {
        assert_eq!(get_by_username(&mut client, form).await.unwrap(), umlaut, "{form}");
    }
}

#[tokio::test]
async fn ids_are_uuids_v7_in_the_order_of_creation() {
    let hub = Hub::start().await;
    let mut client = hub.client().await;
    let mut ids = Vec::new();
    for n in 0..100 {
        ids.push(create(&mut client, &format!("single{n}")).await.unwrap().id);
    }
    ids.extend(create_many(&mut client, 100).await.into_iter().map(|user| user.id));
    assert!(ids.iter().all(|id| Uuid::parse_str(id).unwrap().get_version_num() == 7));
    assert!(ids.is_sorted_by(|a, b| a < b));
    let listed: Vec<_> = all(&mut client).await.into_iter().map(|user| user.id).collect();
    assert_eq!(listed, ids);
}

#[tokio::test]
async fn an_update_changes_what_is_set_and_nothing_else() {
    let hub = Hub::start().await;
    let mut client = hub.client().await;
    let mut ada = client.create_user(new("ada", "ada@example.com", "")).await.unwrap().into_inner();
    let id = ada.id.clone();
    macro_rules! after {
        (|$request:ident| $set:expr, $($field:ident = $value:expr),*) => {
            $(ada.$field = $value;)*
            ada.revision += 1;
            let updated = update(&mut client, &id, |$request| $set).await.unwrap();
            assert!(updated.updated_at >= ada.updated_at);
            ada.updated_at = updated.updated_at;
            assert_eq!(updated, ada);
            assert_eq!(get(&mut client, &id).await.unwrap(), ada);
        };
    }
    after!(|it| it.username = Some("Ada.L".into()), username = "Ada.L".into());
    after!(|it| it.email = Some("l@example.com".into()), email = "l@example.com".into());
    after!(|it| it.email = Some(String::new()), email = String::new());
    after!(|it| it.roles = roles(&["b", "a", "b"]), roles = vec!["a".into(), "b".into()]);
    after!(|it| it.password = Some("secret".into()),);
    after!(|it| it.roles = roles(&[]), roles = vec![]);
    after!(|it| it.password = Some(String::new()),);
    after!(
        |it| (it.username, it.roles) = (Some("ADA".into()), roles(&["x"])),
        username = "ADA".into(),
        roles = vec!["x".into()]
    );

    assert_eq!(update(&mut client, &id, |_| {}).await.unwrap(), ada, "nothing set, nothing changed");
    assert_eq!(get(&mut client, &id).await.unwrap(), ada);
}

#[tokio::test]
async fn a_username_or_email_address_given_up_is_free() {
    let hub = Hub::start().await;
    let mut client = hub.client().await;
    let ada = client.create_user(new("ada", "ada@example.com", "")).await.unwrap().into_inner();
    let renamed = |it: &mut UpdateUserRequest| {
        (it.username, it.email) = (Some("lovelace".into()), Some("lovelace@example.com".into()));
    };
    update(&mut client, &ada.id, renamed).await.unwrap();
    assert_eq!(get_by_username(&mut client, "ada").await.unwrap_err().code(), Code::NotFound);
    assert_eq!(get_by_username(&mut client, "lovelace").await.unwrap().id, ada.id);
    let other = client.create_user(new("Ada", "ADA@example.com", "")).await.unwrap().into_inner();
    assert_eq!(get_by_username(&mut client, "ada").await.unwrap(), other);
}

#[tokio::test]
async fn a_user_may_change_the_case_of_its_username_and_email_address() {
    let hub = Hub::start().await;
    let mut client = hub.client().await;
    let ada = client.create_user(new("ada", "ada@example.com", "")).await.unwrap().into_inner();
    let louder =
        |it: &mut UpdateUserRequest| (it.username, it.email) = (Some("ADA".into()), Some("ADA@example.com".into()));
    let updated = update(&mut client, &ada.id, louder).await.unwrap();
    assert_eq!((updated.username.as_str(), updated.email.as_str()), ("ADA", "ADA@example.com"));
    assert_eq!(get_by_username(&mut client, "ada").await.unwrap(), updated);
}

#[tokio::test]
async fn an_update_for_a_revision_succeeds_at_that_revision_alone() {
    let hub = Hub::start().await;
    let mut client = hub.client().await;
    let ada = create(&mut client, "ada").await.unwrap();
    let change = |revision, role: &'static str| {
        move |it: &mut UpdateUserRequest| (it.expected_revision, it.roles) = (revision, roles(&[role]))
    };
    assert_eq!(update(&mut client, &ada.id, change(1, "one")).await.unwrap().revision, 2);
    for stale in [1, 3] {
        assert_eq!(update(&mut client, &ada.id, change(stale, "two")).await.unwrap_err().code(), Code::Aborted);
    }
    assert_eq!(get(&mut client, &ada.id).await.unwrap().roles, ["one"]);
    assert_eq!(update(&mut client, &ada.id, change(2, "two")).await.unwrap().roles, ["two"]);
    assert_eq!(update(&mut client, &ada.id, change(0, "any")).await.unwrap().revision, 4);
}

/// Calls from several connections at once; returns the answers.
async fn at_once<F>(hub: &Hub, count: usize, call: impl Fn(Client, usize) -> F) -> Vec<Result<User, Status>>
where
    F: Future<Output = Result<User, Status>> + Send + 'static,
{
    let mut calls = JoinSet::new();
    for n in 0..count {
        calls.spawn(call(hub.client().await, n));
    }
    calls.join_all().await
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_updates_all_succeed_and_the_revision_counts_them() {
    let hub = Hub::start().await;
    let mut client = hub.client().await;
    let id = create(&mut client, "ada").await.unwrap().id;
    let outcomes = at_once(&hub, 32, |mut client, n| {
        let id = id.clone();
        async move { update(&mut client, &id, |it| it.email = Some(format!("{n}@example.com"))).await }
    });
    let mut revisions: Vec<_> = outcomes.await.into_iter().map(|user| user.unwrap().revision).collect();
    revisions.sort_unstable();
    assert_eq!(revisions, (2..=33).collect::<Vec<_>>(), "each has its own");
    assert_eq!(get(&mut client, &id).await.unwrap().revision, 33);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_concurrent_updates_for_one_revision_one_wins() {
    let hub = Hub::start().await;
    let mut client = hub.client().await;
    let id = create(&mut client, "ada").await.unwrap().id;
    let outcomes = at_once(&hub, 16, |mut client, n| {
        let id = id.clone();
        let email = Some(format!("{n}@example.com"));
        async move { update(&mut client, &id, |it| (it.expected_revision, it.email) = (1, email)).await }
    });
    let (won, lost): (Vec<_>, Vec<_>) = outcomes.await.into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), lost.len()), (1, 15));
    assert!(lost.into_iter().all(|outcome| outcome.unwrap_err().code() == Code::Aborted));
    assert_eq!(get(&mut client, &id).await.unwrap(), *won[0].as_ref().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_concurrent_creations_of_one_name_one_wins() {
    let hub = Hub::start().await;
    let mut client = hub.client().await;
    let forms = ["ada", "Ada", "ADA", "ＡＤＡ"];
    let outcomes = at_once(&hub, 16, |mut client, n| async move { create(&mut client, forms[n % forms.len()]).await });
    let (won, lost): (Vec<_>, Vec<_>) = outcomes.await.into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), lost.len()), (1, 15));
    assert!(lost.into_iter().all(|outcome| outcome.unwrap_err().code() == Code::AlreadyExists));
    assert_eq!(all(&mut client).await, [won[0].as_ref().unwrap().clone()]);
}

#[tokio::test]
async fn a_deleted_user_is_gone_and_its_name_and_address_are_free() {
    let hub = Hub::start().await;
    let mut client = hub.client().await;
    let ada = client.create_user(new("ada", "ada@example.com", "")).await.unwrap().into_inner();
    let bob = create(&mut client, "bob").await.unwrap();
    assert!(delete(&mut client, &ada.id).await.unwrap());
    assert_eq!(get(&mut client, &ada.id).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(get_by_username(&mut client, "ada").await.unwrap_err().code(), Code::NotFound);
    assert_eq!(all(&mut client).await, std::slice::from_ref(&bob));
    let again = client.create_user(new("ADA", "ADA@example.com", "")).await.unwrap().into_inner();
    assert_ne!(again.id, ada.id);
    assert_eq!(all(&mut client).await, [bob, again]);
}

#[tokio::test]
async fn an_empty_store_lists_no_users() {
    let hub = Hub::start().await;
    let mut client = hub.client().await;
    for page_size in [0, 1, i32::MAX] {
        assert_eq!(page(&mut client, page_size, "").await, []);
    }
}

#[tokio::test]
async fn pages_cover_all_users_once() {
    let hub = Hub::start().await;
    let mut client = hub.client().await;
    let everybody = create_many(&mut client, 1_000).await;
    assert_eq!(all(&mut client).await, everybody, "page_size 0 is all");
    for page_size in [1, 255, 256, 257, 999, 1_000, 1_001] {
        let mut covered: Vec<User> = Vec::new();
        loop {
            let token = covered.last().map_or(String::new(), |user| user.id.clone());
            let part = page(&mut client, page_size.try_into().unwrap(), &token).await;
            let count = part.len();
            covered.extend(part);
            assert!(count <= page_size);
            if count < page_size {
                break;
            }
        }
        assert_eq!(covered, everybody, "page_size {page_size}");
    }
}

#[tokio::test]
async fn a_page_continues_after_a_user_deleted_meanwhile() {
    let hub = Hub::start().await;
    let mut client = hub.client().await;
    let everybody = create_many(&mut client, 10).await;
    let first = page(&mut client, 4, "").await;
    assert_eq!(first, everybody[..4]);
    delete(&mut client, &everybody[3].id).await.unwrap();
    assert_eq!(page(&mut client, 4, &everybody[3].id).await, everybody[4..8]);
    assert_eq!(page(&mut client, 0, &everybody[9].id).await, []);
    assert_eq!(page(&mut client, 0, &Uuid::nil().to_string()).await.len(), 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_begins_after_a_change_returned_sees_it_on_every_connection() {
    let hub = Hub::start().await;
    let (mut one, mut other) = (hub.client().await, hub.client().await);
    for n in 0..100 {
        let created = create(&mut one, &format!("user{n}")).await.unwrap();
        assert_eq!(get(&mut other, &created.id).await.unwrap(), created);
        assert_eq!(page(&mut one, 0, "").await, std::slice::from_ref(&created));

        let renamed = update(&mut other, &created.id, |it| it.username = Some(format!("renamed{n}"))).await.unwrap();
        assert_eq!(get_by_username(&mut one, &renamed.username).await.unwrap(), renamed);
        assert_eq!(get_by_username(&mut one, &created.username).await.unwrap_err().code(), Code::NotFound);

        delete(&mut one, &created.id).await.unwrap();
        assert_eq!(get(&mut other, &created.id).await.unwrap_err().code(), Code::NotFound);
        assert_eq!(all(&mut other).await, []);
    }
}

#[tokio::test]
async fn users_and_their_revisions_survive_a_restart() {
    let hub = Hub::start().await;
    let mut client = hub.client().await;
    let mut users = create_many(&mut client, 20).await;
    let change = |it: &mut UpdateUserRequest| {
        (it.username, it.email, it.roles) = (Some("Ünal".into()), Some("Ü@example.com".into()), roles(&["x", "y"]));
    };
    users[3] = update(&mut client, &users[3].id, change).await.unwrap();
    let gone = users.remove(7);
    delete(&mut client, &gone.id).await.unwrap();
    drop(client);

    let hub = Hub::start_in(hub.shutdown().await, |_| {}).await;
    let mut client = hub.client().await;
    assert_eq!(all(&mut client).await, users);
    assert_eq!(get_by_username(&mut client, "ÜNAL").await.unwrap(), users[3]);
    assert_eq!(get(&mut client, &gone.id).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(create(&mut client, "USER0").await.unwrap_err().code(), Code::AlreadyExists);
    assert_eq!(update(&mut client, &users[3].id, |it| it.roles = roles(&[])).await.unwrap().revision, 3);
    assert!(create(&mut client, "late").await.unwrap().id > users.last().unwrap().id, "ids go on");
}

#[tokio::test]
async fn create_users_answers_in_the_order_of_the_requests() {
    let hub = Hub::start().await;
    let mut client = hub.client().await;
    let requests: Vec<_> = ["Zoe", "ada", "Émile", "bob"]
        .iter()
        .enumerate()
        .map(|(n, name)| new(name, &format!("{n}@example.com"), if n % 2 == 0 { "secret" } else { "" }))
        .collect();
    let response = soon(client.create_users(iter(requests.clone()))).await.unwrap().into_inner();
    assert_eq!(response.count, 4);
    let told: Vec<_> = response.users.iter().map(|user| (user.username.as_str(), user.email.as_str())).collect();
    let asked: Vec<_> = requests.iter().map(|user| (user.username.as_str(), user.email.as_str())).collect();
    assert_eq!(told, asked);
    assert!(response.users.iter().all(|user| user.revision == 1));
    assert_eq!(all(&mut client).await, response.users);
}

#[tokio::test]
async fn create_users_without_users_succeeds() {
    let hub = Hub::start().await;
    let mut client = hub.client().await;
    assert_eq!(create_many(&mut client, 0).await, []);
    assert_eq!(all(&mut client).await, []);
}

#[tokio::test]
async fn only_hashes_of_passwords_are_stored() {
    let hub = Hub::start().await;
    let mut client = hub.client().await;
    let secrets = ["correct horse", "battery staple", "Tr0ub4dor&3", "hunter2 hunter2"];
    let ada = client.create_user(new("ada", "", secrets[0])).await.unwrap().into_inner();
    let bob = client.create_user(new("bob", "", "")).await.unwrap().into_inner();
    let requests = [new("carl", "", secrets[1]), new("dora", "", ""), new("emil", "", secrets[1])];
    let many = client.create_users(iter(requests)).await.unwrap().into_inner().users;
    let frida = client.create_user(new("frida", "", secrets[2])).await.unwrap().into_inner();
    update(&mut client, &bob.id, |it| it.password = Some(secrets[3].into())).await.unwrap();
    update(&mut client, &ada.id, |it| it.roles = roles(&["x"])).await.unwrap();
    update(&mut client, &frida.id, |it| it.password = Some(String::new())).await.unwrap();
    drop(client);

    let folder = hub.shutdown().await;
    let hashed: Vec<_> =
        [&ada, &bob, &many[0], &many[2]].map(|user| stored_password(folder.path(), user).unwrap()).into();
    assert!(hashed.iter().all(|hash| hash.starts_with("$argon2id$")), "{hashed:?}");
    assert_eq!(hashed.iter().collect::<HashSet<_>>().len(), 4, "salted: equal passwords have different hashes");
    assert_eq!(stored_password(folder.path(), &many[1]), None);
    assert_eq!(stored_password(folder.path(), &frida), None, "cleared");
    for file in fs::read_dir(folder.path()).unwrap() {
        let bytes = fs::read(file.unwrap().path()).unwrap();
        for secret in secrets {
            assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "{secret}");
        }
    }
}
