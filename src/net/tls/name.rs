//! Whom a client's certificate names.

use std::sync::Arc;

/// Bytes of a name, as of any user id.
const NAME_BYTES: usize = 128;

/// A certificate does not name one that could be a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadName {
    /// It is none.
    #[error("the client's certificate does not parse")]
    Certificate,
    /// There is no common name in its subject, or more than one.
    #[error("the client's certificate has no common name, or several")]
    NotOne,
    /// The common name is no text that is 1 to 128 bytes long and without control characters.
    #[error(
        "the common name of the client's certificate is not 1 to {NAME_BYTES} bytes of text without control characters"
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
            // A name holds each type once; that of the second is the same in other words.
            let kind = if n == 0 { DnType::CommonName } else { DnType::CustomDnType(vec![2, 5, 4, 3]) };
            params.distinguished_name.push(kind, value);
        }
        of(params.self_signed(&KeyPair::generate().unwrap()).unwrap().der())
    }

    #[test]
    fn it_is_the_one_common_name() {
        for name in ["ada", "x", "Ada Lovelace", "šđč", &"x".repeat(128)] {
            assert_eq!(named([DnValue::Utf8String(name.into())]).as_deref(), Ok(name));
        }
        let printable = DnValue::PrintableString("ada".try_into().unwrap());
        assert_eq!(named([printable]).as_deref(), Ok("ada"));
    }

    #[test]
    fn what_names_nobody_or_more_than_one_is_refused() {
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
