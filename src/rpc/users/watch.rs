//! `ListUsers` with `watch`: a stream that goes on until somebody ends it.

use std::sync::Arc;

use async_stream::stream;
use tokio_stream::Stream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::seen;
use crate::{
    caller::Caller,
    engine::UserChange,
    hub,
    proto::user::{State, User},
    rpc::{status::Failure, stream_limit::CallerPermit},
    users::{Watch, parse_id},
};

/// Sends what the watch tells, and users again who come online or go, until the watch ends or a drain begins.
pub(super) fn follow(
    mut watch: Watch,
    (caller, place): (Caller, Option<CallerPermit>),
    hub: hub::Handle,
    mut online: hub::Changes<Arc<str>>,
    draining: CancellationToken,
) -> impl Stream<Item = Result<User, Status>> + Send + 'static {
    stream! {
        let _place = place;
        loop {
            let news = tokio::select! {
                biased;
                () = draining.cancelled() => Err(Failure::draining()),
                ids = online.next() => ids.map(|ids| again(&watch, &ids)).map_err(Failure::from),
                news = watch.next() => news.map_err(Failure::from),
            };
            match news {
                Ok(changes) => {
                    for change in changes {
                        yield Ok(changed(&change, &caller, &hub));
                    }
                }
                Err(failure) => {
                    yield Err(failure.into());
                    return;
                }
            }
        }
    }
}

/// Those who were sent already. Most names of chatters are no ids of users.
fn again(watch: &Watch, ids: &[Arc<str>]) -> Vec<UserChange> {
    let known = ids.iter().filter_map(|id| watch.again(parse_id(id)?));
    known.map(UserChange::Put).collect()
}

/// A change as watchers see it.
fn changed(change: &UserChange, caller: &Caller, hub: &hub::Handle) -> User {
    match change {
        UserChange::Put(user) => seen(user, caller, hub),
        UserChange::Deleted { id, revision } => {
            User { id: id.to_string(), revision: *revision, state: State::Deleted.into(), ..User::default() }
        }
    }
}
