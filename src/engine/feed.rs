//! What an engine emits while it is open.

use tokio::sync::mpsc;

use super::{record::Record, signals::Signal, users::UserChanges};
use crate::types::RoomName;

/// The two bounded feeds of an engine. They start when it is opened.
#[derive(Debug)]
pub struct Feeds {
    /// Committed records, and signals. Read by the hub.
    pub rooms: mpsc::Receiver<FeedItem>,
    /// Committed changes of users. Read by the users' read model.
    pub users: mpsc::Receiver<UserChanges>,
}

/// One item of the rooms' feed.
#[derive(Debug, PartialEq)]
pub enum FeedItem {
    /// Records that were committed together, of any rooms.
    Records(Vec<Record>),
    /// A signal, which is stored nowhere.
    Signal {
        /// The room that it belongs to.
        room: RoomName,
        /// The signal.
        signal: Signal,
    },
}
