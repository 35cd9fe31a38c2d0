//! The contract of an engine as tests: one test per clause, which every implementation passes.
//!
//! An implementation provides a [`TestEngine`] and calls [`suite!`] in its own tests, or [`log_suite!`] if only its log differs from
//! another engine's.

mod ends;
mod log;
mod pages;
mod retention;
mod rooms;
mod sessions;
mod signals;
mod support;
mod users;

pub(crate) use {
    ends::*,
    log::*,
    pages::*,
    retention::*,
    rooms::*,
    sessions::*,
    signals::*,
    support::{TestEngine, append, until},
    users::*,
};

/// Declares one test per clause of the whole contract.
macro_rules! suite {
    ($engine:ty) => {
        $crate::engine::conformance::log_suite!($engine);
        $crate::engine::conformance::clauses!(rest_of_the_contract, $engine:
            signals_come_out_of_the_feed_and_are_not_in_the_log,
            a_full_feed_drops_signals_and_counts_them,
            users_are_stored_replaced_and_deleted,
            usernames_and_emails_are_unique,
            a_stale_revision_changes_nothing,
            many_users_are_created_all_or_none,
            users_come_out_of_the_feed_in_the_order_of_their_versions,
            users_load_in_pages_in_the_order_of_ids,
            users_are_limited_and_a_call_beyond_the_limit_changes_nothing,
            a_session_continues_by_its_current_secret,
            a_secret_used_twice_ends_its_session,
            of_concurrent_rotations_one_succeeds,
            an_invalid_session_is_refused_without_affecting_others,
            beyond_the_limit_a_users_oldest_sessions_end,
            an_expired_session_behaves_as_if_it_did_not_exist,
            a_revoked_session_has_ended,
            expired_sessions_are_purged_and_counted,
            sessions_end_with_their_user,
            sessions_end_when_the_password_changes,
            sessions_survive_a_restart,
            sessions_continue_after_seal_and_fail_after_close,
        );
    };
}

/// Declares one test per clause of `Log`, and of sealing and closing.
macro_rules! log_suite {
    ($engine:ty) => {
        $crate::engine::conformance::clauses!(log_contract, $engine:
            seq_increases_from_one_in_the_order_of_appends,
            a_draft_that_does_not_fit_the_queue_is_returned_and_not_appended,
            records_come_out_of_the_feed_once_and_in_order,
            a_record_keeps_its_kind_target_and_body,
            a_keyed_draft_is_appended_once,
            keys_are_distinct_by_room_and_by_user,
            a_key_survives_a_restart,
            position_is_at_least_what_was_acknowledged,
            position_and_epoch_survive_a_restart,
            a_cursor_lies_before_the_last_records,
            rooms_are_listed_in_the_order_of_their_names,
            a_refused_room_does_not_exist,
            pages_are_cut_by_count_and_by_bytes,
            a_page_reports_how_far_it_reaches,
            reading_on_from_where_a_page_ends_yields_every_record_once,
            pages_backward_are_cut_by_count_and_by_bytes,
            reading_back_yields_every_record_once,
            a_page_reports_whether_it_reached_the_floor,
            the_last_messages_are_kept_and_the_head_stays,
            messages_are_removed_when_they_are_too_old,
            limits_of_a_room_replace_the_general_ones,
            a_key_is_removed_with_its_message,
            floor_and_head_survive_a_restart_when_every_message_is_removed,
            publishing_continues_while_a_backlog_is_removed,
            a_room_beyond_the_limit_is_refused_and_others_continue,
            rooms_per_creator_are_limited_also_after_a_restart,
            creators_are_stored_also_when_they_are_not_limited,
            concurrent_appends_are_all_kept,
            after_seal_drafts_are_refused_and_users_can_be_written,
            after_close_everything_accepted_is_stored_and_nothing_more_is_accepted,
        );
    };
}

/// Declares a module with one test per clause.
macro_rules! clauses {
    ($module:ident, $engine:ty: $($clause:ident,)+) => {
        mod $module {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $clause() {
                    $crate::engine::conformance::$clause(<$engine as $crate::engine::conformance::TestEngine>::new()).await;
                }
            )+
        }
    };
}
pub(crate) use {clauses, log_suite, suite};
