//! The requests of a server.

use super::{
    registry::Registry,
    request::{RequestHandle, RequestState},
};

/// All requests of a server that have not ended. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Requests(Registry<RequestState>);

impl Requests {
    /// Registers a request, until the last clone of its handle is dropped.
    #[must_use]
    pub fn register(&self) -> RequestHandle {
        RequestHandle(self.0.register(RequestState::new))
    }

    /// Reports to all requests, also later ones, that the server is shutting down.
    pub fn drain(&self) {
        self.0.drain();
    }

    /// Aborts the tasks of all requests, also of later ones.
    pub fn abort(&self) {
        self.0.abort();
    }

    /// The running requests, in portions.
    pub(super) fn portions(&self) -> impl Iterator<Item = impl Iterator<Item = RequestHandle>> {
        self.0.by_shard().map(|shard| shard.into_iter().map(RequestHandle))
    }
}

impl Default for RequestHandle {
    /// A request of a server of its own, for tests and benchmarks.
    fn default() -> Self {
        Requests::default().register()
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;
    use crate::lifecycle::{EndReason, TaskGroup};

    #[test]
    fn what_was_answered_just_in_time_is_not_ended_for_its_pass_but_for_not_being_read() {
        let request = RequestHandle::default();
        request.end(EndReason::TokenExpired);
        assert_eq!(request.end_reason(), Some(EndReason::TokenExpired));
        request.mark_answered();
        assert_eq!(request.end_reason(), None);

        let unread = RequestHandle::default();
        unread.end(EndReason::SlowReader);
        unread.mark_answered();
        assert_eq!(unread.end_reason(), Some(EndReason::SlowReader));
    }

    #[test]
    fn the_first_reason_counts() {
        let request = RequestHandle::default();
        request.end(EndReason::DeadlineExceeded);
        request.end(EndReason::UserDeleted);
        assert_eq!(request.end_reason(), Some(EndReason::DeadlineExceeded));
    }

    #[tokio::test]
    async fn an_abort_reaches_requests_that_run_and_those_that_begin_later() {
        let (requests, tasks) = (Requests::default(), TaskGroup::default());
        let run = |request: RequestHandle| async move {
            request.bind_task();
            pending::<()>().await;
        };
        tasks.spawn(run(requests.register()));
        tokio::task::yield_now().await;
        requests.abort();
        tasks.spawn(run(requests.register()));
        tasks.close();
        tasks.wait().await;
    }
}
