//! The clauses of [`Engine`]'s contract, each as a test that every implementation passes.
//!
//! An implementation brings a [`TestEngine`] and calls [`suite!`] in its own tests.

mod ends;
mod log;
mod pages;
mod retention;
mod rooms;
mod sessions;
mod signals;
mod users;

use std::{sync::Arc, time::Duration};

use tokio::sync::mpsc;
use uuid::Uuid;

use super::{Appended, Draft, Engine, Error, Fed, Feeds, Record, Retention, RoomName};
use crate::metrics::Metrics;
pub(crate) use {ends::*, log::*, pages::*, retention::*, rooms::*, sessions::*, signals::*, users::*};

/// Where an engine keeps its data, and how it is opened there.
pub(crate) trait TestEngine: Send + Sync {
    /// An empty one. Its engines take at most 8 rooms, and give pages of at most 4 KiB.
    fn new() -> Self;

    /// Opens the engine; the one before was closed or dropped. A user may make so many rooms; 0: any number.
    async fn open_with(&self, retention: Retention, rooms_per_user: usize) -> (Arc<dyn Engine>, Feeds);

    /// The same, with as many rooms a user as there may be.
    async fn open_keeping(&self, retention: Retention) -> (Arc<dyn Engine>, Feeds) {
        self.open_with(retention, 0).await
    }

    /// The same, with nothing that ever goes.
    async fn open(&self) -> (Arc<dyn Engine>, Feeds) {
        self.open_keeping(Retention::default()).await
    }

    /// What its engines count.
    fn metrics(&self) -> &Metrics;
}

/// Declares a test for each clause.
macro_rules! suite {
    ($place:ty) => {
        $crate::engine::conformance::suite!($place:
            seq_increases_from_one_in_the_order_of_appends,
            what_finds_no_place_at_once_comes_back_and_is_nowhere,
            records_come_out_of_the_feed_once_and_in_order,
            a_keyed_draft_is_appended_once,
            keys_are_apart_by_room_and_by_user,
            a_key_is_remembered_over_a_restart,
            position_is_at_least_what_was_acknowledged,
            position_and_epoch_outlive_a_restart,
            a_cursor_lies_before_the_last_records,
            rooms_are_listed_in_the_order_of_their_names,
            a_refused_room_is_nowhere,
            pages_are_cut_by_count_and_by_bytes,
            a_page_says_how_far_it_reaches,
            reading_on_from_where_a_page_reaches_yields_every_record_once,
            pages_backward_are_cut_by_count_and_by_bytes,
            reading_back_yields_every_record_once,
            signals_come_out_of_the_feed_and_are_in_no_log,
            a_full_feed_drops_signals_and_counts_them,
            the_last_messages_are_kept_and_the_head_stays,
            messages_go_when_they_are_too_old,
            a_room_with_limits_of_its_own_has_no_others,
            a_key_goes_with_its_message,
            floor_and_head_outlive_a_restart_when_every_message_is_gone,
            publishing_goes_on_while_a_backlog_is_removed,
            a_room_too_many_is_refused_and_the_others_go_on,
            the_rooms_of_a_user_are_limited_and_outlive_a_restart,
            rooms_of_users_are_counted_only_where_they_are_limited,
            appends_of_many_tasks_are_all_kept,
            after_seal_no_more_drafts_are_taken_and_users_go_on,
            after_close_everything_accepted_is_there_and_nothing_more_is_taken,
            users_are_stored_replaced_and_deleted,
            usernames_and_emails_are_unique,
            a_stale_revision_changes_nothing,
            many_users_are_created_all_or_none,
            users_come_out_of_the_feed_in_the_order_of_their_versions,
            users_load_in_pages_in_the_order_of_ids,
            a_session_goes_on_by_its_last_secret,
            a_secret_used_twice_ends_its_session,
            of_many_rotations_at_once_one_succeeds,
            a_session_that_cannot_be_is_refused_alone,
            of_too_many_sessions_of_a_user_the_oldest_end,
            an_expired_session_is_as_good_as_none,
            a_revoked_session_is_gone,
            what_has_expired_is_purged_and_counted,
            sessions_end_with_their_user,
            sessions_end_when_the_password_changes,
            sessions_outlive_a_restart,
            sessions_go_on_after_seal_and_fail_after_close,
        );
    };
    ($place:ty: $($clause:ident,)+) => {
        mod conforms {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $clause() {
                    $crate::engine::conformance::$clause(<$place as $crate::engine::conformance::TestEngine>::new()).await;
                }
            )+
        }
    };
}
pub(crate) use suite;

fn room(name: &str) -> RoomName {
    RoomName::new(name).unwrap()
}

fn draft(name: &str, text: &str) -> Draft {
    Draft { room: room(name), user_id: "ada".into(), id: Uuid::now_v7().to_string(), keyed: false, text: text.into() }
}

fn keyed(name: &str, user_id: &str, id: &str, text: &str) -> Draft {
    Draft { user_id: user_id.into(), id: id.into(), keyed: true, ..draft(name, text) }
}

async fn settle(engine: &dyn Engine, draft: Draft) -> Result<Appended, Error> {
    let receipt = engine.append(draft).await.map_err(|refused| refused.error)?;
    receipt.await.map_err(|refused| refused.error)
}

/// Appends a text, and gives its `seq`.
pub(crate) async fn append(engine: &dyn Engine, name: &str, text: &str) -> u64 {
    accepted(settle(engine, draft(name, text)).await)
}

fn accepted(outcome: Result<Appended, Error>) -> u64 {
    match outcome {
        Ok(Appended::Accepted { seq, .. }) => seq,
        other => panic!("not accepted: {other:?}"),
    }
}

fn first(outcome: Result<Appended, Error>) -> Record {
    match outcome {
        Ok(Appended::Duplicate(first)) => *first,
        other => panic!("no duplicate: {other:?}"),
    }
}

/// The next `n` records of the feed.
async fn take(feed: &mut mpsc::Receiver<Fed>, n: usize) -> Vec<Record> {
    let mut records = Vec::new();
    while records.len() < n {
        match feed.recv().await.unwrap() {
            Fed::Records(group) => records.extend(group),
            signal @ Fed::Signal { .. } => panic!("nobody signalled: {signal:?}"),
        }
    }
    assert_eq!(records.len(), n);
    records
}

/// Waits for what must come, and nobody tells of.
pub(crate) async fn until(come: impl AsyncFn() -> bool) {
    let wait = async {
        while !come().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await.expect("this should have happened long ago");
}

async fn read_all(engine: &dyn Engine, name: &str) -> Vec<Record> {
    let (mut records, mut after) = (Vec::new(), 0);
    loop {
        let page = engine.read(&room(name), after, 1000).await.unwrap();
        let Some(last) = page.records.last() else { return records };
        after = last.seq;
        records.extend(page.records);
    }
}
