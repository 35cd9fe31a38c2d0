//! Builds authentication from its settings.

use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{
    Auth, IssuerError, KeyError, Sessions, Settings, SigningKey, handle::Inner, issuer::TrustedIssuer, sessions,
    token::TokenVerifier,
};
use crate::{engine, users::Users};

/// Why authentication could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The server's own signing key is missing or invalid.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The configuration of another issuer is invalid.
    #[error(transparent)]
    Issuer(#[from] IssuerError),
}

/// The running parts of authentication.
#[derive(Debug)]
pub struct Started {
    /// Authenticates callers.
    pub auth: Auth,
    /// Logs users in. `None` if authentication is disabled.
    pub sessions: Option<Sessions>,
    /// Background tasks and their names. They end when `stop` is cancelled.
    pub tasks: Vec<(&'static str, JoinHandle<()>)>,
}

/// Starts authentication. Reads the signing key, or creates it on the first start, and the secrets of other issuers: blocks on files.
pub fn start(
    settings: &Settings,
    engine: Arc<dyn engine::Sessions>,
    users: Users,
    stop: &CancellationToken,
) -> Result<Started, StartError> {
    let Settings { open_registration, without_token, .. } = *settings;
    let Some(folder) = &settings.key_folder else {
        let auth = Auth(Arc::new(Inner { verifier: None, users, open_registration, without_token }));
        return Ok(Started { auth, sessions: None, tasks: Vec::new() });
    };
    let key = Arc::new(SigningKey::open_or_create(folder)?);
    let mut issuers = vec![TrustedIssuer::own(&settings.issuer, &settings.audience, &key)];
    let mut tasks = Vec::new();
    for issuer in &settings.issuers {
        let (trusted, task) = TrustedIssuer::other(issuer, settings.jwks_interval, stop)?;
        issuers.push(trusted);
        tasks.extend(task.map(|task| ("key fetcher", task)));
    }
    let sessions = Sessions::new(settings, key, Arc::clone(&engine), users.clone());
    tasks.push(("session purge", tokio::spawn(sessions::purge(engine, stop.clone()))));
    let verifier = Some(TokenVerifier { issuers });
    let auth = Auth(Arc::new(Inner { verifier, users, open_registration, without_token }));
    Ok(Started { auth, sessions: Some(sessions), tasks })
}
