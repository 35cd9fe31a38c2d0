//! Clauses of `Sessions`.

use std::{sync::Arc, time::Duration};

use uuid::Uuid;

use super::{
    support::{TestEngine, append},
    users::{PASSWORD, next, user, write},
};
use crate::engine::{Conflict, Engine, Error, PasswordHash, Rotated, SecretHash, Session, User, UserChange, UserWrite};
use crate::types::Time;

fn secret(n: u8) -> SecretHash {
    SecretHash([n; 32])
}

/// The time this many seconds from now; negative: ago.
fn from_now(seconds: i64) -> Time {
    Time(Time::now().0 + seconds * 1_000_000_000)
}

/// A session created now, with secret 1, that expires in an hour.
fn session(user: Uuid) -> Session {
    let now = Time::now();
    Session {
        id: Uuid::now_v7(),
        user,
        secret: secret(1),
        created_at: now,
        expires_at: Time(now.0 + 3_600_000_000_000),
    }
}

/// The same, created at another time.
fn created_at(user: Uuid, created_at: i64) -> Session {
    Session { created_at: Time(created_at), ..session(user) }
}

async fn new_user(engine: &dyn Engine, username: &str) -> Arc<User> {
    let user = user(username, "");
    write(engine, vec![UserWrite::Create(Arc::clone(&user))]).await.unwrap();
    user
}

/// Creates a session with the password that all test users have.
async fn try_create(engine: &dyn Engine, session: &Session, keep: usize) -> Result<bool, Error> {
    engine.create_session(session.clone(), &PasswordHash(PASSWORD.into()), keep).await
}

async fn create(engine: &dyn Engine, session: &Session) {
    assert!(try_create(engine, session, usize::MAX).await.unwrap(), "its user exists");
}

async fn rotate(engine: &dyn Engine, id: Uuid, from: u8, to: u8) -> Rotated {
    engine.rotate_session(id, secret(from), secret(to), from_now(3600)).await.unwrap()
}

/// Whether a session exists. Rotates it to its own secret, which changes nothing.
async fn exists(engine: &dyn Engine, session: &Session) -> bool {
    match engine.rotate_session(session.id, session.secret, session.secret, session.expires_at).await.unwrap() {
        Rotated::To(_) => true,
        Rotated::Unknown => false,
        Rotated::Reused => panic!("another secret"),
    }
}

async fn which_exist<const N: usize>(engine: &dyn Engine, sessions: &[Session; N]) -> [bool; N] {
    let mut found = [false; N];
    for (found, session) in found.iter_mut().zip(sessions) {
        *found = exists(engine, session).await;
    }
    found
}

pub(crate) async fn a_session_continues_by_its_current_secret(store: impl TestEngine) {
    let (engine, _feeds) = store.open().await;
    let ada = new_user(&*engine, "ada").await;
    let first = session(ada.id);
    create(&*engine, &first).await;
    for n in 1..4 {
        let end = from_now(1000 + i64::from(n));
        let rotated = engine.rotate_session(first.id, secret(n), secret(n + 1), end).await.unwrap();
        let Rotated::To(now) = rotated else { panic!("{rotated:?}") };
        assert_eq!((now.id, now.user, now.created_at), (first.id, ada.id, first.created_at));
        assert_eq!((now.secret.0, now.expires_at), (secret(n + 1).0, end));
    }
    assert!(matches!(rotate(&*engine, Uuid::now_v7(), 1, 2).await, Rotated::Unknown));
}

pub(crate) async fn a_secret_used_twice_ends_its_session(store: impl TestEngine) {
    let (engine, _feeds) = store.open().await;
    let ada = new_user(&*engine, "ada").await;
    let (stolen, other) = (session(ada.id), session(ada.id));
    create(&*engine, &stolen).await;
    create(&*engine, &other).await;
    assert!(matches!(rotate(&*engine, stolen.id, 1, 2).await, Rotated::To(_)));
    assert!(matches!(rotate(&*engine, stolen.id, 1, 3).await, Rotated::Reused));
    for last in 1..4 {
        assert!(
            matches!(rotate(&*engine, stolen.id, last, 9).await, Rotated::Unknown),
            "neither holder continues the session"
        );
    }
    assert!(exists(&*engine, &other).await);
}

