//! Who may make which call: tokens, the rules for every method, and the sessions behind refresh tokens.
//!
//! Invariants:
//! - A handler never sees a token. The layer takes it away and leaves a [`Caller`]. (A stream goes on with another one: Chat hands it here as it comes.)
//! - Which keys are good for a token is decided by its issuer and by the configuration, never by the token.

mod error;
mod issuer;
mod jwks;
mod key;
mod layer;
mod rules;
mod sessions;
mod token;

use std::{path::PathBuf, sync::Arc, time::Duration};

use axum::response::Response;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{
    caller::{ADMIN, Caller, Standing},
    engine,
    lifecycle::EndReason,
    lifecycle::Pass,
    users::Users,
};
pub use error::Error;
use issuer::Trusted;
pub use issuer::{Issuer, IssuerError, Keys};
pub use key::{KeyError, OwnKey};
pub use layer::identify;
pub use rules::{RULES, Who, may_change, may_set_roles};
pub use sessions::{Granted, Sessions};
use token::{Bearer, Tokens};
pub use token::{Operator, sign_operator};

/// How far the clocks of an issuer and this server may be apart, in seconds.
const LEEWAY: u64 = 10;

/// Seconds after its token's expiry at which a stream ends: so many that it has ended within the leeway.
const STREAM_LEEWAY: i64 = 8;

/// How callers are known.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the server's own key is. Absent: nobody has to say who he is.
    pub key_folder: Option<PathBuf>,
    /// What own tokens have in their `iss`.
    pub issuer: String,
    /// What own tokens have in their `aud`.
    pub audience: String,
    /// Others whose tokens are taken.
    pub issuers: Vec<Issuer>,
    /// Between two looks at the keys of an issuer, at least.
    pub jwks_interval: Duration,
    /// For how long an access token is good.
    pub access_token: Duration,
    /// For how long a refresh token is good.
    pub refresh_token: Duration,
    /// Sessions of one user.
    pub sessions_per_user: usize,
    /// Anybody may create a user.
    pub open_registration: bool,
    /// For how long a call without a token may go on.
    pub without_token: Duration,
}

/// Why the tokens could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The server's own key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Another issuer.
    #[error(transparent)]
    Issuer(#[from] IssuerError),
}

/// Tells callers apart. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Auth(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Absent: nobody has to say who he is.
    tokens: Option<Tokens>,
    users: Users,
    open_registration: bool,
    without_token: Duration,
}

/// What the layer is made of.
#[derive(Debug, Clone)]
pub struct Layer {
    /// Knows the callers.
    pub auth: Auth,
    /// How a refusal is told.
    pub refuse: fn(Error) -> Response,
    /// How it is told that a call ends before it is answered.
    pub ended: fn(EndReason) -> Response,
}

/// What runs.
#[derive(Debug)]
pub struct Started {
    /// Tells callers apart.
    pub auth: Auth,
    /// Logs users in. Absent: there are no tokens.
    pub sessions: Option<Sessions>,
    /// They end when they are told to stop.
    pub tasks: Vec<JoinHandle<()>>,
}

/// Sets everything up.
pub fn start(
    settings: &Settings,
    engine: Arc<dyn engine::Sessions>,
    users: Users,
    stop: &CancellationToken,
) -> Result<Started, StartError> {
    let Settings { open_registration, without_token, .. } = *settings;
    let Some(folder) = &settings.key_folder else {
        let auth = Auth(Arc::new(Inner { tokens: None, users, open_registration, without_token }));
        return Ok(Started { auth, sessions: None, tasks: Vec::new() });
    };
    let key = Arc::new(OwnKey::open_or_make(folder)?);
    let mut issuers = vec![Trusted::own(&settings.issuer, &settings.audience, &key)];
    let mut tasks = Vec::new();
    for issuer in &settings.issuers {
        let (trusted, task) = Trusted::other(issuer, settings.jwks_interval, stop)?;
        issuers.push(trusted);
        tasks.extend(task);
    }
    let sessions = Sessions::new(settings, key, Arc::clone(&engine), users.clone());
    tasks.push(tokio::spawn(sessions::purge(engine, stop.clone())));
    let tokens = Some(Tokens { issuers });
    let auth = Auth(Arc::new(Inner { tokens, users, open_registration, without_token }));
    Ok(Started { auth, sessions: Some(sessions), tasks })
}

impl Auth {
    /// Whether a stream that came with this may go on; if not, why.
    #[must_use]
    pub fn judge(&self, pass: &Pass, now: i64) -> Option<EndReason> {
        if now >= pass.expires_at().saturating_add(STREAM_LEEWAY) {
            return Some(EndReason::TokenExpired);
        }
        let Some(user) = self.0.users.of_id(pass.user?) else { return Some(EndReason::UserDeleted) };
        (pass.admin && !user.roles.iter().any(|role| role == ADMIN)).then_some(EndReason::RightsLost)
    }

    /// Checks a token with which a stream of this caller is to go on; gives its expiry, in seconds since the Unix epoch.
    pub async fn renew(self, caller: Caller, token: String) -> Result<i64, Error> {
        let tokens = self.0.tokens.as_ref().ok_or(Error::Disabled)?;
        let bearer = tokens.verify(&token, &self.0.users).await?;
        let same_user = matches!(caller.standing, Standing::Somebody { user, .. } if user == bearer.user);
        if !same_user || caller.id.as_deref() != Some(&*bearer.id) {
            return Err(Error::UserMismatch);
        }
        Ok(bearer.expires_at)
    }
}
