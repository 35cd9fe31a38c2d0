//! The clauses about sessions.

use std::{sync::Arc, time::Duration};

use uuid::Uuid;

use super::{PASSWORD, TestEngine, append, next, user, write};
use crate::engine::{Conflict, Engine, Error, PasswordHash, Rotated, SecretHash, Session, User, UserChange, UserWrite};
use crate::types::Time;

fn secret(n: u8) -> SecretHash {
    SecretHash([n; 32])
}

/// In so many seconds, or so many seconds ago.
fn from_now(seconds: i64) -> Time {
    Time(Time::now().0 + seconds * 1_000_000_000)
}

/// One that began just now, under the secret 1, and is good for an hour.
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

/// The same, begun at this time.
fn begun(user: Uuid, created_at: i64) -> Session {
    Session { created_at: Time(created_at), ..session(user) }
}

async fn somebody(engine: &dyn Engine, username: &str) -> Arc<User> {
    let somebody = user(username, "");
    write(engine, vec![UserWrite::Create(Arc::clone(&somebody))]).await.unwrap();
    somebody
}

/// Begins it by the password that everybody has.
async fn begin(engine: &dyn Engine, session: &Session, keep: usize) -> Result<bool, Error> {
    engine.create_session(session.clone(), &PasswordHash(PASSWORD.into()), keep).await
}

async fn create(engine: &dyn Engine, session: &Session) {
    assert!(begin(engine, session, usize::MAX).await.unwrap(), "its user is there");
}

async fn rotate(engine: &dyn Engine, id: Uuid, from: u8, to: u8) -> Rotated {
    engine.rotate_session(id, secret(from), secret(to), from_now(3600)).await.unwrap()
}

/// What there is of a session, seen by one whom a last rotation does not disturb.
async fn is_there(engine: &dyn Engine, session: &Session) -> bool {
    match engine.rotate_session(session.id, session.secret, session.secret, session.expires_at).await.unwrap() {
        Rotated::To(_) => true,
        Rotated::Unknown => false,
        Rotated::Reused => panic!("another secret"),
    }
}

async fn which_are_there<const N: usize>(engine: &dyn Engine, sessions: &[Session; N]) -> [bool; N] {
    let mut there = [false; N];
    for (there, session) in there.iter_mut().zip(sessions) {
        *there = is_there(engine, session).await;
    }
    there
}

