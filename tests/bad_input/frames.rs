//! Malformed frames and headers.

use bytes::Bytes;
use rialto::proto::user::{DeleteUserRequest, GetUserRequest, ListUsersRequest, Roles, UpdateUserRequest};

use super::{KIB, Scene, new, oversize, undecodable};
use crate::support::{
    soon,
    wire::{frame, framed, not_utf8},
};

#[tokio::test]
async fn frames_that_do_not_decode_are_refused_with_details() {
    let mut scene = Scene::start().await;
    for method in ["GetUser", "CreateUser", "UpdateUser", "DeleteUser", "ListUsers", "CreateUsers"] {
        let rows = [
            ("a cut field", framed(0, b"\x0a\x05ab")),
            ("field 0", framed(0, b"\0\0")),
            ("a wrong wire type", framed(0, b"\x0d\0\0\0\0\x11\0\0\0\0\0\0\0\0")),
            ("an endless varint", framed(0, &[0xff; 64])),
            ("nested groups", framed(0, &[0x0b; 4096])),
        ];
        scene.refuses_bytes(method, rows, &undecodable()).await;
    }
    let rows = [("a bad second", [frame(&new("carl", "", "")), framed(0, b"\x0a")].concat().into())];
    scene.refuses_bytes("CreateUsers", rows, &undecodable()).await;
}

#[tokio::test]
async fn text_that_is_not_utf8_does_not_decode_in_any_field() {
    let mut scene = Scene::start().await;
    let get = |id: &str, username: &str| not_utf8(&GetUserRequest { id: id.into(), username: username.into() });
    scene.refuses_bytes("GetUser", [("id", get("?", "")), ("username", get("", "?"))], &undecodable()).await;
    for method in ["CreateUser", "CreateUsers"] {
        let fields =
            [("username", new("?", "", "")), ("email", new("carl", "?", "")), ("password", new("carl", "", "?"))];
        scene.refuses_bytes(method, fields.map(|(name, request)| (name, not_utf8(&request))), &undecodable()).await;
    }
    let id = scene.ada.id.clone();
    let update = |set: fn(&mut UpdateUserRequest)| {
        let mut request = UpdateUserRequest { id: id.clone(), ..UpdateUserRequest::default() };
        set(&mut request);
        not_utf8(&request)
    };
    let fields = [
        ("id", update(|it| it.id = "?".into())),
        ("username", update(|it| it.username = Some("?".into()))),
        ("email", update(|it| it.email = Some("?".into()))),
        ("password", update(|it| it.password = Some("?".into()))),
        ("roles", update(|it| it.roles = Some(Roles { values: vec!["a".into(), "?".into()] }))),
    ];
    scene.refuses_bytes("UpdateUser", fields, &undecodable()).await;
    let id = not_utf8(&DeleteUserRequest { id: "?".into() });
    scene.refuses_bytes("DeleteUser", [("id", id)], &undecodable()).await;
    let page_token = not_utf8(&ListUsersRequest { page_token: "?".into(), ..ListUsersRequest::default() });
    scene.refuses_bytes("ListUsers", [("page_token", page_token)], &undecodable()).await;
}

#[tokio::test]
async fn frames_above_the_limit_are_refused_with_details() {
    let mut scene = Scene::start().await;
    let above = framed(0, &[0xff; 256 * KIB + 1]);
    for method in ["GetUser", "CreateUser", "UpdateUser", "DeleteUser", "ListUsers", "CreateUsers"] {
        let rows = [("a byte above", above.clone()), ("4 GiB announced", Bytes::from_static(b"\0\xff\xff\xff\xff"))];
        scene.refuses_bytes(method, rows, &oversize()).await;
    }
    let second = [frame(&new("carl", "", "")), above].concat().into();
    scene.refuses_bytes("CreateUsers", [("too large a second", second)], &oversize()).await;
}

#[tokio::test]
async fn broken_framing_fails_the_call_alone() {
    let mut scene = Scene::start().await;
    let mut frames: Vec<Bytes> =
        vec![Bytes::new(), Bytes::from_static(b"\0\0"), Bytes::from_static(b"\0\0\0\0\x09abc")];
    frames.extend([1, 2, 255].map(|flag| framed(flag, &[0; 16])));
    for method in ["GetUser", "CreateUser", "ListUsers", "CreateUsers"] {
        for body in &frames {
            // An empty request creates no users, which is valid.
            let is_fine = method == "CreateUsers" && body.is_empty();
            let outcome = scene.call_bytes(method, body.clone()).await;
            assert_eq!(outcome.is_ok(), is_fine, "{method} with {body:?}: {outcome:?}");
        }
    }
    scene.is_unharmed().await;
}

#[tokio::test]
async fn headers_above_the_limit_fail_the_call_alone() {
    let mut scene = Scene::start().await;
    let mut request = tonic::Request::new(GetUserRequest { id: scene.ada.id.clone(), ..Default::default() });
    request.metadata_mut().insert("x-large", "x".repeat(20 * KIB).parse().unwrap());
    soon(scene.client.get_user(request)).await.unwrap_err();
    scene.is_unharmed().await;
}
