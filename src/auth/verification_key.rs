//! Keys that verify tokens, with what a token must claim.

use jsonwebtoken::{Algorithm, DecodingKey, Validation};

/// Tolerated difference between the clocks of an issuer and of this server, in seconds.
const CLOCK_SKEW: u64 = 10;

/// A key that verifies the tokens of one issuer.
#[derive(Debug)]
pub(super) struct VerificationKey {
    /// The key id (`kid`) by which tokens select it. `None`: it verifies tokens with any key id.
    pub(super) id: Option<String>,
    pub(super) decoding: DecodingKey,
    pub(super) validation: Validation,
}

impl VerificationKey {
    /// A key that accepts these algorithms, all of one family, from this issuer for this audience.
    pub(super) fn new(
        id: Option<String>,
        decoding: DecodingKey,
        algorithms: Vec<Algorithm>,
        issuer: &str,
        audience: &str,
    ) -> Self {
        let mut validation = Validation { algorithms, leeway: CLOCK_SKEW, validate_nbf: true, ..Validation::default() };
        validation.set_issuer(&[issuer]);
        validation.set_audience(&[audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        Self { id, decoding, validation }
    }

    /// Whether a token with this key id, or without one, may be verified by this key.
    pub(super) fn matches(&self, id: Option<&str>) -> bool {
        self.id.is_none() || id.is_none() || self.id.as_deref() == id
    }
}
