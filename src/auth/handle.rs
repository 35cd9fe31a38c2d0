//! The handle of authentication.

use std::{sync::Arc, time::Duration};

use super::{Error, token::TokenVerifier};
use crate::{
    caller::{ADMIN, Caller, Standing},
    lifecycle::{EndReason, Pass},
    users::Users,
};

/// Grace period after a token's expiry until its streams end, in seconds. Shorter than the tolerated clock skew of 10 s, so that a stream
/// has ended when the skew is over: streams are scanned once a second.
const STREAM_GRACE: i64 = 8;

/// Authenticates callers. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Auth(pub(super) Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    /// `None`: authentication is disabled.
    pub(super) verifier: Option<TokenVerifier>,
    pub(super) users: Users,
    pub(super) open_registration: bool,
    /// Time limit of a call without a token.
    pub(super) without_token: Duration,
}

impl Auth {
    /// Returns why a request with this pass must end, or `None` if it may continue. `now` is in seconds since the Unix epoch.
    #[must_use]
    pub fn judge(&self, pass: &Pass, now: i64) -> Option<EndReason> {
        if now >= pass.expires_at().saturating_add(STREAM_GRACE) {
            return Some(EndReason::TokenExpired);
        }
        let Some(user) = self.0.users.of_id(pass.user?) else { return Some(EndReason::UserDeleted) };
        (pass.admin && !user.roles.iter().any(|role| role == ADMIN)).then_some(EndReason::RightsLost)
    }

    /// Verifies a fresh token for a stream of this caller. Returns its expiry, in seconds since the Unix epoch.
    ///
    /// Fails if the token does not verify, if it is another caller's ([`Error::UserMismatch`]), or if authentication is disabled. May wait
    /// for the issuer's keys, up to 5 s.
    pub async fn renew(self, caller: Caller, token: String) -> Result<i64, Error> {
        let verifier = self.0.verifier.as_ref().ok_or(Error::Disabled)?;
        let verified = verifier.verify(&token, &self.0.users).await?;
        let same_user = matches!(caller.standing, Standing::Authenticated { user, .. } if user == verified.user);
        if !same_user || caller.id.as_deref() != Some(&*verified.id) {
            return Err(Error::UserMismatch);
        }
        Ok(verified.expires_at)
    }
}
