//! The commands to the actor, and its replies.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::{error::Error, presence::Listener, room::Ring};
use crate::types::RoomName;

/// A command to the actor.
#[derive(Debug)]
pub(super) enum Command {
    /// Makes a stream a member of a room.
    Join {
        room: RoomName,
        user_id: Option<Arc<str>>,
        presence: bool,
        reply: oneshot::Sender<Result<JoinReply, Error>>,
    },
    /// Listens to presence again after missed reports. The reply is `None` if the room has no members any more.
    Listen {
        room: RoomName,
        reply: oneshot::Sender<Option<Listener>>,
    },
    Count {
        reply: oneshot::Sender<Counts>,
    },
}

/// A new membership.
#[derive(Debug)]
pub(super) struct JoinReply {
    pub(super) ring: Ring,
    pub(super) membership: Membership,
    /// Distinct members, the new one included.
    pub(super) online: usize,
    /// `None` if presence was not asked for.
    pub(super) listener: Option<Listener>,
}

/// Counts as a member of a room until it is dropped.
#[derive(Debug)]
pub(super) struct Membership {
    /// The leave to send, with a reserved place for it, so that leaving never waits and never fails.
    leave: Option<(mpsc::OwnedPermit<Leave>, Leave)>,
}

/// A membership ends.
#[derive(Debug)]
pub(super) struct Leave {
    pub(super) room: RoomName,
    pub(super) user_id: Option<Arc<str>>,
}

impl Membership {
    pub(super) fn new(permit: mpsc::OwnedPermit<Leave>, leave: Leave) -> Self {
        Self { leave: Some((permit, leave)) }
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        if let Some((permit, leave)) = self.leave.take() {
            permit.send(leave);
        }
    }
}

/// What the hub holds now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Rooms with at least one subscriber: each has a ring.
    pub rooms: usize,
    /// Memberships: subscribers, each counted once for each of its rooms.
    pub members: usize,
    /// Bytes that all rings keep.
    pub ring_bytes: usize,
}
