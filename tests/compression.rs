//! gzip and zstd: accepted by every method, used where they make a reply smaller, and no way to exhaust memory.

mod bombs;

use std::io::{Read, Write};

use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use prost::Message;
use rialto::proto::{
    rialto::v1::{
        GetHistoryRequest, GetHistoryResponse, ListRoomsRequest, Position, PublishRequest, SubscribeRequest,
        chat_service_client::ChatServiceClient,
    },
    user::{
        CreateUserRequest, CreateUsersResponse, DeleteUserRequest, GetUserRequest, Join, ListUsersRequest,
        UpdateUserRequest, User,
    },
};
use tokio_stream::iter;
use tonic::{
    Code,
    codec::CompressionEncoding::{self, Gzip, Zstd},
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::support::{
    Chat, Client, Hub,
    raw::{CHAT, CREATE_USERS, Call, Raw, SUBSCRIBE, framed},
    said, soon, texts,
    wire::{self, Refusal, connection},
};

const GET_USER: &str = "/user.UserService/GetUser";
const LIST_USERS: &str = "/user.UserService/ListUsers";
const GET_HISTORY: &str = "/rialto.v1.ChatService/GetHistory";
const LIST_ROOMS: &str = "/rialto.v1.ChatService/ListRooms";
const HEALTH: &str = "/grpc.health.v1.Health/Check";

const BOTH: [CompressionEncoding; 2] = [Gzip, Zstd];

fn compressed(encoding: CompressionEncoding, data: &[u8]) -> Vec<u8> {
    match encoding {
        Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
            encoder.write_all(data).unwrap();
            encoder.finish().unwrap()
        }
        _ => zstd::encode_all(data, 3).unwrap(),
    }
}

fn decompressed(encoding: &str, data: &[u8]) -> Vec<u8> {
    match encoding {
        "gzip" => {
            let mut plain = Vec::new();
            GzDecoder::new(data).read_to_end(&mut plain).unwrap();
            plain
        }
        _ => zstd::decode_all(data).unwrap(),
    }
}

fn new(username: impl Into<String>) -> CreateUserRequest {
    CreateUserRequest { username: username.into(), ..CreateUserRequest::default() }
}

/// The largest allowed text.
fn long() -> String {
    "What news on the Rialto? ".repeat(4096 / 25)
}

/// Makes a call with a header, and half-closes it after these frames.
async fn call(hub: &Hub, path: &str, header: (&str, &str), frames: &[bytes::Bytes]) -> Call {
    let mut raw = Raw::connect(hub.address()).await;
    let mut call = raw.call_at(&hub.address().to_string(), path, Some(header)).await;
    for frame in frames {
        call.request.write(frame.clone()).await;
    }
    call.request.half_close();
    // The connection ends with it.
    tokio::spawn(async move { raw.closed().await });
    call
}

#[tokio::test]
async fn every_method_takes_compressed_requests() {
    for encoding in BOTH {
        let hub = Hub::start().await;
        let channel = connection(hub.address()).await;
        let mut users = Client::new(channel.clone()).send_compressed(encoding);
        let ada = users.create_user(new("ada")).await.unwrap().into_inner();
        let by_id = GetUserRequest { id: ada.id.clone(), ..GetUserRequest::default() };
        assert_eq!(users.get_user(by_id).await.unwrap().into_inner(), ada);
        let many = users.create_users(iter((0..3).map(|n| new(format!("ada{n}"))))).await.unwrap().into_inner();
        assert_eq!(many.count, 3);
        let renamed = UpdateUserRequest { id: ada.id.clone(), username: Some("eve".into()), ..Default::default() };
        assert_eq!(users.update_user(renamed).await.unwrap().into_inner().username, "eve");
        users.delete_user(DeleteUserRequest { id: ada.id }).await.unwrap();
        let page = ListUsersRequest { page_size: 2, ..ListUsersRequest::default() };
        let mut list = users.list_users(page).await.unwrap().into_inner();
        assert_eq!(soon(list.message()).await.unwrap(), Some(many.users[0].clone()));

        let mut rooms = ChatServiceClient::new(channel.clone()).send_compressed(encoding);
        let wanted = Position { room: "den".into(), join: Some(Join::default()) };
        let subscribed = rooms.subscribe(SubscribeRequest { rooms: vec![wanted] }).await.unwrap();
        let mut subscriber = Chat::listening(subscribed.into_inner());
        assert!(subscriber.next().await.event.is_some(), "joined");
        let mut chat = Chat::open(&mut users, Some("den")).await.unwrap();
        for text in ["small", &long()] {
            chat.say("den", "eve", text).await;
            assert_eq!(texts(&chat.take(1).await), [text]);
            rooms.publish(PublishRequest { message: Some(said("den", "eve", text)) }).await.unwrap();
            assert_eq!(texts(&subscriber.take(2).await), [text, text]);
            assert_eq!(texts(&chat.take(1).await), [text]);
        }
        let page = GetHistoryRequest { room: "den".into(), page_size: 1, ..GetHistoryRequest::default() };
        assert_eq!(texts(&rooms.get_history(page).await.unwrap().into_inner().messages), [long()]);
        let mut list = rooms.list_rooms(ListRoomsRequest::default()).await.unwrap().into_inner();
        assert_eq!(soon(list.message()).await.unwrap().unwrap().name, "den");

        let mut health = HealthClient::new(channel).send_compressed(encoding);
        health.check(HealthCheckRequest::default()).await.unwrap();
    }
}

