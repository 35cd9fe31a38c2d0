//! The server's own key, which signs its tokens.

use std::{
    fmt,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header,
    jwk::{Jwk, ThumbprintHash},
};
use rcgen::{KeyPair, PKCS_ED25519};
use serde::Serialize;

use super::Error;

/// Name of the key file in the data folder. Its format is PKCS #8 in PEM.
const FILE: &str = "token-key.pem";

/// Why the signing key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The key file does not exist.
    #[error(
        "the signing key {0} does not exist; start `rialto serve --auth token` on this data folder once to create it"
    )]
    Missing(PathBuf),
    /// The file cannot be read or written.
    #[error("cannot read or write the signing key {file}: {cause}")]
    File {
        /// The key file.
        file: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
    /// All users of the machine can read the key file.
    #[error(
        "the signing key {0} is readable by all users of this machine; run `chmod 600` on it, or delete it if it may have been read"
    )]
    Exposed(PathBuf),
    /// The file does not contain an Ed25519 key.
    #[error("the signing key {file} is not an Ed25519 key in PEM: {cause}")]
    Malformed {
        /// The key file.
        file: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
}

/// The server's Ed25519 key pair (RFC 8037).
pub struct SigningKey {
    encoding: EncodingKey,
    pub(super) decoding: DecodingKey,
    /// The key id: the thumbprint of the public key (RFC 7638), so that one key has the same id everywhere.
    pub(super) id: String,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("id", &self.id).finish_non_exhaustive()
    }
}

impl SigningKey {
    /// Reads the key of a data folder. Blocks on the file.
    pub fn open(folder: &Path) -> Result<Self, KeyError> {
        let file = folder.join(FILE);
        let failed = |cause| KeyError::File { file: file.clone(), cause };
        let pem = match fs::read_to_string(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(KeyError::Missing(file)),
            pem => pem.map_err(failed)?,
        };
        if is_exposed(&file).map_err(failed)? {
            return Err(KeyError::Exposed(file));
        }
        Self::read(&pem).map_err(|cause| KeyError::Malformed { file, cause })
    }

    /// Reads the key of a data folder, and creates it if it does not exist. A new key is durable before it signs anything.
    pub(super) fn open_or_create(folder: &Path) -> Result<Self, KeyError> {
        match Self::open(folder) {
            Err(KeyError::Missing(file)) => {
                create(folder, &file).map_err(|cause| KeyError::File { file, cause })?;
                Self::open(folder)
            }
            outcome => outcome,
        }
    }

    fn read(pem: &str) -> Result<Self, String> {
        let pair = KeyPair::from_pem(pem).map_err(|error| error.to_string())?;
        if !pair.is_compatible(&PKCS_ED25519) {
            return Err("it is a key of another type".into());
        }
        let encoding = EncodingKey::from_ed_der(pair.serialized_der());
        let decoding = DecodingKey::from_ed_der(pair.public_key_raw());
        let jwk = Jwk::from_decoding_key(&decoding, Some(Algorithm::EdDSA)).map_err(|error| error.to_string())?;
        let id = jwk.thumbprint(ThumbprintHash::SHA256).map_err(|error| error.to_string())?;
        Ok(Self { encoding, decoding, id })
    }

    /// Signs a token with these claims.
    pub(super) fn sign(&self, claims: &impl Serialize) -> Result<String, Error> {
        let header = Header { kid: Some(self.id.clone()), ..Header::new(Algorithm::EdDSA) };
        jsonwebtoken::encode(&header, claims, &self.encoding).map_err(|_| Error::SigningFailed)
    }
}

fn create(folder: &Path, file: &Path) -> io::Result<()> {
    let pair = KeyPair::generate_for(&PKCS_ED25519).map_err(io::Error::other)?;
    // A temporary file is created with mode 0600, and the rename makes the key file appear complete or not at all.
    let mut fresh = tempfile::NamedTempFile::new_in(folder)?;
    fresh.write_all(pair.serialize_pem().as_bytes())?;
    fresh.as_file().sync_all()?;
    fresh.persist_noclobber(file)?;
    File::open(folder)?.sync_all()
}

/// Whether all users of the machine can read the file. Always false on systems without Unix permissions.
#[cfg(unix)]
pub(super) fn is_exposed(file: &Path) -> io::Result<bool> {
    use std::os::unix::fs::PermissionsExt;
    Ok(fs::metadata(file)?.permissions().mode() & 0o007 != 0)
}

#[cfg(not(unix))]
pub(super) fn is_exposed(_: &Path) -> io::Result<bool> {
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_created_once_and_readable_by_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(SigningKey::open(folder.path()), Err(KeyError::Missing(_))));
        let created = SigningKey::open_or_create(folder.path()).unwrap();
        assert_eq!(SigningKey::open_or_create(folder.path()).unwrap().id, created.id);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let file = folder.path().join(FILE);
            assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
            fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
            assert!(matches!(SigningKey::open(folder.path()), Err(KeyError::Exposed(_))));
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn a_file_that_is_not_a_key_is_refused_and_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let other = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap().serialize_pem();
        for content in ["", "not a key", &other] {
            let mut file = tempfile::NamedTempFile::new_in(folder.path()).unwrap();
            file.write_all(content.as_bytes()).unwrap();
            file.persist(folder.path().join(FILE)).unwrap();
            assert!(
                matches!(SigningKey::open_or_create(folder.path()), Err(KeyError::Malformed { .. })),
                "{content:?}"
            );
            assert_eq!(fs::read_to_string(folder.path().join(FILE)).unwrap(), content);
        }
    }
}