pub(crate) async fn a_session_goes_on_by_its_last_secret(place: impl TestEngine) {
    let (engine, _feeds) = place.open().await;
    let ada = somebody(&*engine, "ada").await;
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

pub(crate) async fn a_secret_used_twice_ends_its_session(place: impl TestEngine) {
    let (engine, _feeds) = place.open().await;
    let ada = somebody(&*engine, "ada").await;
    let (stolen, other) = (session(ada.id), session(ada.id));
    create(&*engine, &stolen).await;
    create(&*engine, &other).await;
    assert!(matches!(rotate(&*engine, stolen.id, 1, 2).await, Rotated::To(_)));
    assert!(matches!(rotate(&*engine, stolen.id, 1, 3).await, Rotated::Reused));
    for last in 1..4 {
        assert!(matches!(rotate(&*engine, stolen.id, last, 9).await, Rotated::Unknown), "neither of both goes on");
    }
    assert!(is_there(&*engine, &other).await);
}

pub(crate) async fn of_many_rotations_at_once_one_succeeds(place: impl TestEngine) {
    let (engine, _feeds) = place.open().await;
    let ada = somebody(&*engine, "ada").await;
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

pub(crate) async fn a_session_that_cannot_be_is_refused_alone(place: impl TestEngine) {
    let (engine, _feeds) = place.open().await;
    let (ada, bob) = (somebody(&*engine, "ada").await, somebody(&*engine, "bob").await);
    let orphan = session(Uuid::now_v7());
    let first = session(ada.id);
    let taken = Session { user: bob.id, secret: secret(2), ..first.clone() };
    // What is written together with these must not suffer.
    let (message, created, none, second) = tokio::join!(
        append(&*engine, "a", "text"),
        begin(&*engine, &first, 10),
        begin(&*engine, &orphan, 10),
        begin(&*engine, &taken, 10),
    );
    assert!(created.unwrap());
    assert!(!none.unwrap(), "there is no such user");
    assert!(matches!(second, Err(Error::Unavailable(_))), "the id is taken: {second:?}");
    assert!(!is_there(&*engine, &orphan).await);
    let rotated = rotate(&*engine, first.id, 1, 2).await;
    assert!(matches!(&rotated, Rotated::To(session) if session.user == ada.id), "the first one counts: {rotated:?}");
    assert!(append(&*engine, "a", "text").await > message, "the log goes on");
}

pub(crate) async fn of_too_many_sessions_of_a_user_the_oldest_end(place: impl TestEngine) {
    let (engine, _feeds) = place.open().await;
    let (ada, bob) = (somebody(&*engine, "ada").await, somebody(&*engine, "bob").await);
    let others = begun(bob.id, 1);
    create(&*engine, &others).await;
    // The order of neither ids nor calls; and the last one by a clock that has stepped back.
    let sessions = [30, 10, 40, 20].map(|created_at| begun(ada.id, created_at));
    for session in &sessions {
        create(&*engine, session).await;
    }
    assert_eq!(which_are_there(&*engine, &sessions).await, [true; 4], "they may be many");
    let new = begun(ada.id, 5);
    assert!(begin(&*engine, &new, 3).await.unwrap());
    assert_eq!(which_are_there(&*engine, &sessions).await, [true, false, true, false]);
    assert!(is_there(&*engine, &new).await && is_there(&*engine, &others).await);
    let only = session(ada.id);
    assert!(begin(&*engine, &only, 1).await.unwrap());
    assert_eq!(which_are_there(&*engine, &sessions).await, [false; 4]);
    assert!(is_there(&*engine, &only).await && !is_there(&*engine, &new).await);
}

pub(crate) async fn an_expired_session_is_as_good_as_none(place: impl TestEngine) {
    let (engine, _feeds) = place.open().await;
    let ada = somebody(&*engine, "ada").await;
    let expired = Session { expires_at: from_now(-1), ..session(ada.id) };
    create(&*engine, &expired).await;
    for used in [1, 7] {
        assert!(matches!(rotate(&*engine, expired.id, used, 2).await, Rotated::Unknown));
    }
    // It takes no place: the older one, which is good, stays.
    let (good, new) = (begun(ada.id, 1), session(ada.id));
    create(&*engine, &good).await;
    create(&*engine, &Session { expires_at: from_now(-1), ..session(ada.id) }).await;
    assert!(begin(&*engine, &new, 2).await.unwrap());
    assert_eq!(which_are_there(&*engine, &[good, new]).await, [true, true]);
    // The end that counts is that of the last rotation.
    let short = session(ada.id);
    create(&*engine, &short).await;
    let rotated = engine.rotate_session(short.id, secret(1), secret(2), from_now(-1)).await.unwrap();
    assert!(matches!(rotated, Rotated::To(_)));
    assert!(matches!(rotate(&*engine, short.id, 2, 3).await, Rotated::Unknown));
}

pub(crate) async fn a_revoked_session_is_gone(place: impl TestEngine) {
    let (engine, _feeds) = place.open().await;
    let ada = somebody(&*engine, "ada").await;
    let sessions = [session(ada.id), session(ada.id)];
    for session in &sessions {
        create(&*engine, session).await;
    }
    assert_eq!(engine.revoke_session(sessions[0].id).await.unwrap(), Some(ada.id));
    assert_eq!(which_are_there(&*engine, &sessions).await, [false, true]);
    assert_eq!(engine.revoke_session(sessions[0].id).await.unwrap(), None);
}

pub(crate) async fn what_has_expired_is_purged_and_counted(place: impl TestEngine) {
    let (engine, _feeds) = place.open().await;
    let ada = somebody(&*engine, "ada").await;
    let (past, future) = (from_now(-100), from_now(100));
    // Far more than one write may take.
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
    assert_eq!(engine.purge_sessions(future).await.unwrap(), 0, "before, not at");
    assert_eq!(engine.purge_sessions(stays.expires_at).await.unwrap(), 600);
    assert!(is_there(&*engine, &stays).await);
    assert_eq!(engine.purge_sessions(Time(i64::MAX)).await.unwrap(), 1);
    assert!(!is_there(&*engine, &stays).await);
}

pub(crate) async fn sessions_end_with_their_user(place: impl TestEngine) {
    let (engine, mut feeds) = place.open().await;
    let (ada, bob) = (somebody(&*engine, "ada").await, somebody(&*engine, "bob").await);
    let sessions = [session(ada.id), session(ada.id), session(bob.id)];
    for session in &sessions {
        create(&*engine, session).await;
    }
    let delete = UserWrite::Delete { id: ada.id, revision: 1 };
    let refused = write(&*engine, vec![delete.clone(), UserWrite::Create(user("bob", ""))]).await;
    assert_eq!(refused, Err((1, Conflict::UsernameTaken)));
    assert_eq!(which_are_there(&*engine, &sessions).await, [true; 3], "all or none");
    write(&*engine, vec![delete]).await.unwrap();
    assert_eq!(which_are_there(&*engine, &sessions).await, [false, false, true]);
    assert!(!begin(&*engine, &session(ada.id), 10).await.unwrap());
    for _ in 0..2 {
        feeds.users.recv().await.unwrap();
    }
    let fed = feeds.users.recv().await.unwrap();
    assert!(matches!(fed.changes[..], [UserChange::Deleted { .. }]), "sessions are nothing of the feed's");
}

pub(crate) async fn sessions_end_when_the_password_changes(place: impl TestEngine) {
    let (engine, _feeds) = place.open().await;
    let (ada, bob) = (somebody(&*engine, "ada").await, somebody(&*engine, "bob").await);
    let others = session(bob.id);
    create(&*engine, &others).await;
    let hash = |hash: &str| PasswordHash(hash.into());
    let mut now = ada;
    // Each time first a change of something else, and one that is taken back.
    for password in [Some(hash("other")), Some(hash("third")), None] {
        let (own, before) = (session(now.id), now.password.clone().unwrap());
        assert!(engine.create_session(own.clone(), &before, 10).await.unwrap());
        now = next(&now, |user| user.roles = vec!["else".into()]);
        write(&*engine, vec![UserWrite::Replace(Arc::clone(&now))]).await.unwrap();
        assert!(is_there(&*engine, &own).await, "the password is the same");
        now = next(&now, |user| user.password = password.clone());
        let change = UserWrite::Replace(Arc::clone(&now));
        let refused = write(&*engine, vec![change.clone(), UserWrite::Create(user("bob", ""))]).await;
        assert_eq!(refused, Err((1, Conflict::UsernameTaken)));
        assert!(is_there(&*engine, &own).await, "all or none");
        write(&*engine, vec![change]).await.unwrap();
        assert!(!is_there(&*engine, &own).await, "{password:?}");
        let late = session(now.id);
        assert!(!engine.create_session(late.clone(), &before, 10).await.unwrap(), "the password of before");
        assert!(!is_there(&*engine, &late).await);
    }
    // Where there was none, one is given.
    let change = next(&now, |user| user.password = Some(hash("last")));
    write(&*engine, vec![UserWrite::Replace(change)]).await.unwrap();
    assert!(engine.create_session(session(now.id), &hash("last"), 10).await.unwrap());
    assert!(is_there(&*engine, &others).await);
}

pub(crate) async fn sessions_outlive_a_restart(place: impl TestEngine) {
    let (engine, feeds) = place.open().await;
    let ada = somebody(&*engine, "ada").await;
    let sessions = [session(ada.id), session(ada.id), session(ada.id)];
    for session in &sessions {
        create(&*engine, session).await;
    }
    assert!(matches!(rotate(&*engine, sessions[0].id, 1, 2).await, Rotated::To(_)));
    engine.revoke_session(sessions[1].id).await.unwrap();
    engine.close().await;
    drop((engine, feeds));
    let (engine, _feeds) = place.open().await;
    assert!(matches!(rotate(&*engine, sessions[0].id, 2, 3).await, Rotated::To(_)));
    assert!(matches!(rotate(&*engine, sessions[1].id, 1, 2).await, Rotated::Unknown));
    assert!(matches!(rotate(&*engine, sessions[2].id, 2, 3).await, Rotated::Reused));
}

pub(crate) async fn sessions_go_on_after_seal_and_fail_after_close(place: impl TestEngine) {
    let (engine, _feeds) = place.open().await;
    let ada = somebody(&*engine, "ada").await;
    engine.seal().await;
    let sessions = [session(ada.id), session(ada.id)];
    for session in &sessions {
        create(&*engine, session).await;
    }
    assert_eq!(which_are_there(&*engine, &sessions).await, [true; 2]);
    assert_eq!(engine.revoke_session(sessions[0].id).await.unwrap(), Some(ada.id));
    assert_eq!(engine.purge_sessions(Time(i64::MAX)).await.unwrap(), 1);
    engine.close().await;
    let closed = async {
        let created = begin(&*engine, &session(ada.id), 10).await;
        let rotated = engine.rotate_session(sessions[1].id, secret(1), secret(2), from_now(1)).await;
        let revoked = engine.revoke_session(sessions[1].id).await;
        let purged = engine.purge_sessions(Time(i64::MAX)).await;
        (created, rotated, revoked, purged)
    };
    let closed = tokio::time::timeout(Duration::from_secs(10), closed).await.expect("nobody waits for what has ended");
    assert!(
        matches!(closed, (Err(Error::Stopped), Err(Error::Stopped), Err(Error::Stopped), Err(Error::Stopped))),
        "{closed:?}"
    );
}
