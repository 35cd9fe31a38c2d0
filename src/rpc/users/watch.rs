//! `ListUsers` with `watch`: a stream without an end of its own.

use std::sync::Arc;

use async_stream::stream;
use tokio_stream::Stream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::convert::visible_to;
use crate::{
    caller::Caller,
    engine::UserChange,
    hub,
    proto::user::{State, User},
    rpc::{status::Failure, stream_limit::CallerPermit},
    users::{UserWatch, parse_id},
};

/// Sends the results of the watch, and repeats users whose `online` changes, until the watch fails or a drain begins.
pub(super) fn follow(
    mut watch: UserWatch,
    (caller, permit): (Caller, Option<CallerPermit>),
    hub: hub::Handle,
    mut online: hub::Changes<Arc<str>>,
    draining: CancellationToken,
) -> impl Stream<Item = Result<User, Status>> + Send + 'static {
    stream! {
        let _permit = permit;
        loop {
            let changes = tokio::select! {
                biased;
                () = draining.cancelled() => Err(Failure::draining()),
                ids = online.next() => ids.map(|ids| resend(&watch, &ids)).map_err(Failure::from),
                changes = watch.next() => changes.map_err(Failure::from),
            };
            match changes {
                Ok(changes) => {
                    for change in changes {
                        yield Ok(to_wire(&change, &caller, &hub));
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

/// The users among these chat names that were sent before. Names of chatters need not be ids of users.
fn resend(watch: &UserWatch, names: &[Arc<str>]) -> Vec<UserChange> {
    let users = names.iter().filter_map(|name| watch.resend(parse_id(name)?));
    users.map(UserChange::Put).collect()
}

/// A change as this caller may see it.
fn to_wire(change: &UserChange, caller: &Caller, hub: &hub::Handle) -> User {
    match change {
        UserChange::Put(user) => visible_to(caller, user, hub),
        UserChange::Deleted { id, revision } => {
            User { id: id.to_string(), revision: *revision, state: State::Deleted.into(), ..User::default() }
        }
    }
}
