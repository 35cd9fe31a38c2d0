//! Logins that go on: access tokens for minutes, and refresh tokens behind them that work once each.
//!
//! A refresh token is the id of its session and a secret. The log has only the hash of the last secret given: whoever comes with another one
//! has a token that was used before, so two have it, and the session ends for both (RFC 9700, section 4.14.2).

use std::{fmt, sync::Arc, time::Duration};

use aws_lc_rs::{digest, rand};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Error, OwnKey, Settings, token::OwnClaims};
use crate::{
    engine::{self, Rotated, SecretHash, Session, User},
    types::Time,
    users::{self, Users},
};

/// What refresh tokens begin with, so that those who look for leaked secrets find them.
const PREFIX: &str = "rialto_rt_";

const SECRET_BYTES: usize = 32;

/// Between two removals of sessions that are over.
const PURGE_EVERY: Duration = Duration::from_secs(600);

/// What a login or a refresh gives.
#[derive(Clone)]
pub struct Granted {
    /// Whose they are.
    pub user: Arc<User>,
    /// For calls.
    pub access_token: String,
    /// From now.
    pub access_expires_in: Duration,
    /// For the next pair.
    pub refresh_token: String,
    /// From now.
    pub refresh_expires_in: Duration,
}

impl fmt::Debug for Granted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Granted").field("user", &self.user.id).finish_non_exhaustive()
    }
}

/// Logs users in and out. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Sessions(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    key: Arc<OwnKey>,
    engine: Arc<dyn engine::Sessions>,
    users: Users,
    issuer: String,
    audience: String,
    access_token: Duration,
    refresh_token: Duration,
    sessions_per_user: usize,
}

impl Sessions {
    pub(super) fn new(settings: &Settings, key: Arc<OwnKey>, engine: Arc<dyn engine::Sessions>, users: Users) -> Self {
        Self(Arc::new(Inner {
            key,
            engine,
            users,
            issuer: settings.issuer.clone(),
            audience: settings.audience.clone(),
            access_token: settings.access_token,
            refresh_token: settings.refresh_token,
            sessions_per_user: settings.sessions_per_user,
        }))
    }

    /// Begins a session. Whatever is wrong with name or password takes as long, and says as much, as a wrong password.
    pub async fn login(&self, username: &str, password: String) -> Result<Granted, Error> {
        let user = self.0.users.login(username, password).await?.ok_or(Error::LoginFailed)?;
        let Some(password) = &user.password else { return Err(Error::LoginFailed) };
        let (id, secret) = (Uuid::new_v4(), Secret::new()?);
        let created_at = Time::now();
        let expires_at = created_at.plus(self.0.refresh_token);
        let session = Session { id, user: user.id, secret: secret.hash(), created_at, expires_at };
        let keep = self.0.sessions_per_user;
        let is_begun = self.0.engine.create_session(session, password, keep).await.map_err(users::Error::from)?;
        // Deleted, or given another password, while this one was checked.
        if is_begun { self.grant(user, id, &secret) } else { Err(Error::LoginFailed) }
    }

    /// The next pair of tokens of a session.
    pub async fn refresh(&self, token: &str) -> Result<Granted, Error> {
        let (id, from) = parse(token).ok_or(Error::SessionEnded)?;
        let to = Secret::new()?;
        let expires_at = Time::now().plus(self.0.refresh_token);
        let rotated = self.0.engine.rotate_session(id, from.hash(), to.hash(), expires_at).await;
        match rotated.map_err(users::Error::from)? {
            Rotated::To(session) => {
                let user = self.0.users.get(&session.user.to_string()).map_err(|_| Error::SessionEnded)?;
                self.grant(user, id, &to)
            }
            Rotated::Reused => {
                tracing::warn!(session = %id, "a refresh token was used twice: its session has ended");
                Err(Error::SessionEnded)
            }
            Rotated::Unknown => Err(Error::SessionEnded),
        }
    }

    /// Ends a session, whichever of its tokens this is. One that is over already, or never was, is no error.
    pub async fn logout(&self, token: &str) -> Result<(), Error> {
        if let Some((id, _)) = parse(token) {
            self.0.engine.revoke_session(id).await.map_err(users::Error::from)?;
        }
        Ok(())
    }

    fn grant(&self, user: Arc<User>, session: Uuid, secret: &Secret) -> Result<Granted, Error> {
        let now = Time::now();
        let access_token = self.0.key.sign(&OwnClaims {
            iss: &self.0.issuer,
            aud: &self.0.audience,
            sub: &user.id.to_string(),
            iat: now.seconds(),
            exp: now.plus(self.0.access_token).seconds(),
            roles: None,
        })?;
        Ok(Granted {
            user,
            access_token,
            access_expires_in: self.0.access_token,
            refresh_token: secret.token(session),
            refresh_expires_in: self.0.refresh_token,
        })
    }
}

