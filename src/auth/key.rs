//! The server's own key, with which it signs the tokens that it gives.

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

/// The file in the data folder: PKCS #8 in PEM.
const FILE: &str = "token-key.pem";

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It was never made.
    #[error("there is no key {0} yet: start `rialto serve --auth token` on this data folder once, which makes it")]
    Missing(PathBuf),
    /// The file cannot be read or written.
    #[error("the key {file} cannot be used: {cause}")]
    File {
        /// Which file.
        file: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// Others than its owner can read it.
    #[error(
        "the key {0} can be read by everybody on this machine: `chmod 600` it, and if somebody may have, delete it"
    )]
    Exposed(PathBuf),
    /// What it holds is no key.
    #[error("the key {file} is no Ed25519 key: {cause}")]
    Malformed {
        /// Which file.
        file: PathBuf,
        /// What is wrong.
        cause: String,
    },
}

/// An Ed25519 key pair (RFC 8037), and its name.
pub struct OwnKey {
    encoding: EncodingKey,
    pub(super) decoding: DecodingKey,
    /// The thumbprint of the public key (RFC 7638): the same key has the same name everywhere.
    pub(super) id: String,
}

impl fmt::Debug for OwnKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnKey").field("id", &self.id).finish_non_exhaustive()
    }
}

impl OwnKey {
    /// The key of a data folder that has one.
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

    /// The same, which makes one if there is none: durable before anything is signed with it.
    pub(super) fn open_or_make(folder: &Path) -> Result<Self, KeyError> {
        match Self::open(folder) {
            Err(KeyError::Missing(file)) => {
                make(folder, &file).map_err(|cause| KeyError::File { file, cause })?;
                Self::open(folder)
            }
            outcome => outcome,
        }
    }

    fn read(pem: &str) -> Result<Self, String> {
        let pair = KeyPair::from_pem(pem).map_err(|error| error.to_string())?;
        if !pair.is_compatible(&PKCS_ED25519) {
            return Err("it is of another kind".into());
        }
        let encoding = EncodingKey::from_ed_der(pair.serialized_der());
        let decoding = DecodingKey::from_ed_der(pair.public_key_raw());
        let jwk = Jwk::from_decoding_key(&decoding, Some(Algorithm::EdDSA)).map_err(|error| error.to_string())?;
        let id = jwk.thumbprint(ThumbprintHash::SHA256).map_err(|error| error.to_string())?;
        Ok(Self { encoding, decoding, id })
    }

    /// A token with these claims.
    pub(super) fn sign(&self, claims: &impl Serialize) -> Result<String, Error> {
        let header = Header { kid: Some(self.id.clone()), ..Header::new(Algorithm::EdDSA) };
        jsonwebtoken::encode(&header, claims, &self.encoding).map_err(|_| Error::SigningFailed)
    }
}

fn make(folder: &Path, file: &Path) -> io::Result<()> {
    let pair = KeyPair::generate_for(&PKCS_ED25519).map_err(io::Error::other)?;
    // Readable by its owner alone from its beginning on, and there whole or not at all.
    let mut fresh = tempfile::NamedTempFile::new_in(folder)?;
    fresh.write_all(pair.serialize_pem().as_bytes())?;
    fresh.as_file().sync_all()?;
    fresh.persist_noclobber(file)?;
    File::open(folder)?.sync_all()
}

/// Everybody on this machine can read the file.
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
    fn a_key_is_made_once_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(OwnKey::open(folder.path()), Err(KeyError::Missing(_))));
        let made = OwnKey::open_or_make(folder.path()).unwrap();
        assert_eq!(OwnKey::open_or_make(folder.path()).unwrap().id, made.id);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let file = folder.path().join(FILE);
            assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
            fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
            assert!(matches!(OwnKey::open(folder.path()), Err(KeyError::Exposed(_))));
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left behind");
    }

    #[test]
    fn what_is_no_key_is_refused_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let other = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap().serialize_pem();
        for content in ["", "no key", &other] {
            let mut file = tempfile::NamedTempFile::new_in(folder.path()).unwrap();
            file.write_all(content.as_bytes()).unwrap();
            file.persist(folder.path().join(FILE)).unwrap();
            assert!(matches!(OwnKey::open_or_make(folder.path()), Err(KeyError::Malformed { .. })), "{content:?}");
            assert_eq!(fs::read_to_string(folder.path().join(FILE)).unwrap(), content);
        }
    }
}
