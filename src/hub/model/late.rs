//! A log that sometimes answers late: its readers may rely only on what is still true when the answer arrives.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use crate::{
    engine::{Draft, Error, Log, Page, Position, Receipt, Refused, RoomInfo},
    types::RoomName,
};

/// Delays some answers of a log.
#[derive(Debug)]
pub(super) struct Late(pub(super) Arc<dyn Log>);

/// Sometimes waits as long as a few groups take to commit.
async fn maybe_wait() {
    if fastrand::u8(0..4) == 0 {
        tokio::time::sleep(Duration::from_millis(fastrand::u64(1..4))).await;
    }
}

#[async_trait]
impl Log for Late {
    async fn append(&self, draft: Draft) -> Result<Receipt, Refused> {
        self.0.append(draft).await
    }

    fn try_append(&self, draft: Draft) -> Result<Receipt, Draft> {
        self.0.try_append(draft)
    }

    async fn read(&self, room: &RoomName, after: u64, max: usize) -> Result<Page, Error> {
        let page = self.0.read(room, after, max).await;
        maybe_wait().await;
        page
    }

    async fn read_before(&self, room: &RoomName, before: u64, max: usize) -> Result<Page, Error> {
        self.0.read_before(room, before, max).await
    }

    async fn cursor_before(&self, room: &RoomName, head: u64, count: usize) -> Result<u64, Error> {
        self.0.cursor_before(room, head, count).await
    }

    async fn position(&self, room: &RoomName) -> Result<Position, Error> {
        let position = self.0.position(room).await;
        maybe_wait().await;
        position
    }

    async fn room(&self, room: &RoomName) -> Result<Option<RoomInfo>, Error> {
        self.0.room(room).await
    }

    async fn rooms(&self, after: Option<&RoomName>, max: usize) -> Result<Vec<RoomInfo>, Error> {
        self.0.rooms(after, max).await
    }
}
