//! Listing rooms.

use super::{
    error::Error,
    handle::Rooms,
    rights::{self, Operation},
};
use crate::{caller::Caller, engine::RoomInfo, hub::Changes, types::RoomName};

/// A room that exists, and who is in it.
#[derive(Debug)]
pub struct RoomSummary {
    /// What the log knows of it.
    pub info: RoomInfo,
    /// Distinct members now.
    pub online: usize,
}

/// Some of the rooms that a caller may see.
#[derive(Debug)]
pub struct RoomsPage {
    /// In the order of names.
    pub rooms: Vec<RoomSummary>,
    /// The name after which the next page begins; `None` on the last page.
    pub next_after: Option<RoomName>,
}

impl Rooms {
    /// Lists the rooms whose names come after this one. Looks at no more than `max`, so a page may have none that the caller may see.
    pub async fn list(&self, caller: &Caller, after: Option<&RoomName>, max: usize) -> Result<RoomsPage, Error> {
        let infos = self.log.rooms(after, max).await?;
        let next_after = infos.last().map(|last| last.name.clone());
        let visible = infos.into_iter().filter(|info| rights::check(caller, Operation::List, &info.name).is_ok());
        Ok(RoomsPage { rooms: visible.map(|info| self.summary_of(info)).collect(), next_after })
    }

    /// A room, if it exists and the caller may see it. A room exists once a message was published in it.
    pub async fn summary(&self, caller: &Caller, room: &RoomName) -> Result<Option<RoomSummary>, Error> {
        if rights::check(caller, Operation::List, room).is_err() {
            return Ok(None);
        }
        Ok(self.log.room(room).await?.map(|info| self.summary_of(info)))
    }

    /// The names of rooms in which something changes, from now on. The list holds also rooms that do not exist yet, and rooms that the
    /// caller may not see: take the [`summary`](Self::summary) of each.
    pub fn changes(&self) -> Result<Changes<RoomName>, Error> {
        Ok(self.hub.room_changes()?)
    }

    fn summary_of(&self, info: RoomInfo) -> RoomSummary {
        RoomSummary { online: self.hub.members(&info.name), info }
    }
}
