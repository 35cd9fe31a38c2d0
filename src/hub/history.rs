//! Pages of the log, framed once and shared by everyone who reads there.
//!
//! Pages begin at fixed places, so that two thousand clients who resume at two thousand places read each page once: whoever comes first
//! reads it, the others wait for it. What was read last stays for a while; a reader that comes from far behind does not drive it out
//! (the cache resists scans).

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

/// What a page takes beside its messages, about: the names of places, and where each message begins.
const PAGE_OVERHEAD: usize = 4096 + 512;

/// The log as readers of rooms see it.
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
    /// The highest `seq` that retention has taken.
    floor: u64,
    /// Everything up to here, from where the page begins, is in it.
    through: u64,
    /// The room went further when the page was read.
    cut: bool,
    /// Its bytes cut it: the next page begins where it ends, and at no multiple.
    goes_on: bool,
}

#[derive(Debug, Clone)]
struct ByBytes;

impl Weighter<Key, Arc<Page>> for ByBytes {
    /// Never 0, even for a page of which retention left nothing: that would stay for ever.
    fn weight(&self, _: &Key, page: &Arc<Page>) -> u64 {
        (page.bytes + PAGE_OVERHEAD) as u64
    }
}

impl History {
    /// Keeps about so many bytes of pages.
    pub(super) fn new(log: Arc<dyn Log>, bytes: usize) -> Self {
        // Few shards, so that each has room for several pages.
        let options =
            OptionsBuilder::new().shards(4).estimated_items_capacity(64).weight_capacity(bytes as u64).build();
        let pages = match options {
            Ok(options) => Cache::with_options(options, ByBytes, Default::default(), DefaultLifecycle::default()),
            // Only absent figures fail, and none is.
            Err(_) => Cache::with_weighter(64, bytes as u64, ByBytes),
        };
        Self { log, pages }
    }

    /// The same page as [`page`](Self::page), if it is there already.
    pub(super) fn kept(&self, room: &RoomName, after: u64, begins: bool) -> Option<Arc<Page>> {
        let mut start = first_start(after, begins);
        loop {
            let page = self.pages.get(&(room.clone(), start))?;
            if page.through > after {
                return Some(page);
            }
            start = Some(page.through).filter(|_| page.cut)?;
        }
    }

    /// The page with what comes after this `seq`, where the room must have something. `begins`: a page [begins](Page::goes_on) there.
    /// Otherwise the pages before it have to be looked at to know.
    pub(super) async fn page(&self, room: &RoomName, after: u64, begins: bool) -> Result<Arc<Page>, Error> {
        let mut start = first_start(after, begins);
        loop {
            let page = self.page_at(room, start, after).await?;
            if page.through > after {
                return Ok(page);
            }
            if !page.cut {
                return Err(Error::Unavailable(format!("room {room} is shown only up to {}", page.through)));
            }
            start = page.through;
        }
    }

    /// The page that begins there. One that ended at the head of the room before `wanted` came is read again.
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
                return Err(Error::Unavailable("the cache of pages was not ready".into()));
            }
        };
        let most = STRIDE - start % STRIDE;
        let read = self.log.read(room, start, usize::try_from(most).unwrap_or(usize::MAX)).await?;
        let page = Arc::new(Page::frame(start, read));
        // A page that does not fit is not kept, and serves this reader alone.
        _ = place.insert(Arc::clone(&page));
        Ok(page)
    }
}

/// Where the first page begins that can have what comes after this `seq`.
fn first_start(after: u64, begins: bool) -> u64 {
    if begins { after } else { after - after % STRIDE }
}

impl Page {
    fn frame(start: u64, page: engine::Page) -> Self {
        let engine::Page { records, through, floor, head } = page;
        let mut framer = Framer::default();
        let mut batches = Vec::new();
        for record in records {
            batches.extend(framer.push(&message(record)));
        }
        batches.extend(framer.finish());
        let bytes = batches.iter().map(Batch::size).sum();
        let cut = through < head;
        let goes_on = cut && through / STRIDE == start / STRIDE;
        Self { batches, bytes, floor, through, cut, goes_on }
    }

    pub(super) fn floor(&self) -> u64 {
        self.floor
    }

    pub(super) fn through(&self) -> u64 {
        self.through
    }

    /// The next page begins where this one ends, wherever the reader of that has come from.
    pub(super) fn goes_on(&self) -> bool {
        self.goes_on
    }

    /// The next frames above this `seq`, and the last `seq` among them.
    pub(super) fn after(&self, seq: u64) -> Option<(Bytes, u64)> {
        let next = self.batches.partition_point(|batch| batch.last_seq() <= seq);
        let batch = self.batches.get(next)?;
        Some((batch.after(seq)?, batch.last_seq()))
    }
}
