//! Access tokens.

use tonic::{
    Request, Status,
    metadata::{AsciiMetadataValue, errors::InvalidMetadataValue},
    service::Interceptor,
};

use crate::Error;

/// An access token. `Debug` does not print it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct AccessToken(AsciiMetadataValue);

impl AccessToken {
    /// Creates a token from the text that the hub or another issuer returned. Fails with [`Error::TokenNotSendable`] if it has characters that
    /// a header cannot carry.
    pub fn new(token: &str) -> Result<Self, Error> {
        let value = AsciiMetadataValue::try_from(format!("Bearer {token}"));
        let mut value = value.map_err(|_: InvalidMetadataValue| Error::TokenNotSendable)?;
        value.set_sensitive(true);
        Ok(Self(value))
    }
}

/// Adds the token, if there is one, to each call (RFC 6750, section 2.1).
#[derive(Debug, Clone)]
pub struct SendToken(pub(crate) Option<AccessToken>);

impl Interceptor for SendToken {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(AccessToken(value)) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_never_printed() {
        let token = AccessToken::new("canary").unwrap();
        assert!(!format!("{token:?}").contains("canary"));
    }

    #[test]
    fn a_token_that_no_header_can_carry_is_refused() {
        assert!(matches!(AccessToken::new("two\nlines"), Err(Error::TokenNotSendable)));
    }
}
