//! The methods of `rialto.v1.AuthService`: log in, go on, log out.

use tonic::{Request, Response, Status};

use super::{caller, generated_v1::auth_service_server::AuthService, status::Failure, users::wire};
use crate::{
    auth::{Error, Sessions, TokenPair},
    hub,
    limit::RateLimits,
    proto::rialto::v1::{
        LoginRequest, LoginResponse, LogoutRequest, LogoutResponse, RefreshRequest, RefreshResponse, Tokens,
    },
    users::login_key,
};

/// Serves the methods.
#[derive(Debug, Clone)]
pub(super) struct Calls {
    /// Absent: there are no tokens.
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
        // Names that nobody can have are counted as one.
        self.limits.login(&login_key(&username).unwrap_or_default(), &peer).map_err(Failure::from)?;
        let granted = sessions.login(&username, password).await.map_err(Failure::from)?;
        let user = wire(&granted.user, &self.hub);
        Ok(Response::new(LoginResponse { tokens: Some(tokens(granted)), user: Some(user) }))
    }

    async fn refresh(&self, request: Request<RefreshRequest>) -> Result<Response<RefreshResponse>, Status> {
        let RefreshRequest { refresh_token } = request.into_inner();
        let granted = self.sessions()?.refresh(&refresh_token).await.map_err(Failure::from)?;
        Ok(Response::new(RefreshResponse { tokens: Some(tokens(granted)) }))
    }

    async fn logout(&self, request: Request<LogoutRequest>) -> Result<Response<LogoutResponse>, Status> {
        let LogoutRequest { refresh_token } = request.into_inner();
        self.sessions()?.logout(&refresh_token).await.map_err(Failure::from)?;
        Ok(Response::new(LogoutResponse {}))
    }
}

fn tokens(granted: TokenPair) -> Tokens {
    Tokens {
        access_token: granted.access_token,
        access_expires_in: prost_types::Duration::try_from(granted.access_expires_in).ok(),
        refresh_token: granted.refresh_token,
        refresh_expires_in: prost_types::Duration::try_from(granted.refresh_expires_in).ok(),
    }
}
