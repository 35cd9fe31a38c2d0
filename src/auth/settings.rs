//! Settings of authentication.

use std::{path::PathBuf, time::Duration};

use super::Issuer;

/// Settings of authentication.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Folder of the server's own signing key. `None` disables authentication: every caller may do everything.
    pub key_folder: Option<PathBuf>,
    /// The `iss` claim of the server's own tokens.
    pub issuer: String,
    /// The `aud` claim of the server's own tokens.
    pub audience: String,
    /// Other issuers whose tokens are accepted.
    pub issuers: Vec<Issuer>,
    /// Minimum interval between two fetches of an issuer's keys.
    pub jwks_interval: Duration,
    /// Lifetime of an access token.
    pub access_token: Duration,
    /// Lifetime of a refresh token.
    pub refresh_token: Duration,
    /// Sessions of one user. A login above the limit ends the user's oldest session.
    pub sessions_per_user: usize,
    /// Allows creating a user without a token.
    pub open_registration: bool,
    /// Time limit of a call without a token.
    pub without_token: Duration,
}
