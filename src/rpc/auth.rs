//! `rialto.v1.AuthService`: log in, refresh, log out. Decode, call, wrap.

use tonic::{Request, Response, Status};

use super::{caller, generated_v1::auth_service_server::AuthService, status::Failure, users::to_wire};
use crate::{
    auth::{Error, Sessions, TokenPair},
    hub,
    limit::RateLimits,
    proto::rialto::v1::{
        LoginRequest, LoginResponse, LogoutRequest, LogoutResponse, RefreshRequest, RefreshResponse, Tokens,
    },
    users::login_key,
};

/// Implements the methods.
#[derive(Debug, Clone)]
pub(super) struct Calls {
    /// `None`: authentication is disabled.
    sessions: Option<Sessions>,
    /// Knows who is online.
    hub: hub::Handle,
    limits: RateLimits,
}

impl Calls {
    pub(super) fn new(sessions: Option<Sessions>, hub: hub::Handle, limits: RateLimits) -> Self {
        Self { sessions, hub, limits }
    }

    fn sessions(&self) -> Result<&Sessions, Failure> {
        self.sessions.as_ref().ok_or_else(|| Error::Disabled.into())
    }
}

#[tonic::async_trait]
impl AuthService for Calls {
    async fn login(&self, request: Request<LoginRequest>) -> Result<Response<LoginResponse>, Status> {
        let peer = caller(request.extensions()).peer;
        let LoginRequest { username, password } = request.into_inner();
        let sessions = self.sessions()?;
        // All invalid usernames share one counter.
        self.limits.login(&login_key(&username).unwrap_or_default(), &peer).map_err(Failure::from)?;
        let pair = sessions.login(&username, password).await.map_err(Failure::from)?;
        let user = to_wire(&pair.user, &self.hub);
        Ok(Response::new(LoginResponse { tokens: Some(tokens(pair)), user: Some(user) }))
    }

    async fn refresh(&self, request: Request<RefreshRequest>) -> Result<Response<RefreshResponse>, Status> {
        let RefreshRequest { refresh_token } = request.into_inner();
        let pair = self.sessions()?.refresh(&refresh_token).await.map_err(Failure::from)?;
        Ok(Response::new(RefreshResponse { tokens: Some(tokens(pair)) }))
    }

    async fn logout(&self, request: Request<LogoutRequest>) -> Result<Response<LogoutResponse>, Status> {
        let LogoutRequest { refresh_token } = request.into_inner();
        self.sessions()?.logout(&refresh_token).await.map_err(Failure::from)?;
        Ok(Response::new(LogoutResponse {}))
    }
}

fn tokens(pair: TokenPair) -> Tokens {
    Tokens {
        access_token: pair.access_token,
        access_expires_in: prost_types::Duration::try_from(pair.access_expires_in).ok(),
        refresh_token: pair.refresh_token,
        refresh_expires_in: prost_types::Duration::try_from(pair.refresh_expires_in).ok(),
    }
}