pub(crate) async fn of_concurrent_rotations_one_succeeds(store: impl TestEngine) {
    let (engine, _feeds) = store.open().await;
    let ada = new_user(&*engine, "ada").await;
    let contested = session(ada.id);
    create(&*engine, &contested).await;
    let mut tasks = tokio::task::JoinSet::new();
    for n in 2..18 {
        let (engine, id) = (Arc::clone(&engine), contested.id);
        tasks.spawn(async move { rotate(&*engine, id, 1, n).await });
    }
    let outcomes = tasks.join_all().await;
    let how_many = |outcome: fn(&Rotated) -> bool| outcomes.iter().filter(|rotated| outcome(rotated)).count();
    let to = how_many(|rotated| matches!(rotated, Rotated::To(_)));
    let reused = how_many(|rotated| matches!(rotated, Rotated::Reused));
    assert_eq!((to, reused, outcomes.len()), (1, 1, 16), "{outcomes:?}");
}

pub(crate) async fn an_invalid_session_is_refused_without_affecting_others(store: impl TestEngine) {
    let (engine, _feeds) = store.open().await;
    let (ada, bob) = (new_user(&*engine, "ada").await, new_user(&*engine, "bob").await);
    let orphan = session(Uuid::now_v7());
    let first = session(ada.id);
    let taken = Session { user: bob.id, secret: secret(2), ..first.clone() };
    // Writes in the same group must not be affected.
    let (message, created, none, second) = tokio::join!(
        append(&*engine, "a", "text"),
        try_create(&*engine, &first, 10),
        try_create(&*engine, &orphan, 10),
        try_create(&*engine, &taken, 10),
    );
    assert!(created.unwrap());
    assert!(!none.unwrap(), "no such user");
    assert!(matches!(second, Err(Error::Unavailable(_))), "the id is taken: {second:?}");
    assert!(!exists(&*engine, &orphan).await);
    let rotated = rotate(&*engine, first.id, 1, 2).await;
    assert!(
        matches!(&rotated, Rotated::To(session) if session.user == ada.id),
        "the existing session stays: {rotated:?}"
    );
    assert!(append(&*engine, "a", "text").await > message, "the log continues");
}

pub(crate) async fn beyond_the_limit_a_users_oldest_sessions_end(store: impl TestEngine) {
    let (engine, _feeds) = store.open().await;
    let (ada, bob) = (new_user(&*engine, "ada").await, new_user(&*engine, "bob").await);
    let others = created_at(bob.id, 1);
    create(&*engine, &others).await;
    // Creation times that follow neither ids nor calls; the last session is created after the clock stepped back.
    let sessions = [30, 10, 40, 20].map(|time| created_at(ada.id, time));
    for session in &sessions {
        create(&*engine, session).await;
    }
    assert_eq!(which_exist(&*engine, &sessions).await, [true; 4], "within the limit");
    let new = created_at(ada.id, 5);
    assert!(try_create(&*engine, &new, 3).await.unwrap());
    assert_eq!(which_exist(&*engine, &sessions).await, [true, false, true, false]);
    assert!(exists(&*engine, &new).await && exists(&*engine, &others).await);
    let only = session(ada.id);
    assert!(try_create(&*engine, &only, 1).await.unwrap());
    assert_eq!(which_exist(&*engine, &sessions).await, [false; 4]);
    assert!(exists(&*engine, &only).await && !exists(&*engine, &new).await);
}

