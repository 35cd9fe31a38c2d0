//! What the hub logs at its most verbose level, and what it never logs. `scripts/test logs` searches the logs of all other tests.

use rialto::proto::{
    rialto::v1::{LoginRequest, LogoutRequest, PublishRequest, RefreshRequest},
    user::{CreateUserRequest, GetUserRequest, RefreshToken, UpdateUserRequest, chat_message::Event},
};
use tokio::{process::Command, sync::mpsc};
use tokio_stream::wrappers::ReceiverStream;

use crate::support::{Chat, process::Process, rooms::event, said, soon, tokens::By, wire::connection};

const PASSWORDS: [&str; 3] = ["canary-password-one", "canary-password-two", "canary-password-wrong"];
const TEXTS: [&str; 3] = ["canary text of a stream", "canary text of a call", "canary text\0 that is refused"];

async fn operator(data: &std::path::Path) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rialto"));
    command.args(["token", "--name", "test", "--role", "admin", "--data"]).arg(data);
    let output = soon(command.output()).await.unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Uses every kind of secret in every call that takes one.
async fn use_secrets(process: &Process, admin: &str) -> Vec<String> {
    let address = process.address().parse().unwrap();
    let mut by = By::over(connection(address).await, Some(admin));
    let [password, next, wrong] = PASSWORDS.map(str::to_owned);
    let request =
        CreateUserRequest { username: "ada".into(), password: password.clone(), ..CreateUserRequest::default() };
    let ada = by.users.create_user(request.clone()).await.unwrap().into_inner();
    by.users.create_user(request).await.unwrap_err();
    let login = |password| LoginRequest { username: "ada".into(), password };
    by.auth.login(login(wrong)).await.unwrap_err();
    let first = by.auth.login(login(password)).await.unwrap().into_inner().tokens.unwrap();
    let refresh = RefreshRequest { refresh_token: first.refresh_token.clone() };
    let second = by.auth.refresh(refresh.clone()).await.unwrap().into_inner().tokens.unwrap();
    by.auth.refresh(refresh).await.unwrap_err();
    by.auth.logout(LogoutRequest { refresh_token: second.refresh_token.clone() }).await.unwrap();

    let forged = format!("{}x", second.access_token);
    let mut by_forged = By::over(connection(address).await, Some(&forged));
    by_forged.users.get_user(GetUserRequest::default()).await.unwrap_err();
    let mut by_ada = By::over(connection(address).await, Some(&second.access_token));
    let (sender, messages) = mpsc::channel(16);
    let answer = by_ada.users.chat(ReceiverStream::new(messages)).await.unwrap();
    let mut chat = Chat::new(sender, answer.into_inner());
    for token in [&second.access_token, &forged] {
        chat.send(event("", Event::RefreshToken(RefreshToken { token: token.clone() }))).await;
    }
    chat.next().await;
    for text in [TEXTS[0], TEXTS[2]] {
        chat.say("lobby", "", text).await;
        chat.next().await;
    }
    let message = Some(said("lobby", "", TEXTS[1]));
    by_ada.rooms.publish(PublishRequest { message }).await.unwrap();
    let change = UpdateUserRequest { id: ada.id, password: Some(next), ..UpdateUserRequest::default() };
    by_ada.users.update_user(change).await.unwrap();

    let tokens = [first.access_token, first.refresh_token, second.access_token, second.refresh_token, forged];
    tokens.into_iter().chain([admin.to_owned()]).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_password_or_text_is_logged_at_any_level() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = Process::serve_with(folder.path(), &["--auth", "token", "--log", "trace"]).await;
    let admin = operator(folder.path()).await;
    let secrets = use_secrets(&process, &admin).await;
    process.signal("TERM").await;
    process.logged("shutdown complete").await;
    let log = process.log();
    assert!(log.lines().count() > 1_000, "so much is said at this level");
    assert!(!log.contains("$argon2"), "nor what a password could be guessed by");
    for secret in secrets.iter().map(String::as_str).chain(PASSWORDS).chain(TEXTS) {
        // Not even a part of it may be logged.
        let part = &secret[secret.len() / 2..];
        let line = log.lines().find(|line| line.contains(part));
        assert!(line.is_none(), "{}", line.unwrap_or_default());
    }
}
