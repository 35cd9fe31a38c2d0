//! Hubs that require tokens, and tokens: valid ones, and forged ones.

use std::{
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{KeyPair, PKCS_ED25519};
use rialto::{
    config::{AuthMode, Config},
    proto::{
        rialto::v1::{
            LoginRequest, RefreshRequest, Tokens, auth_service_client::AuthServiceClient,
            chat_service_client::ChatServiceClient,
        },
        user::{CreateUserRequest, Roles, UpdateUserRequest, User, user_service_client::UserServiceClient},
    },
};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request, Status,
    metadata::AsciiMetadataValue,
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};

use super::{Chat, Hub, soon, wire::connection};

/// The password of every test user. `scripts/test logs` searches the logs for it.
pub const PASSWORD: &str = "canary-correct-horse";

impl Hub {
    /// A server that requires tokens.
    pub async fn with_tokens(adjust: impl FnOnce(&mut Config)) -> Self {
        Self::start_with(|config| {
            config.auth.mode = AuthMode::Token;
            adjust(config);
        })
        .await
    }

    /// The server's signing key.
    pub fn key(&self) -> KeyPair {
        key(self.folder())
    }

    /// A token signed by the server's key, with changed claims or header fields.
    pub fn forge(&self, adjust: impl FnOnce(&mut Header, &mut Value)) -> String {
        forge(&self.key(), Algorithm::EdDSA, adjust)
    }

    /// The token of an operator with all rights.
    pub fn admin(&self) -> String {
        admin(self.folder())
    }

    /// A token for a user of this server that expires after this time.
    pub fn token_of(&self, user: &User, expires_in: i64) -> String {
        self.forge(|_, claims| {
            claims["sub"] = json!(user.id);
            claims["exp"] = json!(now() + expires_in);
        })
    }

    /// Clients that send a token, on their own connection.
    pub async fn by(&self, token: &str) -> By {
        By::over(connection(self.address()).await, Some(token))
    }

    /// The same without a token.
    pub async fn by_nobody(&self) -> By {
        By::over(connection(self.address()).await, None)
    }

    /// Creates a user with the [`PASSWORD`] and an email address.
    pub async fn user(&self, name: &str) -> User {
        self.by(&self.admin()).await.create(name).await.unwrap()
    }

    /// The same with roles.
    pub async fn user_with(&self, name: &str, roles: &[&str]) -> User {
        let id = self.user(name).await.id;
        let values = roles.iter().map(ToString::to_string).collect();
        let request = UpdateUserRequest { id, roles: Some(Roles { values }), ..UpdateUserRequest::default() };
        self.by(&self.admin()).await.users.update_user(request).await.unwrap().into_inner()
    }

    pub async fn login(&self, name: &str, password: &str) -> Result<Tokens, Status> {
        let request = LoginRequest { username: name.into(), password: password.into() };
        Ok(self.by_nobody().await.auth.login(request).await?.into_inner().tokens.unwrap())
    }

    pub async fn refresh(&self, refresh_token: &str) -> Result<Tokens, Status> {
        let request = RefreshRequest { refresh_token: refresh_token.into() };
        Ok(self.by_nobody().await.auth.refresh(request).await?.into_inner().tokens.unwrap())
    }
}

/// Clients of one caller.
pub struct By {
    pub users: UserServiceClient<Shown>,
    pub rooms: ChatServiceClient<Shown>,
    pub auth: AuthServiceClient<Shown>,
}

pub type Shown = InterceptedService<Channel, Show>;

/// Sends a token with each call.
#[derive(Clone)]
pub struct Show(Option<AsciiMetadataValue>);

impl Interceptor for Show {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

pub fn show(token: &str) -> Show {
    Show(Some(format!("Bearer {token}").parse().unwrap()))
}

impl By {
    pub fn over(channel: Channel, token: Option<&str>) -> Self {
        let shown = token.map_or(Show(None), show);
        let showing = |channel| InterceptedService::new(channel, shown.clone());
        Self {
            users: UserServiceClient::new(showing(channel.clone())),
            rooms: ChatServiceClient::new(showing(channel.clone())),
            auth: AuthServiceClient::new(showing(channel)),
        }
    }

    pub async fn create(&mut self, name: &str) -> Result<User, Status> {
        let email = format!("{name}@example.com");
        let request = CreateUserRequest { username: name.into(), email, password: PASSWORD.into() };
        Ok(self.users.create_user(request).await?.into_inner())
    }
}

/// The signing key of a server on this folder.
pub fn key(folder: &Path) -> KeyPair {
    KeyPair::from_pem(&std::fs::read_to_string(folder.join("token-key.pem")).unwrap()).unwrap()
}

/// The token of an operator with all rights, for a server on this folder.
pub fn admin(folder: &Path) -> String {
    forge(&key(folder), Algorithm::EdDSA, |_, claims| claims["roles"] = json!(["admin"]))
}

impl Chat {
    /// Opens a stream of this caller; it has joined its rooms when this returns.
    pub async fn open_by(by: &mut By, rooms: &str) -> Result<Self, Status> {
        let (sender, messages) = mpsc::channel(16);
        let mut request = Request::new(ReceiverStream::new(messages));
        request.metadata_mut().insert("rialto-rooms", rooms.parse().unwrap());
        Ok(Self::new(sender, soon(by.users.chat(request)).await?.into_inner()))
    }
}

/// Writes a file that only its owner can read.
pub fn write_private(file: &Path, content: &str) {
    std::fs::write(file, content).unwrap();
    std::fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

/// Seconds since the Unix epoch.
pub fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

/// A token that is valid for an hour, unless `adjust` changes it.
pub fn forge(key: &KeyPair, algorithm: Algorithm, adjust: impl FnOnce(&mut Header, &mut Value)) -> String {
    let mut claims =
        json!({ "iss": "rialto", "aud": "rialto", "sub": "operator:test", "exp": now() + 3600, "iat": now() });
    let mut header = Header::new(algorithm);
    adjust(&mut header, &mut claims);
    jsonwebtoken::encode(&header, &claims, &encoding(key, algorithm)).unwrap()
}

pub fn encoding(key: &KeyPair, algorithm: Algorithm) -> EncodingKey {
    match algorithm {
        Algorithm::EdDSA => EncodingKey::from_ed_der(key.serialized_der()),
        Algorithm::ES256 => EncodingKey::from_ec_der(key.serialized_der()),
        other => panic!("no test needs {other:?}"),
    }
}

pub fn fresh_key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ED25519).unwrap()
}

/// One of the three parts of a token.
pub fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}