pub(crate) async fn an_expired_session_behaves_as_if_it_did_not_exist(store: impl TestEngine) {
    let (engine, _feeds) = store.open().await;
    let ada = new_user(&*engine, "ada").await;
    let expired = Session { expires_at: from_now(-1), ..session(ada.id) };
    create(&*engine, &expired).await;
    for used in [1, 7] {
        assert!(matches!(rotate(&*engine, expired.id, used, 2).await, Rotated::Unknown));
    }
    // It does not count: the older session, which is valid, stays.
    let (good, new) = (created_at(ada.id, 1), session(ada.id));
    create(&*engine, &good).await;
    create(&*engine, &Session { expires_at: from_now(-1), ..session(ada.id) }).await;
    assert!(try_create(&*engine, &new, 2).await.unwrap());
    assert_eq!(which_exist(&*engine, &[good, new]).await, [true, true]);
    // The expiry is that of the last rotation.
    let short = session(ada.id);
    create(&*engine, &short).await;
    let rotated = engine.rotate_session(short.id, secret(1), secret(2), from_now(-1)).await.unwrap();
    assert!(matches!(rotated, Rotated::To(_)));
    assert!(matches!(rotate(&*engine, short.id, 2, 3).await, Rotated::Unknown));
}

pub(crate) async fn a_revoked_session_has_ended(store: impl TestEngine) {
    let (engine, _feeds) = store.open().await;
    let ada = new_user(&*engine, "ada").await;
    let sessions = [session(ada.id), session(ada.id)];
    for session in &sessions {
        create(&*engine, session).await;
    }
    assert_eq!(engine.revoke_session(sessions[0].id).await.unwrap(), Some(ada.id));
    assert_eq!(which_exist(&*engine, &sessions).await, [false, true]);
    assert_eq!(engine.revoke_session(sessions[0].id).await.unwrap(), None);
}

pub(crate) async fn expired_sessions_are_purged_and_counted(store: impl TestEngine) {
    let (engine, _feeds) = store.open().await;
    let ada = new_user(&*engine, "ada").await;
    let (past, future) = (from_now(-100), from_now(100));
    // More than one write removes.
    let expired = Session { expires_at: future, ..session(ada.id) };
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..600 {
        let (engine, session) = (Arc::clone(&engine), Session { id: Uuid::now_v7(), ..expired.clone() });
        tasks.spawn(async move { create(&*engine, &session).await });
    }
    tasks.join_all().await;
    let stays = Session { expires_at: Time(future.0 + 1), ..session(ada.id) };
    create(&*engine, &stays).await;
    assert_eq!(engine.purge_sessions(past).await.unwrap(), 0);
    assert_eq!(engine.purge_sessions(future).await.unwrap(), 0, "expiry before, not at, the given time");
    assert_eq!(engine.purge_sessions(stays.expires_at).await.unwrap(), 600);
    assert!(exists(&*engine, &stays).await);
    assert_eq!(engine.purge_sessions(Time(i64::MAX)).await.unwrap(), 1);
    assert!(!exists(&*engine, &stays).await);
}

pub(crate) async fn sessions_end_with_their_user(store: impl TestEngine) {
    let (engine, mut feeds) = store.open().await;
    let (ada, bob) = (new_user(&*engine, "ada").await, new_user(&*engine, "bob").await);
    let sessions = [session(ada.id), session(ada.id), session(bob.id)];
    for session in &sessions {
        create(&*engine, session).await;
    }
    let delete = UserWrite::Delete { id: ada.id, revision: 1 };
    let refused = write(&*engine, vec![delete.clone(), UserWrite::Create(user("bob", ""))]).await;
    assert_eq!(refused, Err((1, Conflict::UsernameTaken)));
    assert_eq!(which_exist(&*engine, &sessions).await, [true; 3], "all or none");
    write(&*engine, vec![delete]).await.unwrap();
    assert_eq!(which_exist(&*engine, &sessions).await, [false, false, true]);
    assert!(!try_create(&*engine, &session(ada.id), 10).await.unwrap());
    for _ in 0..2 {
        feeds.users.recv().await.unwrap();
    }
    let fed = feeds.users.recv().await.unwrap();
    assert!(matches!(fed.changes[..], [UserChange::Deleted { .. }]), "sessions are not part of the feed");
}

