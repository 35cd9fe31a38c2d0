//! Streams whose clients do not read, and which wait for the keys of an issuer.

use bytes::{Bytes, BytesMut};
use jsonwebtoken::Algorithm;
use rialto::{
    config::Limit,
    proto::user::{ChatMessage, RefreshToken, chat_message::Event},
};

use super::issuers::{Publisher, issued, jwk, until_good};
use crate::support::{
    Hub,
    raw::{CHAT, Call, Raw, framed},
    tokens::fresh_key,
};

/// Calls that may wait for a fetch of an issuer's keys at once.
const WAITING: usize = 64;

/// A message that is rejected, which fills the stream's window, and a token that needs a key which is not known.
fn rejected_and_refresh() -> Bytes {
    let token = issued(&fresh_key(), Algorithm::EdDSA, |_, _| {});
    let refresh = ChatMessage { event: Some(Event::RefreshToken(RefreshToken { token })), ..ChatMessage::default() };
    let mut both = BytesMut::new();
    both.extend_from_slice(&framed(&ChatMessage::default()));
    both.extend_from_slice(&framed(&refresh));
    both.freeze()
}

/// A stream that has sent both, and reads nothing of what it gets.
async fn unread(raw: &mut Raw, hub: &Hub, token: &str) -> Call {
    let mut call = raw.call_at(&hub.address().to_string(), CHAT, Some(("authorization", token))).await;
    call.response.opened().await;
    call.request.write(rejected_and_refresh()).await;
    call.response.first_byte().await;
    call
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_stop_reading_while_they_refresh_their_token_leave_the_key_fetch_to_others() {
    let (known, new) = (fresh_key(), fresh_key());
    let publisher = Publisher::start(&[jwk(&known, Algorithm::EdDSA)]).await;
    let hub = Hub::with_tokens(|config| {
        config.auth.issuers.push(publisher.issuer());
        config.auth.jwks_interval_seconds = 1;
        config.rates.calls_per_second_per_caller = Limit(0);
        config.rates.calls_per_second_per_address = Limit(0);
        config.rates.messages_per_second_per_caller = Limit(0);
        config.rates.messages_per_second_per_address = Limit(0);
    })
    .await;
    until_good(&hub, &known, true).await;
    let token = format!("Bearer {}", issued(&known, Algorithm::EdDSA, |_, _| {}));
    let mut raw = Raw::connect_narrow(hub.address(), 1).await;
    publisher.hold();
    let fetched = publisher.asked();
    // Before the interval is over a token with an unknown key is rejected at once. The stream that begins the fetch waits for it.
    let mut streams = vec![unread(&mut raw, &hub, &token).await];
    while publisher.asked() == fetched {
        streams = vec![unread(&mut raw, &hub, &token).await];
    }
    for _ in 0..WAITING {
        streams.push(unread(&mut raw, &hub, &token).await);
    }
    publisher.publish(&[jwk(&known, Algorithm::EdDSA), jwk(&new, Algorithm::EdDSA)]);
    publisher.release();
    until_good(&hub, &new, true).await;
    // The same again for a key that nobody has asked for yet.
    let newest = fresh_key();
    publisher.publish(&[jwk(&newest, Algorithm::EdDSA)]);
    until_good(&hub, &newest, true).await;
    drop(streams);
}
