//! Reading back what was published in a room.

use super::{
    error::Error,
    handle::Rooms,
    rights::{self, Operation},
};
use crate::{
    caller::Caller,
    engine::{Page, Record},
    types::RoomName,
};

/// Which messages of a room to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HistoryRange {
    /// The first ones above this `seq`.
    After(u64),
    /// The last ones below this `seq`.
    Before(u64),
    /// The last ones.
    Latest,
}

/// A page of a room's history.
#[derive(Debug)]
pub struct HistoryPage {
    /// In the order of `seq`.
    pub records: Vec<Record>,
    /// Names the log whose numbers these are.
    pub epoch: String,
    /// The last `seq` of the room; 0 if it has no message.
    pub head: u64,
    /// The first and the last `seq` of the range that retention has removed, if it has removed any.
    pub gap: Option<(u64, u64)>,
}

impl Rooms {
    /// Reads at most `max` messages of a room. A room that does not exist has none.
    pub async fn history(
        &self,
        caller: &Caller,
        room: &RoomName,
        range: HistoryRange,
        max: usize,
    ) -> Result<HistoryPage, Error> {
        rights::check(caller, Operation::ReadHistory, room)?;
        let page = match range {
            HistoryRange::After(seq) => self.log.read(room, seq, max).await?,
            HistoryRange::Before(seq) => self.log.read_before(room, seq, max).await?,
            HistoryRange::Latest => self.log.read_before(room, u64::MAX, max).await?,
        };
        let epoch = self.log.position(room).await?.epoch;
        let gap = removed(&page, range);
        let Page { records, head, .. } = page;
        Ok(HistoryPage { records, epoch, head, gap })
    }
}

/// What retention has removed of the range that a page covers.
fn removed(page: &Page, range: HistoryRange) -> Option<(u64, u64)> {
    let Page { floor, reached_floor, .. } = page;
    let before = match range {
        HistoryRange::After(seq) => return (seq < *floor).then(|| (seq + 1, *floor)),
        HistoryRange::Before(seq) => Some(seq),
        HistoryRange::Latest => None,
    };
    // Backwards something is missing only where the page has reached the floor.
    let last = before.map_or(*floor, |before| before.saturating_sub(1).min(*floor));
    (*reached_floor && last > 0).then_some((1, last))
}
