//! Publishing to a room.

use futures_util::future::BoxFuture;

use super::{
    error::Error,
    handle::Rooms,
    rights::{self, Operation},
};
use crate::{
    caller::Caller,
    engine::{self, Appended, Draft, Receipt, Record, Refused},
    hub,
};

/// What became of a draft that a stream handed over.
pub enum Submission {
    /// It is in the log's queue.
    Queued(Receipt),
    /// The queue is full: the future resolves when the draft is in it. Dropping the future before that publishes nothing.
    Waiting(BoxFuture<'static, Result<Receipt, Refused>>),
}

/// A message that is in the log.
#[derive(Debug)]
pub struct Published {
    /// As the log has it.
    pub record: Record,
    /// The same `(room, user_id, id)` was published before: the record is the first one.
    pub duplicate: bool,
}

impl Rooms {
    /// Publishes a message, and waits until it is durable. Its `user_id` must be the caller's own.
    pub async fn publish(&self, caller: &Caller, draft: Draft) -> Result<Published, Error> {
        check(caller, &draft)?;
        let copy = draft.clone();
        let refused = |refused: Refused| Error::Engine(refused.error);
        let receipt = self.log.append(draft).await.map_err(refused)?;
        Ok(match receipt.await.map_err(refused)? {
            Appended::Accepted { seq, time } => Published { record: copy.into_record(seq, time), duplicate: false },
            Appended::Duplicate(first) => Published { record: *first, duplicate: true },
        })
    }

    /// Hands a message over without waiting; a wait for the queue is a task of its own, so that a stream that is not polled holds no
    /// place in it. Returns the draft if it is refused.
    pub fn submit(&self, caller: &Caller, draft: Draft) -> Result<Submission, (Draft, Error)> {
        if let Err(error) = check(caller, &draft) {
            return Err((draft, error));
        }
        Ok(match self.log.try_append(draft) {
            Ok(receipt) => Submission::Queued(receipt),
            Err(draft) => {
                let log = self.log.clone();
                let append = async move { log.append(draft).await };
                let stopped = || Err(Refused::new(None, engine::Error::Stopped));
                Submission::Waiting(hub::spawned(append, stopped))
            }
        })
    }
}

fn check(caller: &Caller, draft: &Draft) -> Result<(), Error> {
    rights::check(caller, Operation::Publish, &draft.room)?;
    Ok(rights::check_speaker(caller, &draft.user_id)?)
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroUsize, sync::Arc, time::Duration};

    use tokio::{sync::mpsc, time::timeout};

    use super::*;
    use crate::{
        caller::Standing,
        engine::{Feeds, Retention, embedded},
        rooms::rights::{Denied, UserMismatch},
        types::RoomName,
    };

    fn rooms(folder: &std::path::Path) -> (Rooms, Feeds) {
        let settings = embedded::Settings {
            folder: folder.to_owned(),
            queue_drafts: 4,
            queue_bytes: 1 << 20,
            feed_groups: 1,
            page_bytes: 4096,
            file_bytes: 0,
            rooms: 10,
            rooms_per_user: 0,
            users: 100,
            readers: NonZeroUsize::MIN,
            retention: Retention::default(),
        };
        let (engine, feeds) = embedded::open(&settings, Arc::default()).unwrap();
        let settings = hub::Settings {
            ring_batches: 4,
            ring_bytes: 1 << 20,
            inbox: 1,
            open_rooms: 10,
            memberships: 10,
            memberships_per_user: None,
            rooms_per_stream: 10,
            members_per_room: 10,
            presence_max: 2,
            history_bytes: 1 << 20,
            waiting_changes: 10,
            watchers: 1,
        };
        let (hub, _) = hub::start(&settings, engine.clone(), mpsc::channel(1).1, Arc::default());
        (Rooms::new(engine.clone(), engine, hub), feeds)
    }

    fn draft(user_id: &str) -> Draft {
        let id = uuid::Uuid::now_v7().to_string();
        Draft::message(RoomName::default(), user_id.into(), id, false, "hello".into())
    }

    fn open() -> Caller {
        Caller { standing: Standing::Open, ..Caller::default() }
    }

    #[tokio::test]
    async fn streams_that_stop_reading_while_they_publish_do_not_delay_others() {
        let folder = tempfile::tempdir().unwrap();
        let (rooms, mut feeds) = rooms(folder.path());
        // Nothing takes from the feed yet: it fills, then the queue, and the rest waits for a place.
        let submit = |_| rooms.submit(&open(), draft("ada")).unwrap_or_else(|(_, error)| panic!("{error}"));
        let submissions: Vec<_> = (0..100).map(submit).collect();
        assert!(matches!(submissions.last(), Some(Submission::Waiting(_))));
        let feeding = tokio::spawn(async move { while feeds.rooms.recv().await.is_some() {} });
        let published = timeout(Duration::from_secs(10), rooms.publish(&open(), draft("bob"))).await;
        assert!(!published.expect("it waits for no stream that is not polled").unwrap().duplicate);
        drop(submissions);
        feeding.abort();
    }

    #[tokio::test]
    async fn a_message_is_published_only_for_the_caller_itself() {
        let folder = tempfile::tempdir().unwrap();
        let (rooms, _feeds) = rooms(folder.path());
        let ada = Caller { id: Some("ada".into()), ..open() };
        let refused = rooms.publish(&ada, draft("eve")).await.unwrap_err();
        assert!(matches!(refused, Error::UserMismatch(UserMismatch(id)) if id == "ada"));
        let Err((draft, Error::Denied(Denied::Unauthenticated))) = rooms.submit(&Caller::default(), draft("ada"))
        else {
            panic!("nothing has authenticated the caller")
        };
        assert_eq!(draft.user_id, "ada", "a refused draft comes back");
    }
}
