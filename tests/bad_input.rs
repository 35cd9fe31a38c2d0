//! Bad input to the user calls: each gets its status and details, and changes nothing.

mod bulk;
mod frames;
mod messages;

use bytes::Bytes;
use rialto::proto::user::{
    CreateUserRequest, CreateUsersResponse, DeleteUserRequest, GetUserRequest, ListUsersRequest, Roles,
    UpdateUserRequest, User,
};
use tokio_stream::iter;
use tonic::{Code, Status, transport::Channel};

use crate::support::{
    Chat, Client, Hub, soon, texts,
    wire::{self, Refusal},
};

const KIB: usize = 1024;

/// Two users, and a connection with a Chat stream that must outlive every call.
struct Scene {
    hub: Hub,
    channel: Channel,
    client: Client,
    chat: Chat,
    ada: User,
    bob: User,
}

impl Scene {
    async fn start() -> Self {
        let hub = Hub::start().await;
        let channel = wire::connection(hub.address()).await;
        let mut client = Client::new(channel.clone());
        let ada = client.create_user(new("Ada", "ada@example.com", "")).await.unwrap().into_inner();
        let bob = client.create_user(new("bob", "bob@example.com", "")).await.unwrap().into_inner();
        let chat = Chat::open(&mut client, Some("den")).await.unwrap();
        Self { hub, channel, client, chat, ada, bob }
    }

    async fn call(&mut self, call: Call) -> Result<(), Status> {
        let client = &mut self.client;
        let call = async move {
            match call {
                Call::Get(request) => client.get_user(request).await.map(drop),
                Call::Create(request) => client.create_user(request).await.map(drop),
                Call::Update(request) => client.update_user(request).await.map(drop),
                Call::Delete(request) => client.delete_user(request).await.map(drop),
                Call::List(request) => list(client, request).await.map(drop),
                Call::Bulk(requests) => client.create_users(iter(requests)).await.map(drop),
            }
        };
        soon(call).await
    }

