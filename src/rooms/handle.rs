//! The handle to the rooms.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::{
    error::Error,
    rights::{self, Operation},
};
use crate::{
    caller::Caller,
    engine::{Log, Signal, Signals},
    hub::{self, JoinOptions, JoinedRoom, Subscription},
    lifecycle::RequestHandle,
    types::RoomName,
};

/// The way to the rooms. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Rooms {
    pub(super) log: Arc<dyn Log>,
    signals: Arc<dyn Signals>,
    pub(super) hub: hub::Handle,
}

impl Rooms {
    /// The rooms of this log, whose records this hub delivers.
    #[must_use]
    pub fn new(log: Arc<dyn Log>, signals: Arc<dyn Signals>, hub: hub::Handle) -> Self {
        Self { log, signals, hub }
    }

    /// A subscription of this stream, to no room yet.
    #[must_use]
    pub fn subscribe(&self, stream: RequestHandle) -> Subscription {
        self.hub.subscribe(stream)
    }

    /// Joins a room, for a [`Subscription`] that is not in it. `options.user_id` may be `None` for the caller's own.
    pub async fn join(&self, caller: &Caller, room: RoomName, options: JoinOptions) -> Result<JoinedRoom, Error> {
        let options = permitted(caller, &room, options)?;
        Ok(self.hub.clone().join(room, options).await?)
    }

    /// [Joins](Self::join) in a task of its own, which ends when the returned future is dropped.
    pub fn spawn_join(
        &self,
        caller: &Caller,
        room: RoomName,
        options: JoinOptions,
    ) -> Result<BoxFuture<'static, Result<JoinedRoom, hub::Error>>, Error> {
        let options = permitted(caller, &room, options)?;
        Ok(hub::spawned(self.hub.clone().join(room, options), || Err(hub::Error::Stopped)))
    }

    /// Signals to the listeners of a room that a user types there, except to this stream. Best effort; never waits.
    pub fn typing(
        &self,
        caller: &Caller,
        room: RoomName,
        user_id: String,
        stream: &RequestHandle,
    ) -> Result<(), Error> {
        rights::check(caller, Operation::Type, &room)?;
        rights::check_speaker(caller, &user_id)?;
        self.signals.signal(room, Signal::Typing { user_id, stream: stream.id() });
        Ok(())
    }
}

fn permitted(caller: &Caller, room: &RoomName, options: JoinOptions) -> Result<JoinOptions, Error> {
    rights::check(caller, Operation::Join, room)?;
    let user_id = rights::member(caller, options.user_id)?;
    Ok(JoinOptions { user_id, ..options })
}
