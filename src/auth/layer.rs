//! The layer that authenticates every request: it removes the token and leaves a [`Caller`].

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use tokio::time::timeout;

use super::{Auth, Error, rules, rules::Who, token::VerifiedToken};
use crate::{
    caller::{Caller, Peer, Standing},
    lifecycle::{Pass, RequestHandle},
};

/// What the layer needs.
#[derive(Debug, Clone)]
pub struct Layer {
    /// Verifies tokens.
    pub auth: Auth,
    /// Who may call the method of a path.
    pub access: fn(&str) -> Who,
    /// Renders a refusal.
    pub refuse: fn(Error) -> Response,
}

/// The layer's function, for `axum::middleware`.
///
/// A request with a token depends on it from here on: it ends when the token expires (`rpc/ending`). In token mode, one without a token has
/// to be answered within `Settings::without_token`.
pub async fn identify(State(layer): State<Layer>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().cloned().unwrap_or_default();
    let token = take_token(request.headers_mut());
    let who = (layer.access)(request.uri().path());
    let (caller, pass) = match layer.auth.admit(who, peer, token).await {
        Ok(admitted) => admitted,
        Err(error) => return (layer.refuse)(error),
    };
    let has_time_limit = layer.auth.0.verifier.is_some() && pass.is_none();
    if let (Some(pass), Some(handle)) = (pass, request.extensions().get::<RequestHandle>()) {
        handle.set_pass(pass);
    }
    request.extensions_mut().insert(caller);
    if !has_time_limit {
        return next.run(request).await;
    }
    let limit = layer.auth.0.without_token;
    let answer = timeout(limit, next.run(request)).await;
    answer.unwrap_or_else(|_| (layer.refuse)(Error::AnonymousTimeout { limit }))
}

/// The token of the metadata `authorization`, which is removed. `None` if there is none.
fn take_token(headers: &mut HeaderMap) -> Result<Option<String>, Error> {
    let is_single = headers.get_all(AUTHORIZATION).iter().nth(1).is_none();
    let Some(value) = headers.remove(AUTHORIZATION) else { return Ok(None) };
    let token = Some(value).filter(|_| is_single).as_ref().and_then(bearer).map(str::to_owned);
    token.map(Some).ok_or(Error::TokenInvalid("the metadata `authorization` is not `Bearer TOKEN`"))
}

/// Parses a bearer token (RFC 6750, section 2.1). The scheme is case-insensitive (RFC 9110, section 11.1).
fn bearer(value: &HeaderValue) -> Option<&str> {
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim_start_matches(' '))
}

impl Auth {
    /// Authenticates the caller and checks that it may make such a call.
    async fn admit(
        &self,
        who: Who,
        peer: Peer,
        token: Result<Option<String>, Error>,
    ) -> Result<(Caller, Option<Pass>), Error> {
        let Some(verifier) = &self.0.verifier else {
            let id = peer.certificate.clone();
            return Ok((Caller { peer, id, standing: Standing::Open }, None));
        };
        // A client that refreshes may send its expired token along: these methods ignore it.
        let token = if who == Who::Anyone { None } else { token? };
        let (caller, pass) = match token {
            None => (Caller { peer, id: None, standing: Standing::Anonymous }, None),
            Some(token) => {
                let VerifiedToken { id, user, admin, expires_at } = verifier.verify(&token, &self.0.users).await?;
                if peer.certificate.as_ref().is_some_and(|named| *named != id) {
                    return Err(Error::CertificateMismatch);
                }
                let standing = Standing::Authenticated { user, admin };
                (Caller { peer, id: Some(id), standing }, Some(Pass::new(user, admin, expires_at)))
            }
        };
        rules::check(who, &caller, self.0.open_registration)?;
        Ok((caller, pass))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bearer_token_is_accepted_and_always_removed() {
        let take = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, value.parse().unwrap());
            }
            let token = take_token(&mut headers);
            assert!(headers.is_empty(), "{values:?}");
            token
        };
        assert_eq!(take(&[]).unwrap(), None);
        for good in ["Bearer abc", "bearer abc", "BEARER  abc"] {
            assert_eq!(take(&[good]).unwrap().as_deref(), Some("abc"), "{good}");
        }
        for bad in [&["abc"][..], &["Basic abc"], &["Bearer"], &["Bearerabc"], &["Bearer abc", "Bearer abc"]] {
            assert!(matches!(take(bad), Err(Error::TokenInvalid(_))), "{bad:?}");
        }
    }
}
