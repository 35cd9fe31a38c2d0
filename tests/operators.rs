//! An operator's first steps: from the README's three flags to the first user, with the documented commands only.

use std::{path::Path, process::Output};

use jsonwebtoken::dangerous::insecure_decode_claims;
use serde_json::Value;
use tokio::{io::AsyncWriteExt, process::Command};
use tonic::Code;

use crate::support::{Hub, process::Process, soon, tokens::now};

/// Runs a command from the README in this folder, with or without a token.
async fn rialto(folder: &Path, token: Option<&str>, args: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rialto"));
    command.args(args).current_dir(folder);
    command.env_remove("RIALTO_TOKEN").envs(token.map(|token| ("RIALTO_TOKEN", token)));
    command.stdin(std::process::Stdio::piped());
    let mut child = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
    soon(child.wait_with_output()).await.unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap().trim_end()
}

async fn printed(folder: &Path, token: Option<&str>, args: &[&str], input: &str) -> String {
    let output = rialto(folder, token, args, input).await;
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    text(&output.stdout).to_owned()
}

async fn refused(folder: &Path, token: Option<&str>, args: &[&str]) -> String {
    let output = rialto(folder, token, args, "").await;
    assert!(!output.status.success() && output.stdout.is_empty(), "{args:?}: {}", text(&output.stdout));
    text(&output.stderr).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_user_is_created_with_access_to_the_data_folder() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    printed(folder, None, &["cert", "--dev", "--client", "operator:setup"], "").await;
    let early = refused(folder, None, &["token", "--name", "setup"]).await;
    assert!(early.contains("start `rialto serve --auth token`"), "{early}");

    let file = |name: &str| folder.join("rialto-certs").join(name).to_str().unwrap().to_owned();
    let (cert, key, ca) = (file("server.pem"), file("server-key.pem"), file("ca.pem"));
    let flags = ["--tls-cert", &cert, "--tls-key", &key, "--auth", "token"];
    let process = Process::serve_with(&folder.join("rialto-data"), &flags).await;
    let token = printed(folder, None, &["token", "--name", "setup", "--role", "admin"], "").await;

    let server = format!("https://localhost:{}", process.address().rsplit(':').next().unwrap());
    let users = |args: &[&'static str]| [&["users", "--server", &server, "--ca", &ca][..], args].concat();
    let create = ["create", "ada", "--email", "ada@example.com", "--password-stdin", "--json"];
    let created = printed(folder, Some(&token), &users(&create), "canary-of-ada\n").await;
    assert!(created.contains("\"username\":\"ada\""), "{created}");
    let changed = printed(folder, Some(&token), &users(&["update", "ada", "--roles", "admin", "--json"]), "").await;
    assert!(changed.contains("\"roles\":[\"admin\"]"), "{changed}");
    std::fs::write(folder.join("token"), &token).unwrap();
    let listed = printed(folder, None, &users(&["list", "--token-file", "token"]), "").await;
    assert!(listed.contains("ada@example.com"), "{listed}");

    let missing = refused(folder, None, &users(&["list"])).await;
    assert!(missing.contains("export RIALTO_TOKEN=$(rialto token"), "{missing}");
    let reader = printed(folder, None, &["token", "--name", "reader", "--minutes", "1"], "").await;
    let denied = refused(folder, Some(&reader), &users(&["delete", "ada"])).await;
    assert!(denied.contains("only admins change other users"), "{denied}");
    let untrusted = refused(folder, Some(&token), &["users", "--server", &server, "list"]).await;
    assert!(untrusted.contains("UnknownIssuer"), "{untrusted}");
    process.kill().await;
}

#[tokio::test]
async fn the_command_line_sends_no_token_in_the_clear_and_makes_none_without_an_audience() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for (server, expected) in [
        ("http://127.0.0.1:1", "no hub answers"),
        ("http://[::1]:1", "no hub answers"),
        ("http://localhost:1", "no hub answers"),
        ("http://192.0.2.1:50051", "in the clear"),
        ("http://localhost.example:50051", "in the clear"),
        ("http://127.0.0.1@192.0.2.1:50051", "in the clear"),
    ] {
        let refused = refused(folder, Some("canary.to.ken"), &["users", "--server", server, "list"]).await;
        assert!(refused.contains(expected) && !refused.contains("canary"), "{server}: {refused}");
    }
    for (args, expected) in [
        (&["token", "--name", "two words"][..], "must be 1 to 64 letters"),
        (&["token", "--name", "x", "--role", "Admin"], "must each have 1 to 32 of a-z 0-9 _ -"),
        (&["token", "--name", "x", "--minutes", "0"], "0 is not in 1..=525600"),
        (&["token"], "--name <NAME>"),
    ] {
        let refused = refused(folder, None, args).await;
        assert!(refused.contains(expected), "{args:?}: {refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_says_what_it_was_asked_for() {
    let hub = Hub::with_tokens(|_| {}).await;
    let data = hub.folder().to_str().unwrap();
    let args = ["token", "--data", data, "--name", "robo.t", "--role", "poet", "--minutes", "5"];
    let began = now();
    let token = printed(hub.folder(), None, &args, "").await;
    let claims: Value = insecure_decode_claims(&token).unwrap();
    assert_eq!((&claims["sub"], &claims["roles"]), (&"operator:robo.t".into(), &vec!["poet"].into()));
    let expires_at = claims["exp"].as_i64().unwrap();
    assert!((began + 300..=now() + 300).contains(&expires_at), "{expires_at}");
    let refused = hub.by(&token).await.create("eve").await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "it is good, and for no more than that");
}

#[tokio::test]
async fn a_server_that_would_be_open_to_others_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for (args, expected) in [
        (&["serve", "--listen", "0.0.0.0:0"][..], "callers are not authenticated: give --auth token"),
        (&["serve", "--listen", "0.0.0.0:0", "--auth", "token"], "would be sent in the clear: give --tls-cert"),
        (&["serve", "--tls-cert", "cert.pem"], "tls.key must be set together with tls.cert"),
        (&["serve", "--tls-client-ca", "ca.pem"], "tls.cert must be set together with tls.client_ca"),
        (&["serve", "--set", "auth.issuers=[{issuer=\"a\"}]"], "either jwks_url or hs256_secret_file"),
        (
            &["serve", "--set", "auth.issuers=[{issuer=\"rialto\",jwks_url=\"https://x\"}]"],
            "nor this server's own issuer",
        ),
        (&["serve", "--set", "auth.mode=maybe"], "auth"),
    ] {
        let refused = refused(folder, None, args).await;
        assert!(refused.contains(expected), "{args:?}: {refused}");
    }
}
