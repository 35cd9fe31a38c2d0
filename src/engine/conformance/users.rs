//! Clauses of `Users`.

use std::sync::Arc;

use uuid::Uuid;

use super::support::TestEngine;
use crate::engine::{Conflict, Engine, Error, PasswordHash, User, UserChange, UserChanges, UserWrite, WriteError};
use crate::types::Time;

/// The password hash of all test users.
pub(crate) const PASSWORD: &str = "$argon2id$…";

pub(crate) fn user(username: &str, email: &str) -> Arc<User> {
    Arc::new(User {
        id: Uuid::now_v7(),
        username: username.into(),
        username_key: username.to_lowercase(),
        email: email.into(),
        email_key: email.to_lowercase(),
        password: Some(PasswordHash(PASSWORD.into())),
        roles: vec!["a".into(), "b".into()],
        revision: 1,
        created_at: Time(1),
        updated_at: Time(2),
    })
}

/// The next revision of a user, with a change.
pub(super) fn next(before: &User, change: impl FnOnce(&mut User)) -> Arc<User> {
    let mut user = User { revision: before.revision + 1, ..before.clone() };
    change(&mut user);
    Arc::new(user)
}

async fn stored(engine: &dyn Engine) -> Vec<User> {
    engine.load_users(None, usize::MAX).await.unwrap()
}

pub(super) async fn write(engine: &dyn Engine, writes: Vec<UserWrite>) -> Result<(), (usize, Conflict)> {
    match engine.write_users(writes).await {
        Ok(_) => Ok(()),
        Err(WriteError::Conflict { index, conflict }) => Err((index, conflict)),
        Err(WriteError::Engine(error)) => panic!("{error}"),
    }
}

pub(crate) async fn users_are_stored_replaced_and_deleted(store: impl TestEngine) {
    let (engine, feeds) = store.open().await;
    let ada = user("Ada", "ada@example.com");
    write(&*engine, vec![UserWrite::Create(Arc::clone(&ada))]).await.unwrap();
    assert_eq!(stored(&*engine).await, [User::clone(&ada)]);
    let changed = next(&ada, |user| {
        (user.email, user.email_key) = (String::new(), String::new());
        (user.password, user.roles) = (None, vec![]);
    });
    write(&*engine, vec![UserWrite::Replace(Arc::clone(&changed))]).await.unwrap();
    engine.close().await;
    drop((engine, feeds));
    let (engine, _feeds) = store.open().await;
    assert_eq!(stored(&*engine).await, [User::clone(&changed)]);
    write(&*engine, vec![UserWrite::Delete { id: ada.id, revision: 2 }]).await.unwrap();
    assert_eq!(stored(&*engine).await, []);
    let again = write(&*engine, vec![UserWrite::Delete { id: ada.id, revision: 2 }]).await;
    assert_eq!(again, Err((0, Conflict::NoSuchUser)));
    assert_eq!(write(&*engine, vec![UserWrite::Replace(changed)]).await, Err((0, Conflict::NoSuchUser)));
}

pub(crate) async fn usernames_and_emails_are_unique(store: impl TestEngine) {
    let (engine, _feeds) = store.open().await;
    let (ada, bob) = (user("ada", "ada@example.com"), user("bob", ""));
    write(&*engine, vec![UserWrite::Create(Arc::clone(&ada)), UserWrite::Create(Arc::clone(&bob))]).await.unwrap();
    let create = |user| vec![UserWrite::Create(user)];
    assert_eq!(write(&*engine, create(user("ADA", ""))).await, Err((0, Conflict::UsernameTaken)));
    assert_eq!(write(&*engine, create(user("eve", "Ada@Example.com"))).await, Err((0, Conflict::EmailTaken)));
    let taken = next(&bob, |user| user.username_key = "ada".into());
    assert_eq!(write(&*engine, vec![UserWrite::Replace(taken)]).await, Err((0, Conflict::UsernameTaken)));
    write(&*engine, create(user("eve", ""))).await.unwrap();
    // A name is free again once its user is renamed.
    let renamed = next(&ada, |ada| ada.username_key = "countess".into());
    write(&*engine, vec![UserWrite::Replace(renamed), UserWrite::Create(user("ada", ""))]).await.unwrap();
}

pub(crate) async fn a_stale_revision_changes_nothing(store: impl TestEngine) {
    let (engine, _feeds) = store.open().await;
    let ada = user("ada", "");
    write(&*engine, vec![UserWrite::Create(Arc::clone(&ada))]).await.unwrap();
    let second = next(&ada, |ada| ada.roles = vec![]);
    write(&*engine, vec![UserWrite::Replace(Arc::clone(&second))]).await.unwrap();
    let stale = next(&ada, |ada| ada.username = "stale".into());
    assert_eq!(write(&*engine, vec![UserWrite::Replace(stale)]).await, Err((0, Conflict::StaleRevision)));
    let stale = UserWrite::Delete { id: ada.id, revision: 1 };
    assert_eq!(write(&*engine, vec![stale]).await, Err((0, Conflict::StaleRevision)));
    assert_eq!(stored(&*engine).await, [User::clone(&second)]);
}

