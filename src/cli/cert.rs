//! `rialto cert`.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use clap::Args;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData,
};
use x509_parser::{parse_x509_certificate, pem::parse_x509_pem};

use super::outcome::Outcome;

const AFTER_HELP: &str = "\
Creates an authority, which signs a certificate for the server and one for a client:

  ca.pem, ca-key.pem            the authority: clients trust ca.pem; ca-key.pem signs more certificates
  server.pem, server-key.pem    for localhost, 127.0.0.1, ::1 and each --name
  client.pem, client-key.pem    for --tls-client-ca; its common name is the client's name

Existing files are kept, so the command can be repeated for another client. The holder of ca-key.pem can
impersonate any server and any client: use these certificates for trying only.

Try it:
  rialto cert --dev
  rialto cert --dev --client ada                adds ada.pem and ada-key.pem
  rialto cert --dev --client operator:setup     for the token of `rialto token --name setup`
  rialto cert --dev --dir certs --name chat.example --name 192.0.2.7
  rialto serve --tls-cert rialto-certs/server.pem --tls-key rialto-certs/server-key.pem";

/// Make certificates for trying TLS.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Cert {
    /// Confirm that the certificates are for trying only, and not for production
    #[arg(long)]
    dev: bool,
    /// The folder to write them to
    #[arg(long, value_name = "DIR", default_value = "./rialto-certs")]
    dir: PathBuf,
    /// Another name or address of the server; can be given more than once
    #[arg(long = "name", value_name = "NAME")]
    names: Vec<String>,
    /// Common name of the client's certificate, and the name of its files
    #[arg(long, value_name = "NAME", default_value = "client")]
    client: String,
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const YEAR: Duration = DAY.saturating_mul(365);

/// The common name of the authority.
const AUTHORITY: &str = "Rialto development CA";

type Authority = Issuer<'static, KeyPair>;

impl Cert {
    pub(super) fn run(&self) -> Outcome {
        if !self.dev {
            return Err(
                "these certificates are for trying TLS, and not for production: confirm with `rialto cert --dev`. \
                        For production take them from your own authority, or from a public one (ACME)"
                    .into(),
            );
        }
        if !is_file_name(&self.client) || ["ca", "server"].contains(&self.client.as_str()) {
            return Err(format!(
                "--client {:?} also names files: it must have 1 to 64 letters, digits and . _ - @ :, begin with a letter or digit, and \
                 not be `ca` or `server`",
                self.client
            )
            .into());
        }
        let [ca, server, client] = ["ca", "server", &self.client].map(|name| Pair::of(&self.dir, name));
        if server.is_there()? && !self.names.is_empty() {
            return Err(format!(
                "{} already exists and is not changed: remove it and its key to create one with other names",
                server.cert.display()
            )
            .into());
        }
        fs::create_dir_all(&self.dir).map_err(|error| failed(&self.dir, &error))?;
        let authority = authority(&ca)?;
        server.sign(&authority, &self.server()?)?;
        client.sign(&authority, &self.client())?;
        writeln!(io::stdout(), "{}", next(&ca, &server, &client))?;
        Ok(())
    }

    fn server(&self) -> Result<CertificateParams, String> {
        let own = ["localhost", "127.0.0.1", "::1"].map(String::from);
        let names: Vec<_> = own.into_iter().chain(self.names.iter().cloned()).collect();
        let params = CertificateParams::new(names)
            .map_err(|error| format!("a --name is not the name or address of a server: {error}"))?;
        Ok(leaf(params, "Rialto development server", ExtendedKeyUsagePurpose::ServerAuth))
    }

    fn client(&self) -> CertificateParams {
        leaf(CertificateParams::default(), &self.client, ExtendedKeyUsagePurpose::ClientAuth)
    }
}

fn is_file_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.chars().all(|letter| letter.is_ascii_alphanumeric() || "._-@:".contains(letter))
}

