//! The names in a client's certificate and in its token must be the same.

use rialto::{
    config::{AuthMode, Config},
    proto::{
        rialto::v1::{LoginRequest, PublishRequest},
        user::{ChatMessage, ListUsersRequest},
    },
};
use tonic::{Code, Status};

use crate::support::{
    Hub,
    certs::{Authority, Files, Pair, channel_of},
    said,
    tokens::{By, PASSWORD},
    wire::Refusal,
};

struct Mutual {
    hub: Hub,
    authority: Authority,
    _files: Files,
}

impl Mutual {
    async fn start(adjust: impl FnOnce(&mut Config)) -> Self {
        let authority = Authority::new("ours");
        let files = Files::of(&authority.server());
        files.replace_authority(&authority);
        let hub = Hub::start_with(|config| {
            files.configure(config);
            adjust(config);
        })
        .await;
        Self { hub, authority, _files: files }
    }

    async fn by(&self, shows: &Pair, token: Option<&str>) -> By {
        let address = self.hub.address().to_string();
        By::over(channel_of(&address, &self.authority.pem(), Some(shows)).await.unwrap(), token)
    }
}

async fn publish(by: &mut By, claimed: &str) -> Result<ChatMessage, Status> {
    let message = Some(said("den", claimed, "canary of a certificate"));
    Ok(by.rooms.publish(PublishRequest { message }).await?.into_inner().message.unwrap())
}

#[tokio::test]
async fn in_open_mode_the_certificate_names_the_caller() {
    let mutual = Mutual::start(|_| {}).await;
    let mut ada = mutual.by(&mutual.authority.client("ada"), None).await;
    assert_eq!(publish(&mut ada, "").await.unwrap().user_id, "ada");
    assert_eq!(publish(&mut ada, "ada").await.unwrap().user_id, "ada");
    let spoof = publish(&mut ada, "bob").await.unwrap_err();
    assert_eq!(Refusal::of(&spoof), Refusal::new(Code::PermissionDenied, "USER_ID_MISMATCH"));
    ada.create("eve").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_valid_only_with_the_certificate_of_its_subject() {
    let mutual = Mutual::start(|config| config.auth.mode = AuthMode::Token).await;
    let operator = mutual.authority.client("operator:test");
    let admin = mutual.hub.admin();
    let mut by_operator = mutual.by(&operator, Some(&admin)).await;
    let (ada, bob) = (by_operator.create("ada").await.unwrap(), by_operator.create("bob").await.unwrap());
    let adas = mutual.authority.client(&ada.id);
    let (of_ada, of_bob) = (mutual.hub.token_of(&ada, 600), mutual.hub.token_of(&bob, 600));
    assert_eq!(publish(&mut mutual.by(&adas, Some(&of_ada)).await, "").await.unwrap().user_id, ada.id);

    let mismatch = Refusal::new(Code::PermissionDenied, "CERTIFICATE_MISMATCH");
    let by_name = mutual.authority.client("ada");
    for (what, shows, token) in [
        ("another user's token", &adas, of_bob.as_str()),
        ("an admin's token", &adas, &admin),
        ("a certificate of another", &operator, &of_ada),
        ("a username, which can change", &by_name, &of_ada),
    ] {
        let mut by = mutual.by(shows, Some(token)).await;
        assert_eq!(Refusal::of(&publish(&mut by, "").await.unwrap_err()), mismatch, "{what}");
        assert_eq!(Refusal::of(&by.create("eve").await.unwrap_err()), mismatch, "{what}");
        let chat = by.users.chat(tokio_stream::empty()).await.unwrap_err();
        assert_eq!(Refusal::of(&chat), mismatch, "{what}");
    }
    let names = by_operator.users.list_users(ListUsersRequest::default()).await.unwrap().into_inner();
    assert_eq!(tokio_stream::StreamExt::collect::<Vec<_>>(names).await.len(), 2, "nobody else is there");
    // A certificate alone is not enough, and a login needs one.
    let missing = publish(&mut mutual.by(&adas, None).await, "").await.unwrap_err();
    assert_eq!(Refusal::of(&missing), Refusal::new(Code::Unauthenticated, "TOKEN_MISSING"));
    let login = LoginRequest { username: "ada".into(), password: PASSWORD.into() };
    let answer = mutual.by(&adas, None).await.auth.login(login).await.unwrap().into_inner();
    let token = answer.tokens.unwrap().access_token;
    publish(&mut mutual.by(&adas, Some(&token)).await, "").await.unwrap();
    assert_eq!(Refusal::of(&publish(&mut mutual.by(&operator, Some(&token)).await, "").await.unwrap_err()), mismatch);
}
