//! The name in a client's certificate.

use std::sync::Arc;

/// Maximum size of a name, in bytes: that of a user id.
const NAME_BYTES: usize = 128;

/// Why a certificate cannot identify a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadName {
    /// It is not an X.509 certificate.
    #[error("the client's certificate does not parse")]
    Certificate,
    /// Its subject does not have exactly one common name.
    #[error("the subject of the client's certificate must have exactly one common name")]
    NotOne,
    /// The common name is not valid as a user id.
    #[error(
        "the common name of the client's certificate must be 1 to {NAME_BYTES} bytes of text without control characters"
    )]
    Text,
}

/// The one common name of the certificate's subject (X.509, in DER).
pub(super) fn of(certificate: &[u8]) -> Result<Arc<str>, BadName> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).map_err(|_| BadName::Certificate)?;
    let mut names = certificate.subject().iter_common_name();
    let (Some(name), None) = (names.next(), names.next()) else { return Err(BadName::NotOne) };
    let name = name.as_str().map_err(|_| BadName::Text)?;
    if !(1..=NAME_BYTES).contains(&name.len()) || name.contains(char::is_control) {
        return Err(BadName::Text);
    }
    Ok(name.into())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, DnValue, KeyPair};

    use super::*;

    fn named(values: impl IntoIterator<Item = DnValue>) -> Result<Arc<str>, BadName> {
        let mut params = CertificateParams::default();
        params.distinguished_name.remove(DnType::CommonName);
        params.distinguished_name.push(DnType::OrganizationName, "a house");
        for (n, value) in values.into_iter().enumerate() {
            // rcgen holds each type once, so the second common name is given by its object identifier.
            let kind = if n == 0 { DnType::CommonName } else { DnType::CustomDnType(vec![2, 5, 4, 3]) };
            params.distinguished_name.push(kind, value);
        }
        of(params.self_signed(&KeyPair::generate().unwrap()).unwrap().der())
    }

    #[test]
    fn a_certificate_names_its_one_common_name() {
        for name in ["ada", "x", "Ada Lovelace", "šđč", &"x".repeat(128)] {
            assert_eq!(named([DnValue::Utf8String(name.into())]).as_deref(), Ok(name));
        }
        let printable = DnValue::PrintableString("ada".try_into().unwrap());
        assert_eq!(named([printable]).as_deref(), Ok("ada"));
    }

    #[test]
    fn a_certificate_without_exactly_one_valid_name_is_refused() {
        assert_eq!(named([]), Err(BadName::NotOne));
        let two = ["ada", "eve"].map(|name| DnValue::Utf8String(name.into()));
        assert_eq!(named(two), Err(BadName::NotOne));
        for name in ["", "a\0b", "a\nb", "\u{85}", &"x".repeat(129)] {
            assert_eq!(named([DnValue::Utf8String(name.into())]), Err(BadName::Text), "{name:?}");
        }
        let utf16 = DnValue::BmpString("ada".try_into().unwrap());
        assert_eq!(named([utf16]), Err(BadName::Text), "not UTF-8");
        assert_eq!(of(b"no certificate"), Err(BadName::Certificate));
    }
}
