//! More room names than the limit.

use std::{collections::BTreeMap, ops::Range};

use futures_util::{StreamExt, stream};
use rialto::proto::{
    rialto::v1::{PublishRequest, chat_service_client::ChatServiceClient},
    user::chat_message::Event,
};
use tonic::Code;

use super::{KIB, LITTLE};
use crate::support::{
    Chat, client,
    rooms::{join, live},
    said,
    siege::Siege,
    soon,
    wire::{Refusal, connection},
};

const NAMES: usize = 10_000;

/// Counts the answers by kind.
type Answers = BTreeMap<String, usize>;

/// Joins all of these rooms on one stream. Dropping the stream leaves them.
async fn joins(address: &str, names: Range<usize>) -> (impl Sized + use<>, Answers) {
    let stream = Chat::open(&mut client(address).await, Some("")).await.unwrap();
    let (sender, mut receiver) = stream.split();
    let ask = async {
        for name in names.clone() {
            soon(sender.send(join(&format!("room{name}"), live()))).await.unwrap();
        }
    };
    let count = async {
        let mut answers = Answers::new();
        for _ in names.clone() {
            let answer = match soon(receiver.message()).await.unwrap().unwrap().event {
                Some(Event::Joined(_)) => "JOINED".into(),
                Some(Event::Rejected(rejected)) => {
                    assert_eq!(Code::from(rejected.code), Code::ResourceExhausted, "{rejected:?}");
                    assert!(rejected.retry_after.is_some(), "{rejected:?}");
                    rejected.reason
                }
                event => panic!("{event:?}"),
            };
            *answers.entry(answer).or_default() += 1;
        }
        answers
    };
    let ((), answers) = tokio::join!(ask, count);
    ((sender, receiver), answers)
}

fn answers<const N: usize>(counts: [(&str, usize); N]) -> Answers {
    counts.map(|(answer, count)| (answer.to_owned(), count)).into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joins_of_ten_thousand_rooms_are_rejected_above_the_limits() {
    let mut siege = Siege::begin_with(&["rooms.max_open_rooms=2500"]).await;
    let address = siege.address().to_string();
    let first = joins(&address, 0..NAMES).await;
    siege.serves_others().await;
    let second = joins(&address, NAMES..2 * NAMES).await;
    let third = joins(&address, 2 * NAMES..3 * NAMES).await;
    siege.serves_others().await;
    assert_eq!(first.1, answers([("JOINED", 1_000), ("TOO_MANY_ROOMS_PER_STREAM", 9_000)]));
    assert_eq!(second.1, first.1);
    // The bystander is in one room.
    assert_eq!(third.1, answers([("JOINED", 499), ("TOO_MANY_OPEN_ROOMS", 9_501)]));
    // A room that somebody is in takes about 3 KiB (`rooms.max_open_rooms`), in a release.
    siege.withstood("joins of 10,000 rooms", LITTLE + 2_500 * 6 * KIB).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishing_in_ten_thousand_rooms_creates_no_more_than_the_limit() {
    let mut siege = Siege::begin_with(&["storage.max_rooms=1000"]).await;
    let service = ChatServiceClient::new(connection(siege.address()).await);
    let publish = |n| {
        let mut service = service.clone();
        async move {
            let message = Some(said(&format!("room{n}"), "mallory", "mine"));
            let outcome = soon(service.publish(PublishRequest { message })).await;
            outcome.map(drop).map_err(|status| Refusal::of(&status))
        }
    };
    let outcomes = stream::iter(0..NAMES).map(publish).buffer_unordered(64).collect::<Vec<_>>();
    let (outcomes, ()) = tokio::join!(outcomes, siege.serves_others());
    let refused: Vec<_> = outcomes.into_iter().filter_map(Result::err).collect();
    // The bystander has created one.
    assert_eq!(refused.len(), NAMES - 999);
    let expected = Refusal::new(Code::ResourceExhausted, "TOO_MANY_ROOMS").retry();
    assert!(refused.iter().all(|refusal| *refusal == expected), "{:?}", refused[0]);
    siege.withstood_but("publishing in 10,000 rooms", LITTLE + 1_000 * 6 * KIB, 999).await;
}
