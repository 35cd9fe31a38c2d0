//! Starts a hub with TLS and tokens.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Stdio,
};

use anyhow::{Context, Result, ensure};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::process::{Child, Command};

use super::without_settings;
use crate::systems::rialto::{Access, OPERATOR};

/// The name in the certificate.
const HOST: &str = "127.0.0.1";

/// All clients of a load are one caller, so the limits per caller are raised out of the way.
const UNLIMITED: [&str; 6] = [
    "rates.calls_per_second_per_caller=0",
    "rates.calls_per_second_per_address=0",
    "rates.messages_per_second_per_caller=0",
    "rates.messages_per_second_per_address=0",
    "limits.max_streams_per_caller=200000",
    "storage.max_rooms_per_user=100000",
];

/// Adds TLS and tokens to this command, starts it, and returns the credentials for the hub.
pub async fn spawn(mut hub: Command, binary: &Path, folder: &Path) -> Result<(Child, String, Access)> {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed([HOST.to_owned()])?;
    let (cert_file, key_file) = (folder.join("tls.cert"), folder.join("tls.key"));
    fs::write(&cert_file, cert.pem())?;
    fs::write(&key_file, signing_key.serialize_pem())?;
    fs::set_permissions(&key_file, Permissions::from_mode(0o600))?;

    hub.args(["--auth", "token"]);
    for (name, file) in [("tls.cert", cert_file), ("tls.key", key_file)] {
        hub.arg("--set").arg(format!("{name}={}", file.display()));
    }
    hub.args(UNLIMITED.iter().flat_map(|setting| ["--set", setting]));
    let (child, address) = super::spawn(hub).await?;
    let access = Access::new(cert.der().clone(), &token(binary, folder).await?)?;
    Ok((child, address, access))
}

/// Signs a token with the key in the hub's data folder.
async fn token(binary: &Path, folder: &Path) -> Result<String> {
    let mut command = Command::new(binary);
    command.args(["token", "--name", OPERATOR, "--role", "admin", "--data"]).arg(folder).stdin(Stdio::null());
    let output =
        without_settings(&mut command).output().await.with_context(|| format!("cannot start {}", binary.display()))?;
    ensure!(output.status.success(), "cannot sign a token: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_hub_that_gives_no_token_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let error = token(Path::new("/bin/false"), folder.path()).await.unwrap_err();
        assert!(format!("{error:#}").contains("cannot sign a token"), "{error:#}");
    }
}
