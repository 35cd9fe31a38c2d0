//! A log whose answers come late: between the look and the answer anything may happen. What is true of an answer then, is all that its
//! reader may build on.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use uuid::Uuid;

use crate::engine::{
    Draft, Engine, Error, Page, PasswordHash, Position, Receipt, Refused, RoomInfo, Rotated, SecretHash, Session,
    Signal, User, UserWrite, WriteError,
};
use crate::types::{RoomName, Time};

/// Sometimes late.
#[derive(Debug)]
pub(super) struct Late(pub(super) Arc<dyn Engine>);

/// As long as a few groups take.
async fn later() {
    if fastrand::u8(0..4) == 0 {
        tokio::time::sleep(Duration::from_millis(fastrand::u64(1..4))).await;
    }
}

#[async_trait]
impl Engine for Late {
    async fn append(&self, draft: Draft) -> Result<Receipt, Refused> {
        self.0.append(draft).await
    }

    fn try_append(&self, draft: Draft) -> Result<Receipt, Draft> {
        self.0.try_append(draft)
    }

    fn signal(&self, room: RoomName, signal: Signal) {
        self.0.signal(room, signal);
    }

    async fn read(&self, room: &RoomName, after: u64, max: usize) -> Result<Page, Error> {
        let page = self.0.read(room, after, max).await;
        later().await;
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
        later().await;
        position
    }

    async fn room(&self, room: &RoomName) -> Result<Option<RoomInfo>, Error> {
        self.0.room(room).await
    }

    async fn rooms(&self, after: Option<&RoomName>, max: usize) -> Result<Vec<RoomInfo>, Error> {
        self.0.rooms(after, max).await
    }

    async fn load_users(&self, after: Option<Uuid>, max: usize) -> Result<Vec<User>, Error> {
        self.0.load_users(after, max).await
    }

    async fn write_users(&self, writes: Vec<UserWrite>) -> Result<u64, WriteError> {
        self.0.write_users(writes).await
    }

    async fn create_session(&self, session: Session, password: &PasswordHash, keep: usize) -> Result<bool, Error> {
        self.0.create_session(session, password, keep).await
    }

    async fn rotate_session(
        &self,
        id: Uuid,
        from: SecretHash,
        to: SecretHash,
        expires_at: Time,
    ) -> Result<Rotated, Error> {
        self.0.rotate_session(id, from, to, expires_at).await
    }

    async fn revoke_session(&self, id: Uuid) -> Result<Option<Uuid>, Error> {
        self.0.revoke_session(id).await
    }

    async fn purge_sessions(&self, expired_before: Time) -> Result<usize, Error> {
        self.0.purge_sessions(expired_before).await
    }

    async fn stopped(&self) {
        self.0.stopped().await;
    }

    async fn seal(&self) {
        self.0.seal().await;
    }

    async fn close(&self) {
        self.0.close().await;
    }
}