#[tokio::test]
async fn a_compressed_stream_may_contain_plain_messages() {
    let hub = Hub::start().await;
    for encoding in ["gzip", "zstd", "identity"] {
        let frames: Vec<_> = (0..2).map(|n| framed(&new(format!("{encoding}{n}")))).collect();
        let mut call = call(&hub, CREATE_USERS, ("grpc-encoding", encoding), &frames).await;
        let made: CreateUsersResponse = call.response.read().await.unwrap().unwrap();
        assert_eq!((made.count, call.response.end().await.unwrap().code()), (2, Code::Ok), "{encoding}");
    }
}

#[tokio::test]
async fn an_unknown_compression_is_refused_with_the_known_ones() {
    let hub = Hub::start().await;
    for path in [GET_USER, LIST_USERS, CREATE_USERS, CHAT, GET_HISTORY, LIST_ROOMS, SUBSCRIBE, HEALTH] {
        for encoding in ["br", "deflate", "gzip,zstd", "GZIP", ""] {
            let status = call(&hub, path, ("grpc-encoding", encoding), &[]).await.response.end().await.unwrap();
            let refusal = Refusal::new(Code::Unimplemented, "ENCODING_UNSUPPORTED");
            assert_eq!(Refusal::of(&status), refusal, "{path} with {encoding:?}");
            assert_eq!(status.metadata().get("grpc-accept-encoding").unwrap(), "gzip,zstd,identity", "{path}");
        }
    }
}

/// Reads the compression named in the headers, and each decoded message with its compression flag.
async fn answer<M: Message + Default>(mut call: Call) -> (Option<String>, Vec<(bool, M)>) {
    let headers = call.response.headers().await;
    let encoding = headers.get("grpc-encoding").map(|value| value.to_str().unwrap().to_owned());
    let mut messages = Vec::new();
    while let Some((flag, frame)) = call.response.flagged().await.unwrap() {
        let plain = match flag {
            0 => frame.to_vec(),
            _ => {
                let plain = decompressed(encoding.as_deref().unwrap(), &frame);
                assert!(frame.len() * 2 < plain.len(), "{} of {} bytes", frame.len(), plain.len());
                plain
            }
        };
        messages.push((flag == 1, M::decode(&*plain).unwrap()));
    }
    assert_eq!(call.response.end().await.unwrap().code(), Code::Ok);
    (encoding, messages)
}

/// What clients accept, and what the server picks.
const ACCEPTED: [(&str, Option<&str>); 6] = [
    ("gzip", Some("gzip")),
    ("zstd", Some("zstd")),
    ("identity, deflate, gzip", Some("gzip")),
    ("zstd,gzip,identity", Some("zstd")),
    ("identity", None),
    ("br", None),
];

#[tokio::test]
async fn a_large_reply_is_compressed_as_the_client_accepts() {
    let hub = Hub::start().await;
    let mut chat = hub.chat("den").await;
    for n in 0..100 {
        chat.say("den", "ada", &format!("no news on the Rialto, for the {n}th time")).await;
    }
    let said = chat.take(100).await;
    let page = framed(&GetHistoryRequest { room: "den".into(), ..GetHistoryRequest::default() });
    for (accepted, sent) in ACCEPTED {
        let accept = ("grpc-accept-encoding", accepted);
        let (_, pages) =
            answer::<GetHistoryResponse>(call(&hub, GET_HISTORY, accept, std::slice::from_ref(&page)).await).await;
        assert_eq!(pages.len(), 1);
        assert_eq!(pages[0].0, sent.is_some(), "{accepted}");
        assert_eq!(pages[0].1.messages, said, "{accepted}");

        let names = (0..50).map(|n| framed(&new(format!("{}{n}", accepted.replace([',', ' '], "")))));
        let created = call(&hub, CREATE_USERS, accept, &names.collect::<Vec<_>>()).await;
        let (encoding, created) = answer::<CreateUsersResponse>(created).await;
        assert_eq!((created[0].0, created[0].1.count), (sent.is_some(), 50), "{accepted}");
        assert_eq!(encoding.as_deref(), sent);
    }
}

