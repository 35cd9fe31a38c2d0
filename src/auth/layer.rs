//! The layer through which every request passes: it takes the token, and leaves a [`Caller`].

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
};

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
    lifecycle::Pass,
    lifecycle::{EndReason, RequestHandle},
};

/// What the layer is made of.
#[derive(Debug, Clone)]
pub struct Layer {
    /// Authenticates callers.
    pub auth: Auth,
    /// Renders a refusal.
    pub refuse: fn(Error) -> Response,
    /// Renders the end of a call that has no response yet.
    pub ended: fn(EndReason) -> Response,
}

/// The layer's function, for `axum::middleware`.
pub async fn identify(State(layer): State<Layer>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().cloned().unwrap_or_default();
    let token = take_token(request.headers_mut());
    let (caller, pass) = match layer.auth.admit(request.uri().path(), peer, token).await {
        Ok(admitted) => admitted,
        Err(error) => return (layer.refuse)(error),
    };
    request.extensions_mut().insert(caller);
    let goes_on = rules::goes_on(request.uri().path());
    let response = next.run(request);
    let stream = RequestHandle::current();
    match pass {
        Some(pass) => stream.admit(pass),
        None if layer.auth.0.verifier.is_none() => return response.await,
        None => {
            let limit = layer.auth.0.without_token;
            let answer = timeout(limit, response).await;
            return answer.unwrap_or_else(|_| (layer.refuse)(Error::AnonymousTimeout { limit }));
        }
    }
    let answer = until_ended(&stream, response).await;
    if !goes_on {
        stream.answered();
    }
    answer.unwrap_or_else(layer.ended)
}

/// The response, or why its stream is to end before there is one. Afterwards its body is told.
async fn until_ended(stream: &RequestHandle, response: impl Future<Output = Response>) -> Result<Response, EndReason> {
    let mut response = pin!(response);
    poll_fn(|cx| {
        stream.register(cx.waker());
        // What is done is told, also if it was done just in time.
        match (response.as_mut().poll(cx), stream.should_end()) {
            (Poll::Ready(response), _) => Poll::Ready(Ok(response)),
            (Poll::Pending, Some(reason)) => Poll::Ready(Err(reason)),
            (Poll::Pending, None) => Poll::Pending,
        }
    })
    .await
}

/// What stood in the metadata `authorization`, which is nowhere afterwards.
fn take_token(headers: &mut HeaderMap) -> Result<Option<String>, Error> {
    let is_single = headers.get_all(AUTHORIZATION).iter().nth(1).is_none();
    let Some(value) = headers.remove(AUTHORIZATION) else { return Ok(None) };
    let token = Some(value).filter(|_| is_single).as_ref().and_then(bearer).map(str::to_owned);
    token.map(Some).ok_or(Error::TokenInvalid("the metadata `authorization` is not `Bearer TOKEN`"))
}

/// RFC 6750, section 2.1; the scheme is compared without regard to case (RFC 9110, section 11.1).
fn bearer(value: &HeaderValue) -> Option<&str> {
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim_start_matches(' '))
}

impl Auth {
    /// Finds out who calls, and whether it may.
    async fn admit(
        &self,
        path: &str,
        peer: Peer,
        token: Result<Option<String>, Error>,
    ) -> Result<(Caller, Option<Pass>), Error> {
        let Some(verifier) = &self.0.verifier else {
            let id = peer.certificate.clone();
            return Ok((Caller { peer, id, standing: Standing::Open }, None));
        };
        let who = rules::who(path);
        // A client that refreshes sends along what has expired: here it is not asked for.
        let token = if who == Who::Anybody { None } else { token? };
        let (caller, pass) = match token {
            None => (Caller { peer, id: None, standing: Standing::Nobody }, None),
            Some(token) => {
                let VerifiedToken { id, user, admin, expires_at } = verifier.verify(&token, &self.0.users).await?;
                if peer.certificate.as_ref().is_some_and(|named| *named != id) {
                    return Err(Error::CertificateMismatch);
                }
                let standing = Standing::Somebody { user, admin };
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
    fn one_bearer_token_is_taken_and_never_left() {
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
