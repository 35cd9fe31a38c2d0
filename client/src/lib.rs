//! The Rust client of a Rialto hub.
//!
//! [`Connector`] opens a [`Hub`]: one HTTP/2 connection, with TLS where the URL asks for it, that sends an access token with each call.
//! The generated clients of [`proto`] make calls over it:
//!
//! ```no_run
//! use rialto_client::{Connector, proto::user::{GetUserRequest, user_service_client::UserServiceClient}};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let hub = Connector::new("http://127.0.0.1:50051").connect().await?;
//! let request = GetUserRequest { username: "ada".into(), ..GetUserRequest::default() };
//! let ada = UserServiceClient::new(hub).get_user(request).await?.into_inner();
//! println!("{}", ada.id);
//! # Ok(())
//! # }
//! ```

mod connector;
mod error;
mod token;

pub use rialto_proto as proto;

pub use connector::{Connector, Hub};
pub use error::Error;
pub use token::AccessToken;