    /// Makes the calls. None may succeed or leave a trace.
    async fn refuses(&mut self, rows: impl IntoIterator<Item = (Call, Refusal)>) {
        let mut wrong = Vec::new();
        for (call, expected) in rows {
            let name: String = format!("{call:?}").chars().take(200).collect();
            match self.call(call).await.map_err(|status| Refusal::of(&status)) {
                Err(refusal) if refusal == expected => {}
                other => wrong.push(format!("{name}\n    expected {expected:?}\n    got {other:?}")),
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        self.is_unharmed().await;
    }

    /// The same with raw bytes.
    async fn refuses_bytes(&mut self, method: &str, rows: impl IntoIterator<Item = (&str, Bytes)>, expected: &Refusal) {
        for (name, body) in rows {
            let status = self.call_bytes(method, body).await.expect_err(name);
            assert_eq!(Refusal::of(&status), *expected, "{method} with {name}: {status:?}");
        }
        self.is_unharmed().await;
    }

    async fn call_bytes(&self, method: &str, body: Bytes) -> Result<(), Status> {
        let mut answer = wire::call::<CreateUsersResponse>(&self.channel, method, body).await?;
        soon(answer.message()).await.map(drop)
    }

    async fn is_unharmed(&mut self) {
        self.chat.say("den", "ada", "still here?").await;
        assert_eq!(texts(&self.chat.take(1).await), ["still here?"], "the chat on the same connection lives on");
        let users = list(&mut self.client, ListUsersRequest::default()).await.unwrap();
        assert_eq!(users, [self.ada.clone(), self.bob.clone()], "nothing changed");
        assert_eq!(self.hub.counts().await.connections, 1, "on the same connection");
    }
}

async fn list(client: &mut Client, request: ListUsersRequest) -> Result<Vec<User>, Status> {
    let mut stream = client.list_users(request).await?.into_inner();
    let mut users = Vec::new();
    while let Some(user) = soon(stream.message()).await? {
        users.push(user);
    }
    Ok(users)
}

#[derive(Debug)]
enum Call {
    Get(GetUserRequest),
    Create(CreateUserRequest),
    Update(UpdateUserRequest),
    Delete(DeleteUserRequest),
    List(ListUsersRequest),
    Bulk(Vec<CreateUserRequest>),
}

fn get(id: &str, username: &str) -> Call {
    Call::Get(GetUserRequest { id: id.into(), username: username.into() })
}

fn new(username: &str, email: &str, password: &str) -> CreateUserRequest {
    CreateUserRequest { username: username.into(), email: email.into(), password: password.into() }
}

fn create(username: &str, email: &str, password: &str) -> Call {
    Call::Create(new(username, email, password))
}

fn update(id: &str, set: impl FnOnce(&mut UpdateUserRequest)) -> Call {
    let mut request = UpdateUserRequest { id: id.into(), ..UpdateUserRequest::default() };
    set(&mut request);
    Call::Update(request)
}

fn delete(id: &str) -> Call {
    Call::Delete(DeleteUserRequest { id: id.into() })
}

fn page(page_size: i32, page_token: &str, watch: bool) -> Call {
    Call::List(ListUsersRequest { page_size, page_token: page_token.into(), watch })
}

fn invalid(field: &str) -> Refusal {
    Refusal::new(Code::InvalidArgument, "INVALID_VALUE").field(field)
}

fn not_found(name: &str) -> Refusal {
    Refusal::new(Code::NotFound, "USER_NOT_FOUND").resource("user", name)
}

fn username_taken(name: &str) -> Refusal {
    Refusal::new(Code::AlreadyExists, "USERNAME_TAKEN").resource("username", name)
}

fn email_taken(email: &str) -> Refusal {
    Refusal::new(Code::AlreadyExists, "EMAIL_TAKEN").resource("email", email)
}

fn oversize() -> Refusal {
    Refusal::new(Code::ResourceExhausted, "MESSAGE_TOO_LARGE")
}

fn undecodable() -> Refusal {
    Refusal::new(Code::InvalidArgument, "MALFORMED_MESSAGE")
}

/// A UUIDv7 that no user has.
const NOBODY: &str = "01890000-0000-7000-8000-000000000000";

/// Invalid usernames: of the wrong length or shape, or meant to deceive.
fn bad_usernames() -> Vec<String> {
    let hostile = [
        " ",
        "a b",
        " ada",
        "ada ",
        "a\0",
        "a\nb",
        "a\u{7f}",
        "a\u{85}b",
        "\u{202e}ada",
        "a\u{2066}b",
        "a\u{200b}b",
        "a\u{200d}b",
        "\u{feff}ada",
        "a\u{ad}b",
        "☃",
        "😀",
        "\u{fffe}",
        "\u{10ffff}",
        "\u{e000}",
        "אa",
        "a\u{2028}b",
        "\u{3000}",
    ];
    let long = ["a".repeat(65), "𠀀".repeat(65), "a".repeat(200 * KIB)];
    hostile.into_iter().map(str::to_owned).chain(long).collect()
}

/// Invalid email addresses.
fn bad_emails() -> Vec<String> {
    let malformed = [
        " ",
        "ada",
        "@example.com",
        "ada@",
        "a b@example.com",
        "a@b@c",
        "ada@example.com\r\nBcc: x@y.z",
        "a\0@b.c",
        "ada@exa\u{7f}mple.com",
        "ada@-",
        "<ada@example.com>x",
    ];
    let long = [format!("{}@example.com", "a".repeat(250)), format!("a@{}", "b".repeat(200 * KIB))];
    malformed.into_iter().map(str::to_owned).chain(long).collect()
}

#[tokio::test]
async fn get_user_refuses_unknown_and_missing_names() {
    let mut scene = Scene::start().await;
    let ada = scene.ada.id.clone();
    let mut rows = vec![
        (get("", ""), invalid("id")),
        (get(&ada, "Ada"), invalid("id")),
        (get(NOBODY, ""), not_found(NOBODY)),
        (get("123", ""), not_found("123")),
        (get("Ada", ""), not_found("Ada")),
        (get("a\0b", ""), not_found("a\0b")),
        (get("\u{202e}☃\r\n", ""), not_found("\u{202e}☃\r\n")),
        (get("", "carl"), not_found("carl")),
    ];
    rows.extend(bad_usernames().iter().map(|name| (get("", name), invalid("username"))));
    scene.refuses(rows).await;
}

/// Echoed input must not make the answer's headers larger than clients accept.
#[tokio::test]
async fn an_id_as_long_as_a_frame_is_not_found() {
    let mut scene = Scene::start().await;
    let mut wrong = Vec::new();
    for length in [KIB, 2 * KIB, 4 * KIB, 8 * KIB, 250 * KIB] {
        for id in ["x".repeat(length), "☃".repeat(length / 3)] {
            for call in [get(&id, ""), update(&id, |_| {}), delete(&id)] {
                let refusal = Refusal::of(&scene.call(call).await.unwrap_err());
                if (refusal.code, refusal.reason.as_str()) != (Code::NotFound, "USER_NOT_FOUND") {
                    wrong.push(format!("{length} bytes, {}: {refusal:?}", &id[..3]));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    scene.is_unharmed().await;
}

#[tokio::test]
async fn no_unicode_character_breaks_the_lookup_of_a_username() {
    let mut scene = Scene::start().await;
    // Characters with contextual rules, and every 509th character.
    let contextual = "\u{200c}\u{200d}\u{b7}\u{375}\u{5f3}\u{30fb}\u{660}\u{6f0}\u{1100}\u{ac00}\u{fdfa}ßİſK";
    for character in contextual.chars().chain((0..=0x0010_ffff).step_by(509).filter_map(char::from_u32)) {
        for name in [format!("{character}"), format!("א{character}l\u{94d}")] {
            let status = scene.call(get("", &name)).await.unwrap_err();
            assert!(matches!(status.code(), Code::NotFound | Code::InvalidArgument), "{name:?}: {status:?}");
        }
    }
    scene.is_unharmed().await;
}

#[tokio::test]
async fn create_user_refuses_bad_and_taken_values() {
    let mut scene = Scene::start().await;
    let mut rows = vec![
        (create("", "", ""), invalid("username")),
        (create("Ada", "", ""), username_taken("Ada")),
        (create("aDA", "", ""), username_taken("aDA")),
        (create("ＡＤＡ", "", ""), username_taken("ＡＤＡ")),
        (create("carl", "ada@example.com", ""), email_taken("ada@example.com")),
        (create("carl", "ADA@example.COM", ""), email_taken("ADA@example.COM")),
        (create("carl", "", &"p".repeat(129)), invalid("password")),
        (create("carl", "", &"😀".repeat(33)), invalid("password")),
        // The tag and the length take 4 bytes of the frame.
        (create(&"a".repeat(256 * KIB - 4), "", ""), invalid("username")),
        (create(&"a".repeat(256 * KIB - 3), "", ""), oversize()),
        (create("carl", "", &"p".repeat(300 * KIB)), oversize()),
    ];
    rows.extend(bad_usernames().iter().map(|name| (create(name, "", ""), invalid("username"))));
    rows.extend(bad_emails().iter().map(|email| (create("carl", email, ""), invalid("email"))));
    scene.refuses(rows).await;
}

#[tokio::test]
async fn update_user_refuses_bad_taken_and_stale_values() {
    let mut scene = Scene::start().await;
    let ada = scene.ada.id.clone();
    let stale = Refusal::new(Code::Aborted, "STALE_REVISION");
    let roles = |values: Vec<String>| update(&ada, |it| it.roles = Some(Roles { values }));
    let named = |name: &str| update(&ada, |it| it.username = Some(name.into()));
    let mailed = |email: &str| update(&ada, |it| it.email = Some(email.into()));
    let mut rows = vec![
        (update("", |_| {}), invalid("id")),
        (update(NOBODY, |_| {}), not_found(NOBODY)),
        (update("123", |it| it.email = Some(String::new())), not_found("123")),
        (named(""), invalid("username")),
        (named("BOB"), username_taken("BOB")),
        (mailed("BOB@Example.com"), email_taken("BOB@Example.com")),
        (update(&ada, |it| it.password = Some("p".repeat(129))), invalid("password")),
        (roles((0..17).map(|n| n.to_string()).collect()), invalid("roles")),
        (roles(vec!["Admin".into()]), invalid("roles")),
        (roles(vec!["r".repeat(33)]), invalid("roles")),
        (roles(vec![String::new()]), invalid("roles")),
        (roles(vec!["a b".into()]), invalid("roles")),
        (roles(vec!["fine".into(), "ä".into()]), invalid("roles")),
        (roles(vec!["x".repeat(300 * KIB)]), oversize()),
        (update(&ada, |it| it.expected_revision = 2), stale.clone()),
        (update(&ada, |it| (it.expected_revision, it.email) = (2, Some("new@example.com".into()))), stale.clone()),
        (update(&ada, |it| (it.expected_revision, it.password) = (u64::MAX, Some("secret".into()))), stale),
        // One bad value makes the whole change fail.
        (update(&ada, |it| (it.username, it.email) = (Some("carl".into()), Some("@".into()))), invalid("email")),
    ];
    rows.extend(bad_usernames().iter().map(|name| (named(name), invalid("username"))));
    rows.extend(bad_emails().iter().map(|email| (mailed(email), invalid("email"))));
    scene.refuses(rows).await;
}

#[tokio::test]
async fn delete_user_refuses_unknown_and_deleted_users() {
    let mut scene = Scene::start().await;
    let carl = scene.client.create_user(new("carl", "", "")).await.unwrap().into_inner().id;
    scene.call(delete(&carl)).await.unwrap();
    let rows = [
        (delete(""), invalid("id")),
        (delete(NOBODY), not_found(NOBODY)),
        (delete("123"), not_found("123")),
        (delete("*"), not_found("*")),
        (delete("' OR 1=1 --"), not_found("' OR 1=1 --")),
        (delete(&carl), not_found(&carl)),
        (update(&carl, |it| it.username = Some("karl".into())), not_found(&carl)),
        (get(&carl, ""), not_found(&carl)),
        (get("", "carl"), not_found("carl")),
    ];
    scene.refuses(rows).await;
}

#[tokio::test]
async fn list_users_refuses_bad_pages() {
    let mut scene = Scene::start().await;
    let ada = scene.ada.id.clone();
    let rows = [
        (page(-1, "", false), invalid("page_size")),
        (page(i32::MIN, &ada, false), invalid("page_size")),
        (page(0, "garbage", false), invalid("page_token")),
        (page(1, "\0", false), invalid("page_token")),
        (page(1, &format!("{ada}x"), false), invalid("page_token")),
        (page(1, &"9".repeat(200 * KIB), false), invalid("page_token")),
        (page(1, &"9".repeat(300 * KIB), false), oversize()),
        (page(1, "", true), invalid("page_size")),
        (page(-1, "", true), invalid("page_size")),
        (page(0, &ada, true), invalid("page_token")),
        (page(0, "garbage", true), invalid("page_token")),
    ];
    scene.refuses(rows).await;
}

#[tokio::test]
async fn a_huge_page_size_is_lowered_to_10_000() {
    let hub = Hub::start().await;
    let mut client = hub.client().await;
    for thousands in 0..2 {
        let users: Vec<_> = (0..5_001).map(|n| new(&format!("u{thousands}-{n}"), "", "")).collect();
        soon(client.create_users(iter(users))).await.unwrap();
    }
    for (page_size, listed) in [(i32::MAX, 10_000), (10_001, 10_000), (10_000, 10_000), (9_999, 9_999), (0, 10_002)] {
        let request = ListUsersRequest { page_size, ..ListUsersRequest::default() };
        assert_eq!(list(&mut client, request).await.unwrap().len(), listed, "page_size {page_size}");
    }
}