#[tokio::test]
async fn small_replies_and_lists_are_never_compressed() {
    let hub = Hub::start().await;
    let mut users = hub.client().await;
    let created = users.create_users(iter((0..100).map(|n| new(format!("ada{n}"))))).await.unwrap().into_inner();
    let mut chat = hub.chat("den").await;
    chat.say("den", "ada", "hi").await;
    chat.next().await;
    let by_name = framed(&GetUserRequest { username: "ada7".into(), ..GetUserRequest::default() });
    for (accepted, _) in ACCEPTED {
        let accept = ("grpc-accept-encoding", accepted);
        let (_, found) = answer::<User>(call(&hub, GET_USER, accept, std::slice::from_ref(&by_name)).await).await;
        assert_eq!(found, [(false, created.users[7].clone())]);
        let everybody = framed(&ListUsersRequest::default());
        let (encoding, list) = answer::<User>(call(&hub, LIST_USERS, accept, &[everybody]).await).await;
        assert!(encoding.is_none() && list.iter().all(|(compressed, _)| !compressed), "{accepted}");
        assert_eq!(list.len(), 100);
        let everywhere = framed(&ListRoomsRequest::default());
        let (encoding, list) = answer::<()>(call(&hub, LIST_ROOMS, accept, &[everywhere]).await).await;
        assert_eq!((encoding, list), (None, vec![(false, ())]), "{accepted}");
    }
}

#[tokio::test]
async fn deliveries_are_never_compressed() {
    let hub = Hub::start().await;
    let mut talker = hub.chat("lobby").await;
    for accepted in ["gzip", "zstd"] {
        let accept = Some(("grpc-accept-encoding", accepted));
        let mut raw = Raw::connect(hub.address()).await;
        let mut chat = raw.call_at(&hub.address().to_string(), CHAT, accept).await;
        assert_eq!(chat.response.headers().await.get("grpc-encoding"), None);
        let mut subscription = raw.call_at(&hub.address().to_string(), SUBSCRIBE, accept).await;
        let lobby = Position { room: "lobby".into(), join: Some(Join::default()) };
        subscription.request.say(&SubscribeRequest { rooms: vec![lobby] }).await;
        subscription.request.half_close();
        assert_eq!(subscription.response.headers().await.get("grpc-encoding"), None);
        assert!(subscription.response.next().await.event.is_some(), "joined");
        talker.say("lobby", "ada", &long()).await;
        talker.next().await;
        // Both have the compression flag off.
        assert_eq!(chat.response.next().await.text, long());
        assert_eq!(subscription.response.next().await.text, long());
    }
}

/// Data that is invalid in this compression.
fn corrupt(encoding: CompressionEncoding) -> Vec<Vec<u8>> {
    let data = framed(&new("carl")).repeat(10);
    let whole = match encoding {
        Gzip => compressed(Gzip, &data),
        // gzip always has a checksum.
        _ => {
            let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
            encoder.include_checksum(true).unwrap();
            encoder.write_all(&data).unwrap();
            encoder.finish().unwrap()
        }
    };
    let broken_at = |at: usize| {
        let mut broken = whole.clone();
        broken[at] ^= 0xff;
        broken
    };
    let (middle, sum) = (whole.len() / 2, whole.len() - 2);
    let cut = [3, whole.len() - 1].map(|at| whole[..at].to_vec());
    let foreign = b"not compressed".to_vec();
    cut.into_iter().chain([foreign, broken_at(0), broken_at(middle), broken_at(sum)]).collect()
}

#[tokio::test]
async fn corrupt_data_fails_its_call_alone() {
    let hub = Hub::start().await;
    let mut client = hub.client().await;
    let mut bystander = Chat::open(&mut client, Some("lobby")).await.unwrap();
    let malformed = Refusal::new(Code::Internal, "MALFORMED_REQUEST");
    for encoding in BOTH {
        for data in corrupt(encoding) {
            for path in [GET_USER, LIST_USERS, CREATE_USERS, CHAT, GET_HISTORY, LIST_ROOMS, SUBSCRIBE, HEALTH] {
                let frame = wire::framed(1, &data);
                let mut call = call(&hub, path, ("grpc-encoding", &encoding.to_string()), &[frame]).await;
                let status = call.response.end().await.unwrap();
                assert_eq!(Refusal::of(&status), malformed, "{path} with {data:?}");
            }
        }
    }
    bystander.say("lobby", "ada", "still here?").await;
    assert_eq!(texts(&bystander.take(1).await), ["still here?"]);
    assert!(
        client.list_users(ListUsersRequest::default()).await.unwrap().into_inner().message().await.unwrap().is_none()
    );
}