/// Reads the existing authority, or creates one.
fn authority(pair: &Pair) -> Result<Authority, Box<dyn std::error::Error>> {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(AUTHORITY);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    valid_for(&mut params, 10 * YEAR);
    if pair.is_there()? {
        let key = fs::read_to_string(&pair.key).map_err(|error| failed(&pair.key, &error))?;
        let key = KeyPair::from_pem(&key).ok();
        let cert = fs::read(&pair.cert).map_err(|error| failed(&pair.cert, &error))?;
        let key = key.filter(|key| is_ours(&cert, key)).ok_or_else(|| {
            let (cert, key) = (pair.cert.display(), pair.key.display());
            format!("{cert} and {key} were not made by `rialto cert`: choose another folder with --dir")
        })?;
        pair.say("kept");
        return Ok(Issuer::new(params, key));
    }
    let key = KeyPair::generate()?;
    pair.write(&params.self_signed(&key)?.pem(), &key.serialize_pem())?;
    Ok(Issuer::new(params, key))
}

/// Whether this is the certificate of an authority that `rialto cert` made, with this key.
fn is_ours(cert: &[u8], key: &KeyPair) -> bool {
    let Ok((_, pem)) = parse_x509_pem(cert) else { return false };
    let Ok((_, cert)) = parse_x509_certificate(&pem.contents) else { return false };
    let name = cert.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
    name == Some(AUTHORITY) && cert.public_key().raw == key.subject_public_key_info()
}

fn leaf(mut params: CertificateParams, name: &str, purpose: ExtendedKeyUsagePurpose) -> CertificateParams {
    params.distinguished_name = common_name(name);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![purpose];
    params.use_authority_key_identifier_extension = true;
    valid_for(&mut params, YEAR);
    params
}

fn common_name(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

/// Makes a certificate valid from yesterday on, because clocks differ.
fn valid_for(params: &mut CertificateParams, time: Duration) {
    let now = SystemTime::now();
    params.not_before = (now - DAY).into();
    params.not_after = (now + time).into();
}

/// A certificate and its key.
struct Pair {
    cert: PathBuf,
    key: PathBuf,
}

impl Pair {
    fn of(dir: &Path, name: &str) -> Self {
        Self { cert: dir.join(format!("{name}.pem")), key: dir.join(format!("{name}-key.pem")) }
    }

    /// Whether both files exist.
    ///
    /// # Errors
    ///
    /// If only one of them exists.
    fn is_there(&self) -> Result<bool, String> {
        match (self.cert.exists(), self.key.exists()) {
            (cert, key) if cert == key => Ok(cert),
            (true, _) => Err(format!("{} exists, but not {}", self.cert.display(), self.key.display())),
            (false, _) => Err(format!("{} exists, but not {}", self.key.display(), self.cert.display())),
        }
        .map_err(|half| {
            format!("{half}: restore the missing file, remove the other, or choose another folder with --dir")
        })
    }

    /// Creates the pair and signs it, unless it exists.
    fn sign(&self, authority: &Authority, params: &CertificateParams) -> Outcome {
        if self.is_there()? {
            self.say("kept");
            return Ok(());
        }
        let key = KeyPair::generate()?;
        self.write(&params.signed_by(&key, authority)?.pem(), &key.serialize_pem())
    }

    /// Writes the files; fails if one exists.
    fn write(&self, cert: &str, key: &str) -> Outcome {
        for (path, text, mode) in [(&self.key, key, 0o600), (&self.cert, cert, 0o644)] {
            let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
            file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|error| failed(path, &error))?;
        }
        self.say("wrote");
        Ok(())
    }

    fn say(&self, what: &str) {
        eprintln!("{what} {} and {}", self.cert.display(), self.key.display());
    }
}

fn failed(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}", path.display())
}

/// The commands to use the certificates with, quoted for a shell.
fn next(ca: &Pair, server: &Pair, client: &Pair) -> String {
    let [ca, cert, key, client, client_key] =
        [&ca.cert, &server.cert, &server.key, &client.cert, &client.key].map(|path| quoted(path));
    format!(
        "# Run the hub with TLS, and call it:\n\
         rialto serve --tls-cert {cert} --tls-key {key}\n\
         rialto users --server https://localhost:50051 --ca {ca} list\n\
         # Accept only clients with a certificate, and call it with one:\n\
         rialto serve --tls-cert {cert} --tls-key {key} --tls-client-ca {ca}\n\
         rialto users --server https://localhost:50051 --ca {ca} --cert {client} --key {client_key} list"
    )
}

fn quoted(path: &Path) -> String {
    let path = path.to_string_lossy();
    if path.chars().all(|letter| letter.is_ascii_alphanumeric() || "._-@:/".contains(letter)) {
        return path.into_owned();
    }
    format!("'{}'", path.replace('\'', r"'\''"))
}
