//! `ListUsers` with `watch`: a stream that goes on until somebody ends it.

use async_stream::stream;
use tokio_stream::Stream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::wire;
use crate::{
    engine::UserChange,
    proto::user::{State, User},
    rpc::status::Failure,
    users::Watch,
};

/// Sends what the watch tells, until it ends or a drain begins.
pub(super) fn follow(
    mut watch: Watch,
    draining: CancellationToken,
) -> impl Stream<Item = Result<User, Status>> + Send + 'static {
    stream! {
        loop {
            let news = tokio::select! {
                biased;
                () = draining.cancelled() => Err(Failure::draining()),
                news = watch.next() => news.map_err(Failure::from),
            };
            match news {
                Ok(changes) => {
                    for change in changes {
                        yield Ok(changed(&change));
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

/// A change as watchers see it.
fn changed(change: &UserChange) -> User {
    match change {
        UserChange::Put(user) => wire(user),
        UserChange::Deleted { id, revision } => {
            User { id: id.to_string(), revision: *revision, state: State::Deleted.into(), ..User::default() }
        }
    }
}
