//! Login sessions: short-lived access tokens, renewed by refresh tokens that each work once.
//!
//! A refresh token consists of the session's id and a secret, and the log has the hash of the latest secret only. A known session with
//! another secret means that a token was used twice, so that two parties hold it: the session ends for both (RFC 9700, section 4.14.2).

mod refresh_token;

use std::{fmt, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Error, Settings, SigningKey, token::OwnClaims};
use crate::{
    engine::{self, Rotated, Session, User},
    types::Time,
    users::{self, Users},
};
use refresh_token::{Secret, parse};

/// Interval between removals of expired sessions.
const PURGE_INTERVAL: Duration = Duration::from_secs(600);

/// The tokens that a login or a refresh returns.
#[derive(Clone)]
pub struct TokenPair {
    /// The user of the tokens.
    pub user: Arc<User>,
    /// Authenticates calls.
    pub access_token: String,
    /// Time until the access token expires.
    pub access_expires_in: Duration,
    /// Gets the next pair, once.
    pub refresh_token: String,
    /// Time until the refresh token expires.
    pub refresh_expires_in: Duration,
}

impl fmt::Debug for TokenPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenPair").field("user", &self.user.id).finish_non_exhaustive()
    }
}

/// Logs users in and out. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Sessions(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    key: Arc<SigningKey>,
    engine: Arc<dyn engine::Sessions>,
    users: Users,
    issuer: String,
    audience: String,
    access_token: Duration,
    refresh_token: Duration,
    sessions_per_user: usize,
}

impl Sessions {
    pub(super) fn new(
        settings: &Settings,
        key: Arc<SigningKey>,
        engine: Arc<dyn engine::Sessions>,
        users: Users,
    ) -> Self {
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

    /// Starts a session. An unknown username and a wrong password fail with the same error after the same work.
    pub async fn login(&self, username: &str, password: String) -> Result<TokenPair, Error> {
        let user = self.0.users.login(username, password).await?.ok_or(Error::LoginFailed)?;
        let Some(password) = &user.password else { return Err(Error::LoginFailed) };
        let (id, secret) = (Uuid::new_v4(), Secret::new()?);
        let created_at = Time::now();
        let expires_at = created_at.plus(self.0.refresh_token);
        let session = Session { id, user: user.id, secret: secret.hash(), created_at, expires_at };
        let keep = self.0.sessions_per_user;
        let is_created = self.0.engine.create_session(session, password, keep).await.map_err(users::Error::from)?;
        // Otherwise the user was deleted, or the password changed, while it was verified.
        if is_created { self.grant(user, id, &secret) } else { Err(Error::LoginFailed) }
    }

    /// Exchanges a refresh token for the next pair of tokens.
    ///
    /// Fails with [`Error::SessionEnded`] if the session has ended, or if the token was used before, which ends the session.
    pub async fn refresh(&self, token: &str) -> Result<TokenPair, Error> {
        let (id, old) = parse(token).ok_or(Error::SessionEnded)?;
        let new = Secret::new()?;
        let expires_at = Time::now().plus(self.0.refresh_token);
        let rotated = self.0.engine.rotate_session(id, old.hash(), new.hash(), expires_at).await;
        match rotated.map_err(users::Error::from)? {
            Rotated::To(session) => {
                let user = self.0.users.get(&session.user.to_string()).map_err(|_| Error::SessionEnded)?;
                self.grant(user, id, &new)
            }
            Rotated::Reused => {
                tracing::warn!(session = %id, "a refresh token was used twice; its session has ended");
                Err(Error::SessionEnded)
            }
            Rotated::Unknown => Err(Error::SessionEnded),
        }
    }

    /// Ends the session of a refresh token, also of one that was used before. An unknown or ended session is not an error.
    pub async fn logout(&self, token: &str) -> Result<(), Error> {
        if let Some((id, _)) = parse(token) {
            self.0.engine.revoke_session(id).await.map_err(users::Error::from)?;
        }
        Ok(())
    }

    fn grant(&self, user: Arc<User>, session: Uuid, secret: &Secret) -> Result<TokenPair, Error> {
        let now = Time::now();
        let access_token = self.0.key.sign(&OwnClaims {
            iss: &self.0.issuer,
            aud: &self.0.audience,
            sub: &user.id.to_string(),
            iat: now.seconds(),
            exp: now.plus(self.0.access_token).seconds(),
            roles: None,
        })?;
        Ok(TokenPair {
            user,
            access_token,
            access_expires_in: self.0.access_token,
            refresh_token: secret.token(session),
            refresh_expires_in: self.0.refresh_token,
        })
    }
}

/// Removes expired sessions, until `stop` is cancelled.
pub(super) async fn purge(engine: Arc<dyn engine::Sessions>, stop: CancellationToken) {
    let mut interval = tokio::time::interval(PURGE_INTERVAL);
    let work = async {
        loop {
            interval.tick().await;
            if let Err(error) = engine.purge_sessions(Time::now()).await {
                tracing::warn!(%error, "cannot remove expired sessions");
            }
        }
    };
    stop.run_until_cancelled(work).await;
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use tokio::sync::mpsc;

    use super::*;
    use crate::{
        config,
        engine::{Retention, embedded},
        users::{NewUser, UserUpdate},
    };

    #[tokio::test]
    async fn a_password_changed_while_it_is_verified_starts_no_session() {
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
            users: 100,
            readers: one,
            retention: Retention::default(),
        };
        let (engine, feeds) = embedded::open(&settings, Arc::default()).unwrap();
        let users = |feed| users::start(config::Users::default(), engine.clone(), feed, Arc::default());
        let (current, _following) = users(feeds.users).await.unwrap();
        let ada = NewUser { username: "ada".into(), email: String::new(), password: "old".into() };
        let id = current.create(ada).await.unwrap().id.to_string();
        // A model that receives no changes is in the state of a login that began before the change.
        let (_no_changes, feed) = mpsc::channel(1);
        let (stale, _waiting) = users(feed).await.unwrap();
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
        let key = Arc::new(SigningKey::open_or_create(folder.path()).unwrap());
        let sessions = Sessions::new(&settings, key, engine, stale);
        sessions.login("ada", "old".into()).await.unwrap();
        current.update(&id, UserUpdate { password: Some("new".into()), ..UserUpdate::default() }).await.unwrap();
        assert!(matches!(sessions.login("ada", "old".into()).await, Err(Error::LoginFailed)));
    }
}
