//! Which files are taken, and what happens when they change.

use std::{fs, path::Path};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use tempfile::TempDir;

use super::*;

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.write_pair();
        folder
    }

    fn files(&self) -> TlsFiles {
        let path = |name| self.0.path().join(name);
        TlsFiles { cert: path("server.pem"), key: path("server-key.pem"), client_ca: None }
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.0.path().join(name), text).unwrap();
    }

    /// A new certificate, and its key.
    fn write_pair(&self) {
        let (cert, key) = pair();
        self.write("server.pem", cert);
        self.write("server-key.pem", key);
    }

    /// Loading them fails with a text that names the file.
    fn refuses(&self, files: &TlsFiles, file: &Path, expected: &str) {
        let error = Tls::load(files).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains(file.to_str().unwrap()), "{error}");
    }
}

fn pair() -> (String, String) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".into()]).unwrap();
    (cert.pem(), signing_key.serialize_pem())
}

#[test]
fn files_that_cannot_be_used_are_named_with_what_is_wrong() {
    let folder = Folder::new();
    let files = folder.files();
    let ca = folder.0.path().join("ca.pem");
    let with_ca = TlsFiles { client_ca: Some(ca.clone()), ..folder.files() };
    folder.refuses(&with_ca, &ca, "cannot be read: No such file");
    folder.write("ca.pem", "");
    folder.refuses(&with_ca, &ca, "there is no certificate in");
    folder.write("ca.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    folder.refuses(&with_ca, &ca, "is not usable as an authority");
    Tls::load(&files).unwrap();

    let (cert, key) = pair();
    folder.write("server-key.pem", &key);
    folder.refuses(&files, &files.key, "does not match the certificate");
    folder.write("server-key.pem", "");
    folder.refuses(&files, &files.key, "there is no private key in");
    folder.write("server-key.pem", &key[..key.len() / 2]);
    folder.refuses(&files, &files.key, "is not valid PEM");
    folder.write("server.pem", &key);
    folder.refuses(&files, &files.cert, "there is no certificate in");
    folder.write("server.pem", &cert[..cert.len() / 2]);
    folder.refuses(&files, &files.cert, "is not valid PEM");
    fs::remove_file(&files.key).unwrap();
    folder.refuses(&files, &files.key, "cannot be read: No such file");
}

#[test]
fn certificate_and_key_change_together_or_not_at_all() {
    let folder = Folder::new();
    let tls = Tls::load(&folder.files()).unwrap();
    let first = tls.config();
    assert!(!tls.refresh().unwrap(), "as it was");

    let (cert, key) = pair();
    folder.write("server.pem", cert);
    assert!(matches!(tls.refresh(), Err(TlsError::KeyMismatch { .. })));
    assert!(Arc::ptr_eq(&tls.config(), &first));
    folder.write("server-key.pem", key);
    assert!(tls.refresh().unwrap());
    let second = tls.config();
    assert!(!Arc::ptr_eq(&second, &first));

    fs::remove_file(&folder.files().key).unwrap();
    assert!(tls.refresh().is_err());
    assert!(Arc::ptr_eq(&tls.config(), &second));
}

#[test]
fn other_authorities_are_a_change_too() {
    let folder = Folder::new();
    folder.write("ca.pem", pair().0);
    let files = TlsFiles { client_ca: Some(folder.0.path().join("ca.pem")), ..folder.files() };
    let tls = Tls::load(&files).unwrap();
    assert!(!tls.refresh().unwrap());
    folder.write("ca.pem", pair().0);
    assert!(tls.refresh().unwrap());
}

#[test]
fn with_client_certificates_no_session_is_resumed() {
    let folder = Folder::new();
    let open = Tls::load(&folder.files()).unwrap().config();
    assert!(open.session_storage.can_cache());
    folder.write("ca.pem", pair().0);
    let files = TlsFiles { client_ca: Some(folder.0.path().join("ca.pem")), ..folder.files() };
    let closed = Tls::load(&files).unwrap().config();
    assert!(!closed.session_storage.can_cache() && !closed.ticketer.enabled());
    assert_eq!((closed.send_tls13_tickets, closed.max_tls13_tickets, closed.max_early_data_size), (0, 0, 0));
}
