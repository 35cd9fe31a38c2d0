//! Tokens (JWT, RFC 7519): which are good here, and what they say. Written along RFC 8725.

use std::{sync::Arc, time::Duration};

use jsonwebtoken::{
    Algorithm, DecodingKey, Validation, dangerous::insecure_decode_claims, decode, decode_header, errors::ErrorKind,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Error, LEEWAY, issuer::Trusted, key::OwnKey};
use crate::{
    caller::ADMIN,
    types::Time,
    users::{Users, parse_id},
};

/// What the `sub` of an operator's token begins with. No user of ours or of another issuer is called so.
const OPERATOR: &str = "operator:";

/// Bytes of a token that are looked at.
const MAX_BYTES: usize = 8 * 1024;

/// Bytes of a `sub`, as of every user's name on the wire.
const SUBJECT_BYTES: usize = 128;

/// Claims of an own token.
#[derive(Debug, Serialize)]
pub(super) struct OwnClaims<'a> {
    pub(super) iss: &'a str,
    pub(super) aud: &'a str,
    pub(super) sub: &'a str,
    pub(super) iat: i64,
    pub(super) exp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) roles: Option<&'a [String]>,
}

/// A token for somebody with access to the data folder.
#[derive(Debug)]
pub struct Operator<'a> {
    /// As in the settings of the server.
    pub issuer: &'a str,
    /// The same.
    pub audience: &'a str,
    /// Who it is for: letters, digits and `. _ -`, so that logs show it as it is.
    pub name: &'a str,
    /// What it may do.
    pub roles: &'a [String],
    /// For how long.
    pub lifetime: Duration,
}

/// Signs an operator's token.
pub fn sign_operator(key: &OwnKey, operator: &Operator<'_>) -> Result<String, Error> {
    let now = Time::now().seconds();
    key.sign(&OwnClaims {
        iss: operator.issuer,
        aud: operator.audience,
        sub: &format!("{OPERATOR}{}", operator.name),
        iat: now,
        exp: now.saturating_add(i64::try_from(operator.lifetime.as_secs()).unwrap_or(i64::MAX)),
        roles: Some(operator.roles),
    })
}

/// What is read of a token, strictly: a claim of another type fails it. What is checked beside is in [`good_for`].
#[derive(Debug, Deserialize)]
struct Claims {
    sub: String,
    /// Whole seconds: a fraction, or a time before 1970, is none that an issuer means (RFC 7519, section 2, would allow it).
    exp: u64,
    #[serde(default, rename = "nbf")]
    _nbf: Option<u64>,
    #[serde(default)]
    roles: Vec<String>,
}

/// Who claims to have issued a token; read before anything is known to be true.
#[derive(Debug, Deserialize)]
struct Origin {
    iss: String,
}

/// Whom a good token names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bearer {
    pub(super) id: Arc<str>,
    /// Which of our own users, if it is one.
    pub(super) user: Option<Uuid>,
    pub(super) admin: bool,
    /// In seconds since the Unix epoch.
    pub(super) expires_at: i64,
}

/// A key, and what a token must be that it is good for.
#[derive(Debug)]
pub(super) struct Key {
    /// By which tokens name it.
    pub(super) id: Option<String>,
    pub(super) decoding: DecodingKey,
    pub(super) validation: Validation,
}

/// What a token must be: of these algorithms, all of one family, from this issuer, for this audience, and now.
pub(super) fn good_for(algorithms: Vec<Algorithm>, issuer: &str, audience: &str) -> Validation {
    let mut validation = Validation { algorithms, leeway: LEEWAY, validate_nbf: true, ..Validation::default() };
    validation.set_issuer(&[issuer]);
    validation.set_audience(&[audience]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    validation
}

/// All issuers whose tokens are taken, the server itself first.
#[derive(Debug)]
pub(super) struct Tokens {
    pub(super) issuers: Vec<Trusted>,
}

impl Tokens {
    /// Whom the token names, if it is good.
    pub(super) async fn verify(&self, token: &str, users: &Users) -> Result<Bearer, Error> {
        if token.len() > MAX_BYTES {
            return Err(Error::TokenInvalid("it is too long"));
        }
        let header =
            decode_header(token).map_err(|_| Error::TokenInvalid("it is no JWT, or of an unknown algorithm"))?;
        // RFC 7515, section 4.1.11: what must be understood and is not, fails it. Keys and addresses in the header are never looked at.
        if header.crit.is_some() {
            return Err(Error::TokenInvalid("it has critical extensions"));
        }
        let origin = insecure_decode_claims::<Origin>(token);
        let issuer = origin.map_err(|_| Error::TokenInvalid("it does not say who issued it"))?.iss;
        let (trusted, is_own) = self.trusted(&issuer).ok_or(Error::TokenInvalid("its issuer is not known here"))?;
        let key = trusted.key(header.kid.as_deref()).await?;
        let claims = decode::<Claims>(token, &key.decoding, &key.validation).map_err(|error| why(error.kind()))?.claims;
        let is_name = (1..=SUBJECT_BYTES).contains(&claims.sub.len()) && !claims.sub.contains(char::is_control);
        if !is_name {
            return Err(Error::TokenInvalid("its `sub` cannot be a name"));
        }
        let bearer = |user, roles: &[String]| Bearer {
            id: claims.sub.as_str().into(),
            user,
            admin: roles.iter().any(|role| role == ADMIN),
            expires_at: i64::try_from(claims.exp).unwrap_or(i64::MAX),
        };
        let is_operator = claims.sub.starts_with(OPERATOR);
        if is_own && !is_operator {
            // What a user may do is what it may do now.
            let user = users.get(&claims.sub).map_err(|_| Error::UserDeleted)?;
            return Ok(bearer(Some(user.id), &user.roles));
        }
        // Also of users who are gone: ids here are UUIDs of version 7.
        let is_ours = is_operator || parse_id(&claims.sub).is_some_and(|id| id.get_version_num() == 7);
        if !is_own && is_ours {
            return Err(Error::TokenInvalid("its `sub` could be the name of somebody here"));
        }
        Ok(bearer(None, &claims.roles))
    }

    /// The issuer of this name, and whether it is this server.
    fn trusted(&self, issuer: &str) -> Option<(&Trusted, bool)> {
        let index = self.issuers.iter().position(|trusted| trusted.issuer == issuer)?;
        Some((self.issuers.get(index)?, index == 0))
    }
}

fn why(kind: &ErrorKind) -> Error {
    match kind {
        ErrorKind::ExpiredSignature => Error::TokenExpired,
        ErrorKind::ImmatureSignature => Error::TokenInvalid("it is not good yet"),
        ErrorKind::InvalidAudience => Error::TokenInvalid("it is for another audience"),
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName => {
            Error::TokenInvalid("its algorithm is not that of its issuer's key")
        }
        ErrorKind::InvalidSignature => Error::TokenInvalid("its signature is wrong"),
        ErrorKind::MissingRequiredClaim(_) => Error::TokenInvalid("it lacks one of exp, aud, iss and sub"),
        _ => Error::TokenInvalid("its claims are not what they must be"),
    }
}