pub(crate) async fn many_users_are_created_all_or_none(store: impl TestEngine) {
    let (engine, mut feeds) = store.open().await;
    let users = ["a", "b", "c", "B", "d"].map(|name| UserWrite::Create(user(name, "")));
    assert_eq!(write(&*engine, users.to_vec()).await, Err((3, Conflict::UsernameTaken)));
    assert_eq!(stored(&*engine).await, []);
    write(&*engine, users[..3].to_vec()).await.unwrap();
    assert_eq!(stored(&*engine).await.len(), 3);
    let fed = feeds.users.recv().await.unwrap();
    assert_eq!(fed.changes.len(), 3, "the refused call emitted nothing");
}

pub(crate) async fn users_come_out_of_the_feed_in_the_order_of_their_versions(store: impl TestEngine) {
    let (engine, mut feeds) = store.open().await;
    let ada = user("ada", "");
    let writes = [
        UserWrite::Create(Arc::clone(&ada)),
        UserWrite::Replace(next(&ada, |_| {})),
        UserWrite::Delete { id: ada.id, revision: 2 },
    ];
    let mut last = 0;
    for (n, write) in writes.into_iter().enumerate() {
        let version = engine.write_users(vec![write]).await.unwrap();
        assert!(version > last);
        last = version;
        let UserChanges { version: fed, changes } = feeds.users.recv().await.unwrap();
        assert_eq!(fed, version);
        match (n, &changes[..]) {
            (0 | 1, [UserChange::Put(user)]) => assert_eq!(user.revision, n as u64 + 1),
            (2, [UserChange::Deleted { id, revision: 3 }]) => assert_eq!(*id, ada.id),
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) async fn users_load_in_pages_in_the_order_of_ids(store: impl TestEngine) {
    let (engine, _feeds) = store.open().await;
    let mut ids = Vec::new();
    for n in 0..10 {
        let user = user(&n.to_string(), "");
        ids.push(user.id);
        write(&*engine, vec![UserWrite::Create(user)]).await.unwrap();
    }
    let (mut loaded, mut last) = (Vec::new(), None);
    loop {
        let page = engine.load_users(last, 3).await.unwrap();
        assert!(page.len() <= 3);
        let Some(user) = page.last() else { break };
        last = Some(user.id);
        loaded.extend(page.into_iter().map(|user| user.id));
    }
    assert_eq!(loaded, ids);
}

pub(crate) async fn users_are_limited_and_a_call_beyond_the_limit_changes_nothing(store: impl TestEngine) {
    let (engine, mut feeds) = store.open().await;
    let create = |names: &[&str]| names.iter().map(|name| UserWrite::Create(user(name, ""))).collect::<Vec<_>>();
    let is_full = |outcome| matches!(outcome, Err(WriteError::Engine(Error::TooManyUsers { limit: 100 })));
    let ada = user("ada", "");
    let mut many = vec![UserWrite::Create(Arc::clone(&ada))];
    many.extend((1..98).map(|n| UserWrite::Create(user(&n.to_string(), ""))));
    engine.write_users(many).await.unwrap();
    assert!(is_full(engine.write_users(create(&["x", "y", "z"])).await), "one too many of three");
    assert_eq!(stored(&*engine).await.len(), 98, "all or none");
    engine.write_users(create(&["x", "y"])).await.unwrap();
    assert!(is_full(engine.write_users(create(&["z"])).await));

    // Other writes are not affected, and a refused call does not change the count.
    write(&*engine, vec![UserWrite::Replace(next(&ada, |_| {}))]).await.unwrap();
    let delete = UserWrite::Delete { id: ada.id, revision: 2 };
    let conflict = write(&*engine, [vec![delete.clone()], create(&["x"])].concat()).await;
    assert_eq!(conflict, Err((1, Conflict::UsernameTaken)));
    assert!(is_full(engine.write_users(create(&["z"])).await));
    assert!(
        is_full(engine.write_users([create(&["z"]), vec![delete.clone()]].concat()).await),
        "in the order of the call"
    );
    write(&*engine, [vec![delete], create(&["z"])].concat()).await.unwrap();
    for expected in [98, 2, 1, 2] {
        assert_eq!(feeds.users.recv().await.unwrap().changes.len(), expected, "refused calls emit nothing");
    }
    engine.close().await;
    drop((engine, feeds));
    let (engine, _feeds) = store.open().await;
    assert!(is_full(engine.write_users(create(&["late"])).await), "also after a restart");
}
