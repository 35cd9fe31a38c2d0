//! The settings of an embedded engine.

use std::{num::NonZeroUsize, path::PathBuf};

use crate::engine::Retention;

/// The settings with which an embedded engine is opened.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The data folder. Created if it is missing.
    pub folder: PathBuf,
    /// Maximum number of drafts that wait for the writer.
    pub queue_drafts: usize,
    /// Maximum size of the drafts that wait for the writer, in bytes.
    pub queue_bytes: usize,
    /// Maximum number of committed groups that wait for the hub, and of groups of user changes that wait for the users' read model.
    pub feed_groups: usize,
    /// Maximum size of a page of records, in bytes. A single larger record is still a page.
    pub page_bytes: usize,
    /// Maximum size of the data file, in bytes; 0: limited by the disk only.
    pub file_bytes: u64,
    /// Maximum number of rooms.
    pub rooms: usize,
    /// Maximum number of rooms that one user may create by sending their first message; 0: unlimited.
    pub rooms_per_user: usize,
    /// Maximum number of users.
    pub users: usize,
    /// Number of reading connections.
    pub readers: NonZeroUsize,
    /// How many messages are kept, and for how long.
    pub retention: Retention,
}