pub(crate) async fn sessions_end_when_the_password_changes(store: impl TestEngine) {
    let (engine, _feeds) = store.open().await;
    let (ada, bob) = (new_user(&*engine, "ada").await, new_user(&*engine, "bob").await);
    let others = session(bob.id);
    create(&*engine, &others).await;
    let hash = |hash: &str| PasswordHash(hash.into());
    let mut now = ada;
    // Each round first changes something else, and then makes a change that is rolled back.
    for password in [Some(hash("other")), Some(hash("third")), None] {
        let (own, before) = (session(now.id), now.password.clone().unwrap());
        assert!(engine.create_session(own.clone(), &before, 10).await.unwrap());
        now = next(&now, |user| user.roles = vec!["else".into()]);
        write(&*engine, vec![UserWrite::Replace(Arc::clone(&now))]).await.unwrap();
        assert!(exists(&*engine, &own).await, "the password is the same");
        now = next(&now, |user| user.password = password.clone());
        let change = UserWrite::Replace(Arc::clone(&now));
        let refused = write(&*engine, vec![change.clone(), UserWrite::Create(user("bob", ""))]).await;
        assert_eq!(refused, Err((1, Conflict::UsernameTaken)));
        assert!(exists(&*engine, &own).await, "all or none");
        write(&*engine, vec![change]).await.unwrap();
        assert!(!exists(&*engine, &own).await, "{password:?}");
        let late = session(now.id);
        assert!(!engine.create_session(late.clone(), &before, 10).await.unwrap(), "the previous password");
        assert!(!exists(&*engine, &late).await);
    }
    // From no password to one.
    let change = next(&now, |user| user.password = Some(hash("last")));
    write(&*engine, vec![UserWrite::Replace(change)]).await.unwrap();
    assert!(engine.create_session(session(now.id), &hash("last"), 10).await.unwrap());
    assert!(exists(&*engine, &others).await);
}

pub(crate) async fn sessions_survive_a_restart(store: impl TestEngine) {
    let (engine, feeds) = store.open().await;
    let ada = new_user(&*engine, "ada").await;
    let sessions = [session(ada.id), session(ada.id), session(ada.id)];
    for session in &sessions {
        create(&*engine, session).await;
    }
    assert!(matches!(rotate(&*engine, sessions[0].id, 1, 2).await, Rotated::To(_)));
    engine.revoke_session(sessions[1].id).await.unwrap();
    engine.close().await;
    drop((engine, feeds));
    let (engine, _feeds) = store.open().await;
    assert!(matches!(rotate(&*engine, sessions[0].id, 2, 3).await, Rotated::To(_)));
    assert!(matches!(rotate(&*engine, sessions[1].id, 1, 2).await, Rotated::Unknown));
    assert!(matches!(rotate(&*engine, sessions[2].id, 2, 3).await, Rotated::Reused));
}

pub(crate) async fn sessions_continue_after_seal_and_fail_after_close(store: impl TestEngine) {
    let (engine, _feeds) = store.open().await;
    let ada = new_user(&*engine, "ada").await;
    engine.seal().await;
    let sessions = [session(ada.id), session(ada.id)];
    for session in &sessions {
        create(&*engine, session).await;
    }
    assert_eq!(which_exist(&*engine, &sessions).await, [true; 2]);
    assert_eq!(engine.revoke_session(sessions[0].id).await.unwrap(), Some(ada.id));
    assert_eq!(engine.purge_sessions(Time(i64::MAX)).await.unwrap(), 1);
    engine.close().await;
    let closed = async {
        let created = try_create(&*engine, &session(ada.id), 10).await;
        let rotated = engine.rotate_session(sessions[1].id, secret(1), secret(2), from_now(1)).await;
        let revoked = engine.revoke_session(sessions[1].id).await;
        let purged = engine.purge_sessions(Time(i64::MAX)).await;
        (created, rotated, revoked, purged)
    };
    let closed = tokio::time::timeout(Duration::from_secs(10), closed).await.expect("calls after close do not wait");
    assert!(
        matches!(closed, (Err(Error::Stopped), Err(Error::Stopped), Err(Error::Stopped), Err(Error::Stopped))),
        "{closed:?}"
    );
}
