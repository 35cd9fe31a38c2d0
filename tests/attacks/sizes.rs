//! Messages that are announced but never arrive, arrive incomplete, or are too large.

use futures_util::future::join_all;
use tonic::Code;

use super::{KIB, LITTLE};
use crate::support::{
    raw::{CHAT, CREATE_USERS, Call, GET_USER, Raw},
    rejected,
    siege::Siege,
    wire::{Refusal, framed},
};

/// The size limits of a message in a unary call and in Chat.
const CALL: usize = 256 * 1024;
const SAID: usize = 64 * 1024;

const CONNECTIONS: usize = 8;
const STREAMS: usize = 125;

/// Of these, as many as `limits.max_incomplete_bytes` has places for.
const PLACES: usize = 256;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn announced_messages_cost_only_what_has_arrived() {
    let mut siege = Siege::begin().await;
    let address = siege.address();
    let message = framed(0, &[0; CALL]);
    let mut calls: Vec<(Raw, Vec<Call>)> = join_all((0..CONNECTIONS).map(|_| async {
        let mut raw = Raw::connect(address).await;
        let mut calls = Vec::new();
        for _ in 0..STREAMS {
            let mut call = raw.call(GET_USER, None).await;
            call.request.write(message.slice(..5)).await;
            calls.push(call);
        }
        raw.flushed().await;
        (raw, calls)
    }))
    .await;
    siege.serves_others().await;
    let calls_alone = LITTLE + (CONNECTIONS * STREAMS) as u64 * 24 * KIB;
    let grown = siege.grown();
    eprintln!("1,000 messages announced: the process grew by {} KiB at most", grown.unwrap_or_default() / KIB);
    assert!(grown.is_none_or(|grown| grown < calls_alone), "{grown:?}");

    // All but one octet of each message arrives, as far as the budget allows.
    let rest = message.slice(5..message.len() - 1);
    let full = Refusal::new(Code::ResourceExhausted, "TOO_MANY_INCOMPLETE_MESSAGES").retry();
    let ends = calls.iter_mut().flat_map(|(_, calls)| calls).map(|Call { request, response }| {
        let rest = rest.clone();
        async move {
            tokio::select! {
                biased;
                end = response.end() => Some(Refusal::of(&end.unwrap())),
                () = request.write(rest) => None,
            }
        }
    });
    let ends = join_all(ends).await;
    let refused: Vec<_> = ends.into_iter().flatten().collect();
    // Some may not be refused yet: what is in a window was sent, but not read.
    assert!(refused.len() >= CONNECTIONS * STREAMS / 2, "{}", refused.len());
    assert!(refused.iter().all(|refusal| *refusal == full), "{refused:?}");
    join_all(calls.iter_mut().map(|(raw, _)| raw.flushed())).await;
    siege.serves_others().await;
    drop(calls);
    let sent = (PLACES * CALL) as u64;
    siege.withstood("1,000 messages but for an octet each", calls_alone + sent).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_above_the_limit_end_the_call_and_just_below_they_are_read() {
    let mut siege = Siege::begin().await;
    let address = siege.address();
    let oversize = Refusal::new(Code::ResourceExhausted, "MESSAGE_TOO_LARGE");
    siege
        .repeat(async || {
            let calls = [(GET_USER, CALL), (CREATE_USERS, CALL), (CHAT, SAID)].map(|(path, most)| async move {
                let mut raw = Raw::connect(address).await;
                let above = framed(0, &vec![0xff; most + 1]);
                let mut refusals = Vec::new();
                for _ in 0..100 {
                    let mut call = raw.call(path, Some("")).await;
                    // No more than the window takes: the server refuses without waiting for the rest.
                    let some = call.request.window(SAID).await.min(SAID);
                    call.request.write(above.slice(..some)).await;
                    refusals.push(Refusal::of(&call.response.end().await.unwrap()));
                }
                refusals
            });
            for refusal in join_all(calls).await.concat() {
                assert_eq!(refusal, oversize);
            }
        })
        .await;
    let mut raw = Raw::connect(address).await;
    let mut chat = raw.call(CHAT, Some("")).await;
    for _ in 0..2 {
        chat.request.write(framed(0, &[0xff; SAID])).await;
        assert_eq!(
            rejected(&chat.response.next().await).reason,
            "MALFORMED_MESSAGE",
            "it was read, and the stream lives on"
        );
    }
    siege.withstood("messages above the limit", LITTLE).await;
}
