//! Pages of the log, framed once and shared by all readers.
//!
//! Pages begin at fixed `seq`s, so that two thousand clients that resume at two thousand positions read each page once: the first one
//! reads it, and the others wait for it. Recent pages are cached; a reader that comes from far behind does not evict them (the cache
//! resists scans).

use std::sync::Arc;

use bytes::Bytes;
use quick_cache::{
    OptionsBuilder, Weighter,
    sync::{Cache, DefaultLifecycle, EntryAction, EntryResult},
};

use super::message::message;
use crate::{
    batch::{Batch, Framer},
    engine::{self, Error, Log},
    types::RoomName,
};

/// Pages begin at multiples of this `seq`, or where the page before was cut.
const STRIDE: u64 = 256;

/// Approximate bytes of a page beside its messages: its key, and the index of each message.
const PAGE_OVERHEAD: usize = 4096 + 512;

/// The log of all rooms in framed pages.
#[derive(Debug)]
pub(super) struct History {
    log: Arc<dyn Log>,
    pages: Cache<Key, Arc<Page>, ByBytes>,
}

type Key = (RoomName, u64);

/// A run of framed messages.
#[derive(Debug)]
pub(super) struct Page {
    batches: Vec<Batch>,
    bytes: usize,
    /// The highest `seq` that retention had removed.
    floor: u64,
    /// The page has every message from its start up to this `seq`.
    through: u64,
    /// The room had more messages when the page was read.
    cut: bool,
    /// The page was cut by its bytes: the next page begins where it ends, which is no multiple of [`STRIDE`].
    next_begins_here: bool,
}

#[derive(Debug, Clone)]
struct ByBytes;

impl Weighter<Key, Arc<Page>> for ByBytes {
    /// Never 0, even for a page that retention has emptied: the cache never evicts what weighs nothing.
    fn weight(&self, _: &Key, page: &Arc<Page>) -> u64 {
        (page.bytes + PAGE_OVERHEAD) as u64
    }
}

impl History {
    /// Caches about this many bytes of pages.
    pub(super) fn new(log: Arc<dyn Log>, bytes: usize) -> Self {
        // Few shards, so that each has room for several pages.
        let options =
            OptionsBuilder::new().shards(4).estimated_items_capacity(64).weight_capacity(bytes as u64).build();
        let pages = match options {
            Ok(options) => Cache::with_options(options, ByBytes, Default::default(), DefaultLifecycle::default()),
            // It fails only if an option is missing, and all are set.
            Err(_) => Cache::with_weighter(64, bytes as u64, ByBytes),
        };
        Self { log, pages }
    }

    /// The same page as [`page`](Self::page), if it is cached.
    pub(super) fn cached(&self, room: &RoomName, after: u64, begins: bool) -> Option<Arc<Page>> {
        let mut start = first_start(after, begins);
        loop {
            let page = self.pages.get(&(room.clone(), start))?;
            if page.through > after {
                return Some(page);
            }
            start = Some(page.through).filter(|_| page.cut)?;
        }
    }

    /// The page with the messages above `after`, of which the room must have some. `begins`: a page
    /// [begins](Page::next_begins_here) at `after`; otherwise the start is found from the pages before it.
    pub(super) async fn page(&self, room: &RoomName, after: u64, begins: bool) -> Result<Arc<Page>, Error> {
        let mut start = first_start(after, begins);
        loop {
            let page = self.page_at(room, start, after).await?;
            if page.through > after {
                return Ok(page);
            }
            if !page.cut {
                return Err(Error::Unavailable(format!("room {room} could be read only up to seq {}", page.through)));
            }
            start = page.through;
        }
    }

    /// The page that begins at `start`. A page that ended at the head of the room before `wanted` was committed is read again.
    async fn page_at(&self, room: &RoomName, start: u64, wanted: u64) -> Result<Arc<Page>, Error> {
        let key = (room.clone(), start);
        let look = |_: &Key, page: &mut Arc<Page>| match page.cut || page.through > wanted {
            true => EntryAction::Retain(Arc::clone(page)),
            false => EntryAction::ReplaceWithGuard,
        };
        let place = match self.pages.entry_async(&key, look).await {
            EntryResult::Retained(page) => return Ok(page),
            EntryResult::Vacant(place) | EntryResult::Replaced(place, _) => place,
            EntryResult::Removed(..) | EntryResult::Timeout => {
                return Err(Error::Unavailable("the page cache did not answer".into()));
            }
        };
        let most = STRIDE - start % STRIDE;
        let read = self.log.read(room, start, usize::try_from(most).unwrap_or(usize::MAX)).await?;
        let page = Arc::new(Page::frame(start, read));
        // A page that is too large for the cache serves this reader alone.
        _ = place.insert(Arc::clone(&page));
        Ok(page)
    }
}

/// The start of the first page that can have a message above `after`.
fn first_start(after: u64, begins: bool) -> u64 {
    if begins { after } else { after - after % STRIDE }
}

impl Page {
    fn frame(start: u64, page: engine::Page) -> Self {
        let engine::Page { records, through, floor, head, .. } = page;
        let mut framer = Framer::default();
        let mut batches = Vec::new();
        for record in records {
            batches.extend(framer.push(&message(record)));
        }
        batches.extend(framer.finish());
        let bytes = batches.iter().map(Batch::size).sum();
        let cut = through < head;
        let next_begins_here = cut && through / STRIDE == start / STRIDE;
        Self { batches, bytes, floor, through, cut, next_begins_here }
    }

    pub(super) fn floor(&self) -> u64 {
        self.floor
    }

    pub(super) fn through(&self) -> u64 {
        self.through
    }

    /// The next page begins where this one ends, for every reader.
    pub(super) fn next_begins_here(&self) -> bool {
        self.next_begins_here
    }

    /// The next frames above this `seq`, and the last `seq` among them.
    pub(super) fn after(&self, seq: u64) -> Option<(Bytes, u64)> {
        let next = self.batches.partition_point(|batch| batch.last_seq() <= seq);
        let batch = self.batches.get(next)?;
        Some((batch.after(seq)?, batch.last_seq()))
    }
}
