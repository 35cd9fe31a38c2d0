//! `rialto cert --dev` makes working certificates and does not overwrite files.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output},
};

use rialto::proto::user::ListUsersRequest;

use crate::support::{
    certs::{Pair, client_of},
    process::Process,
};

fn cert(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rialto")).arg("cert").args(arguments).current_dir(folder).output().unwrap()
}

fn made(folder: &Path, arguments: &[&str]) -> String {
    let output = cert(folder, arguments);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn refused(folder: &Path, arguments: &[&str]) -> String {
    let output = cert(folder, arguments);
    assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn read(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join("rialto-certs").join(name)).unwrap()
}

fn pair(folder: &Path, name: &str) -> Pair {
    Pair { cert: read(folder, &format!("{name}.pem")), key: read(folder, &format!("{name}-key.pem")) }
}

/// The arguments behind `rialto serve` in the last line that has them.
fn serves(printed: &str) -> Vec<&str> {
    printed.lines().rev().find_map(|line| line.strip_prefix("rialto serve ")).unwrap().split(' ').collect()
}

#[tokio::test]
async fn its_certificates_work_for_server_and_client() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    made(folder, &["--dev", "--name", "chat.example"]);
    let printed = made(folder, &["--dev", "--client", "ada"]);
    let arguments: Vec<_> = serves(&printed)
        .into_iter()
        .map(|argument| match argument.strip_prefix("./") {
            Some(file) => folder.join(file).to_str().unwrap().to_owned(),
            None => argument.to_owned(),
        })
        .collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    assert!(arguments.contains(&"--tls-client-ca"), "{printed}");
    let process = Process::serve_with(&folder.join("data"), &arguments).await;
    let ca = read(folder, "ca.pem");
    for name in ["client", "ada"] {
        let mut client = client_of(process.address(), &ca, Some(&pair(folder, name))).await.unwrap();
        client.list_users(ListUsersRequest::default()).await.unwrap();
    }
    for (name, file) in [("ca", "ca-key.pem"), ("server", "server-key.pem"), ("client", "client-key.pem")] {
        let mode = fs::metadata(folder.join("rialto-certs").join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    assert!(process.terminate().await.success());
}

#[test]
fn certificates_have_their_usages() {
    let folder = tempfile::tempdir().unwrap();
    made(folder.path(), &["--dev", "--name", "chat.example", "--name", "192.0.2.7", "--client", "ada@example"]);
    let parse = |name| {
        let pem = read(folder.path(), name);
        let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap();
        let (_, parsed) = x509_parser::parse_x509_certificate(&pem.contents).unwrap();
        let usage =
            parsed.extended_key_usage().unwrap().map(|usage| (usage.value.server_auth, usage.value.client_auth));
        let is_ca = parsed.basic_constraints().unwrap().map(|basic| (basic.value.ca, basic.value.path_len_constraint));
        let names = parsed.subject_alternative_name().unwrap().map_or(0, |names| names.value.general_names.len());
        let name = parsed.subject().iter_common_name().next().unwrap().as_str().unwrap().to_owned();
        let validity = parsed.validity();
        let days = (validity.not_after.timestamp() - validity.not_before.timestamp()) / 86_400;
        (name, is_ca, usage, names, days)
    };
    let authority = ("Rialto development CA".to_owned(), Some((true, Some(0))), None, 0, 3_651);
    assert_eq!(parse("ca.pem"), authority);
    let leaf = |name: &str, usage, names| (name.to_owned(), Some((false, None)), Some(usage), names, 366);
    assert_eq!(parse("server.pem"), leaf("Rialto development server", (true, false), 5));
    assert_eq!(parse("ada@example.pem"), leaf("ada@example", (false, true), 0));
}

#[test]
fn existing_files_are_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    made(folder, &["--dev"]);
    let files = ["ca.pem", "ca-key.pem", "server.pem", "server-key.pem", "client.pem", "client-key.pem"];
    let before = files.map(|file| read(folder, file));
    let kept = || assert!(files.map(|file| read(folder, file)) == before);
    made(folder, &["--dev"]);
    kept();
    made(folder, &["--dev", "--client", "ada"]);
    kept();
    assert!(refused(folder, &["--dev", "--name", "chat.example"]).contains("server.pem already exists"));
    kept();

    fs::remove_file(folder.join("rialto-certs/client-key.pem")).unwrap();
    assert!(refused(folder, &["--dev"]).contains("client.pem exists, but not ./rialto-certs/client-key.pem"));
    fs::remove_file(folder.join("rialto-certs/client.pem")).unwrap();
    fs::write(folder.join("rialto-certs/ca.pem"), &before[2]).unwrap();
    assert!(refused(folder, &["--dev"]).contains("were not made by `rialto cert`"));
    assert!(!folder.join("rialto-certs/client.pem").exists());
}

#[test]
fn it_explains_its_limits_and_refuses_names_that_are_no_file_names() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    assert!(refused(folder, &[]).contains("not for production"));
    for name in ["", "ca", "server", "../ada", ".ada", "a b", "a/b", &"x".repeat(65)] {
        assert!(refused(folder, &["--dev", "--client", name]).contains("--client"), "{name:?}");
    }
    assert!(refused(folder, &["--dev", "--name", "zażółć.example"]).contains("--name"));
    assert!(!folder.join("rialto-certs/client.pem").exists());
    let quoted = made(folder, &["--dev", "--dir", "it's here"]);
    assert!(quoted.contains(r"--tls-cert 'it'\''s here/server.pem' "), "{quoted}");
}