/// Removes sessions that are over, until it is told to stop.
pub(super) async fn purge(engine: Arc<dyn engine::Sessions>, stop: CancellationToken) {
    let mut rounds = tokio::time::interval(PURGE_EVERY);
    let work = async {
        loop {
            rounds.tick().await;
            if let Err(error) = engine.purge_sessions(Time::now()).await {
                tracing::warn!(%error, "sessions that are over could not be removed");
            }
        }
    };
    stop.run_until_cancelled(work).await;
}

/// What only the holder of a refresh token knows.
struct Secret([u8; SECRET_BYTES]);

impl Secret {
    fn new() -> Result<Self, Error> {
        let mut secret = [0; SECRET_BYTES];
        // A system without randomness gives no tokens.
        rand::fill(&mut secret).map_err(|_| Error::SigningFailed)?;
        Ok(Self(secret))
    }

    /// Of 32 random bytes, a fast hash is as good as a slow one.
    fn hash(&self) -> SecretHash {
        let mut hash = [0; digest::SHA256_OUTPUT_LEN];
        hash.copy_from_slice(digest::digest(&digest::SHA256, &self.0).as_ref());
        SecretHash(hash)
    }

    fn token(&self, session: Uuid) -> String {
        let bytes = [&session.as_bytes()[..], &self.0].concat();
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }
}

fn parse(token: &str) -> Option<(Uuid, Secret)> {
    let bytes = URL_SAFE_NO_PAD.decode(token.strip_prefix(PREFIX)?).ok()?;
    let (id, secret) = bytes.split_first_chunk::<16>()?;
    Some((Uuid::from_bytes(*id), Secret(secret.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use tokio::sync::mpsc;

    use super::*;
    use crate::{
        engine::{Retention, embedded},
        users::{Change, NewUser},
    };

    #[tokio::test]
    async fn a_password_that_is_changed_while_it_is_checked_is_no_good() {
        let (folder, one) = (tempfile::tempdir().unwrap(), NonZeroUsize::MIN);
        let settings = embedded::Settings {
            folder: folder.path().to_owned(),
            queue_drafts: 16,
            queue_bytes: 1 << 20,
            feed_groups: 2,
            page_bytes: 4096,
            file_bytes: 0,
            rooms: 1,
            rooms_per_user: 0,
            readers: one,
            retention: Retention::default(),
        };
        let (engine, feeds) = embedded::open(&settings, Arc::default()).unwrap();
        let users = |feed| {
            let settings = users::Settings {
                bulks: 1,
                bulk: 1,
                bulk_passwords: 1,
                concurrent_hashes: one,
                concurrent_logins: one,
                queued_hashes: 1,
                queued_logins: 1,
                watchers: 1,
                waiting_changes: 1,
            };
            users::start(settings, engine.clone(), feed, Arc::default())
        };
        let (known, _following) = users(feeds.users).await.unwrap();
        let ada = NewUser { username: "ada".into(), email: String::new(), password: "old".into() };
        let id = known.create(ada).await.unwrap().id.to_string();
        // Who hears of no change is as far as a login that began before it.
        let (_silent, feed) = mpsc::channel(1);
        let (before, _waiting) = users(feed).await.unwrap();
        let minute = Duration::from_secs(60);
        let settings = Settings {
            key_folder: None,
            issuer: "us".into(),
            audience: "us".into(),
            issuers: Vec::new(),
            jwks_interval: minute,
            access_token: minute,
            refresh_token: minute,
            sessions_per_user: 1,
            open_registration: false,
            without_token: minute,
        };
        let key = Arc::new(OwnKey::open_or_make(folder.path()).unwrap());
        let sessions = Sessions::new(&settings, key, engine, before);
        sessions.login("ada", "old".into()).await.unwrap();
        known.update(&id, Change { password: Some("new".into()), ..Change::default() }).await.unwrap();
        assert!(matches!(sessions.login("ada", "old".into()).await, Err(Error::LoginFailed)));
    }

    #[test]
    fn a_refresh_token_is_its_session_and_its_secret() {
        let (id, secret) = (Uuid::new_v4(), Secret::new().unwrap());
        let token = secret.token(id);
        let (parsed, read) = parse(&token).unwrap();
        assert_eq!((parsed, read.0), (id, secret.0));
        for garbage in ["", PREFIX, "rialto_rt_abc", &token[1..], &token[..token.len() - 1], &format!("{token}A")] {
            assert!(parse(garbage).is_none(), "{garbage}");
        }
        assert_ne!(Secret::new().unwrap().hash().0, secret.hash().0);
        assert_ne!(secret.hash().0, secret.0, "who reads the log cannot go on with it");
    }
}
