//! The section `[auth]`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::section::{MAX_SECONDS, section};

const MINUTE: u64 = 60;
const DAY: u64 = 24 * 60 * MINUTE;

/// The longest lifetime of a token, about 34 years.
const MAX_LIFETIME: u64 = 1 << 30;

section! {
    /// Who callers are.
    pub struct Auth in "auth" {
        /// `open`: callers need no token, and may do everything. `token`: every call needs a token, and may do what the token's roles allow.
        pub mode: AuthMode = AuthMode::Open;
        /// The audience of tokens: their `aud` must contain it. Never empty.
        pub audience: String = "rialto".into();
        /// The issuer (`iss`) of the tokens that this server signs. Never empty.
        pub issuer: String = "rialto".into();
        /// Other issuers whose tokens are accepted, each with the URL of its keys or with a file that holds a shared secret (HS256). The
        /// roles in their tokens (claim `roles`) apply. `audience` is optional, and defaults to `auth.audience`:
        /// `issuers = [{ issuer = "https://id.example", jwks_url = "https://id.example/jwks.json" }, { issuer = "old", hs256_secret_file = "old.key" }]`
        pub issuers: Vec<Issuer> = Vec::new();
        /// Shortest interval in seconds between two requests for the keys of one issuer, whatever tokens arrive. A key that the issuer has
        /// revoked may be accepted for ten minutes.
        pub jwks_interval_seconds: u64 = 30, 1..=MAX_SECONDS;
        /// Lifetime in seconds of the access tokens that this server signs. Shorter lifetimes limit what a stolen token is worth, and cost
        /// more refreshes.
        pub access_token_seconds: u64 = 15 * MINUTE, 1..=MAX_LIFETIME;
        /// Lifetime in seconds of a refresh token. Each refresh issues a new one, so this is how long a client may stay away and still be
        /// logged in.
        pub refresh_token_seconds: u64 = 30 * DAY, 1..=MAX_LIFETIME;
        /// Sessions of one user; a login above this number ends the oldest session.
        pub max_sessions_per_user: usize = 32, 1..=1 << 20;
        /// In token mode, let callers without a token create users. Otherwise only admins create users.
        pub open_registration: bool = false;
        /// In token mode, deadline in seconds of calls without a token, such as a login or a health check.
        pub unauthenticated_call_seconds: u64 = 30, 1..=MAX_SECONDS;
    }
}

impl Auth {
    /// Whether callers need tokens, and the limits per caller and per address therefore apply.
    #[must_use]
    pub fn is_required(&self) -> bool {
        self.mode == AuthMode::Token
    }
}

/// Whether callers need a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum AuthMode {
    /// Callers need no token.
    Open,
    /// Every call needs a token.
    Token,
}

/// Another issuer whose tokens are accepted. Either `jwks_url` or `hs256_secret_file` is set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Issuer {
    /// The `iss` of its tokens.
    pub issuer: String,
    /// What the `aud` of its tokens must contain. Empty: `auth.audience`.
    pub audience: String,
    /// URL of its JWK Set (RFC 7517): `https`, or `http` on a loopback address.
    pub jwks_url: String,
    /// File with a shared secret of at least 32 bytes, for HS256.
    pub hs256_secret_file: PathBuf,
}
