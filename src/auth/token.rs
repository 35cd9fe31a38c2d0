//! Tokens (JWT, RFC 7519): verification and the server's own claims. Follows RFC 8725.

use std::{sync::Arc, time::Duration};

use jsonwebtoken::{dangerous::insecure_decode_claims, decode, decode_header, errors::ErrorKind};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Error, SigningKey, issuer::TrustedIssuer};
use crate::{
    caller::ADMIN,
    types::Time,
    users::{Users, parse_id},
};

/// Prefix of the `sub` of an operator's token. Tokens of other issuers must not use it.
const OPERATOR_PREFIX: &str = "operator:";

/// Longest accepted token, in bytes.
const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// Longest accepted `sub`, in bytes: the limit of every user id on the wire.
const MAX_SUBJECT_BYTES: usize = 128;

/// Claims of the server's own tokens.
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

/// A token for an operator, who has access to the data folder.
#[derive(Debug)]
pub struct OperatorToken<'a> {
    /// The server's setting `issuer`.
    pub issuer: &'a str,
    /// The server's setting `audience`.
    pub audience: &'a str,
    /// Name of the operator. Restrict it to letters, digits and `. _ -`, so that logs show it unchanged.
    pub name: &'a str,
    /// The operator's roles.
    pub roles: &'a [String],
    /// Time until the token expires.
    pub lifetime: Duration,
}

/// Signs an operator's token.
pub fn sign_operator_token(key: &SigningKey, operator: &OperatorToken<'_>) -> Result<String, Error> {
    let now = Time::now().seconds();
    key.sign(&OwnClaims {
        iss: operator.issuer,
        aud: operator.audience,
        sub: &format!("{OPERATOR_PREFIX}{}", operator.name),
        iat: now,
        exp: now.saturating_add(i64::try_from(operator.lifetime.as_secs()).unwrap_or(i64::MAX)),
        roles: Some(operator.roles),
    })
}

/// The claims that are read from a token. A claim of another type is an error. The remaining checks are in
/// [`VerificationKey`](super::verification_key::VerificationKey).
#[derive(Debug, Deserialize)]
struct Claims {
    sub: String,
    /// In whole seconds since the Unix epoch; a fraction is refused.
    exp: u64,
    #[serde(default, rename = "nbf")]
    _nbf: Option<u64>,
    #[serde(default)]
    roles: Vec<String>,
}

/// The issuer that a token claims, read before it is verified, to select the keys.
#[derive(Debug, Deserialize)]
struct IssuerClaim {
    iss: String,
}

/// The caller named by a verified token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct VerifiedToken {
    /// The `sub` claim.
    pub(super) id: Arc<str>,
    /// The user of this server, if the token is a user's.
    pub(super) user: Option<Uuid>,
    pub(super) admin: bool,
    /// In seconds since the Unix epoch.
    pub(super) expires_at: i64,
}

/// Verifies tokens of all accepted issuers.
#[derive(Debug)]
pub(super) struct TokenVerifier {
    /// The server itself is the first.
    pub(super) issuers: Vec<TrustedIssuer>,
}

impl TokenVerifier {
    /// Verifies a token. May wait for a fetch of the issuer's keys.
    pub(super) async fn verify(&self, token: &str, users: &Users) -> Result<VerifiedToken, Error> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Error::TokenInvalid("it is longer than 8 KiB"));
        }
        let header = decode_header(token).map_err(|_| Error::TokenInvalid("not a JWT, or an unsupported algorithm"))?;
        // RFC 7515, section 4.1.11: unsupported critical extensions must fail. Keys and URLs in the header are never used.
        if header.crit.is_some() {
            return Err(Error::TokenInvalid("it has critical extensions"));
        }
        let claimed = insecure_decode_claims::<IssuerClaim>(token);
        let issuer = claimed.map_err(|_| Error::TokenInvalid("it has no `iss`"))?.iss;
        let (trusted, is_own) = self.find(&issuer).ok_or(Error::TokenInvalid("its issuer is not trusted here"))?;
        let key = trusted.key(header.kid.as_deref()).await?;
        let decoded = decode::<Claims>(token, &key.decoding, &key.validation);
        let claims = decoded.map_err(|error| describe(error.kind()))?.claims;
        self.identify(claims, is_own, users)
    }

    /// The caller of verified claims. What a user of this server may do is decided by the user's present roles, not by the token.
    fn identify(&self, claims: Claims, is_own: bool, users: &Users) -> Result<VerifiedToken, Error> {
        let Claims { sub, exp, roles, .. } = claims;
        if !(1..=MAX_SUBJECT_BYTES).contains(&sub.len()) || sub.contains(char::is_control) {
            return Err(Error::TokenInvalid("its `sub` is not a valid user id"));
        }
        let verified = |user, roles: &[String]| VerifiedToken {
            id: sub.as_str().into(),
            user,
            admin: roles.iter().any(|role| role == ADMIN),
            expires_at: i64::try_from(exp).unwrap_or(i64::MAX),
        };
        let is_operator = sub.starts_with(OPERATOR_PREFIX);
        if is_own && !is_operator {
            let user = users.get(&sub).map_err(|_| Error::UserDeleted)?;
            return Ok(verified(Some(user.id), &user.roles));
        }
        // Ids of users here are UUIDs of version 7. None is accepted from another issuer, not even that of a deleted user.
        let is_reserved = is_operator || parse_id(&sub).is_some_and(|id| id.get_version_num() == 7);
        if !is_own && is_reserved {
            return Err(Error::TokenInvalid("its `sub` is reserved for users and operators of this server"));
        }
        Ok(verified(None, &roles))
    }

    /// The issuer with this name, and whether it is this server.
    fn find(&self, issuer: &str) -> Option<(&TrustedIssuer, bool)> {
        let index = self.issuers.iter().position(|trusted| trusted.issuer == issuer)?;
        Some((self.issuers.get(index)?, index == 0))
    }
}

fn describe(kind: &ErrorKind) -> Error {
    match kind {
        ErrorKind::ExpiredSignature => Error::TokenExpired,
        ErrorKind::ImmatureSignature => Error::TokenInvalid("it is not valid yet"),
        ErrorKind::InvalidAudience => Error::TokenInvalid("it is for another audience"),
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName => {
            Error::TokenInvalid("its algorithm is not that of the issuer's key")
        }
        ErrorKind::InvalidSignature => Error::TokenInvalid("its signature does not verify"),
        ErrorKind::MissingRequiredClaim(_) => Error::TokenInvalid("it must have exp, aud, iss and sub"),
        _ => Error::TokenInvalid("its claims are malformed"),
    }
}
