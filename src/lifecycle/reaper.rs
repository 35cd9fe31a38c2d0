//! The scan for requests that must end.

use std::time::{Duration, Instant};

use super::{end_reason::EndReason, pass::Pass, request::RequestHandle, requests::Requests};
use crate::metrics::Metrics;

/// Interval between scans.
const INTERVAL: Duration = Duration::from_secs(1);

impl Requests {
    /// Scans the requests once a second, or once in `patience` if that is shorter. Never returns.
    ///
    /// Asks a request to end if `judge` gives a reason for its pass, if its deadline has passed, or if its client has not read for
    /// `patience`; each slow reader is counted in `metrics`. Aborts requests that were asked to end and have not.
    pub async fn watch(&self, patience: Duration, judge: impl Fn(&Pass) -> Option<EndReason>, metrics: &Metrics) {
        let mut scans = tokio::time::interval(INTERVAL.min(patience));
        loop {
            scans.tick().await;
            for portion in self.portions() {
                for request in portion {
                    ask_to_end(&request, patience, &judge, metrics);
                    if request.is_overdue(patience) {
                        request.abort();
                    }
                }
                tokio::task::yield_now().await;
            }
        }
    }
}

fn ask_to_end(
    request: &RequestHandle,
    patience: Duration,
    judge: impl Fn(&Pass) -> Option<EndReason>,
    metrics: &Metrics,
) {
    if request.end_reason().is_some() {
        return;
    }
    let Some(reason) = reason_to_end(request, patience, judge) else { return };
    if reason == EndReason::SlowReader {
        metrics.slow_readers.inc();
    }
    request.end(reason);
}

fn reason_to_end(
    request: &RequestHandle,
    patience: Duration,
    judge: impl Fn(&Pass) -> Option<EndReason>,
) -> Option<EndReason> {
    if let Some(reason) = request.pass().and_then(judge) {
        return Some(reason);
    }
    // A response that is polled ends itself at its deadline (`rpc/ending`).
    if request.is_past_deadline(Instant::now()) {
        return Some(EndReason::DeadlineExceeded);
    }
    request.is_unread(patience).then_some(EndReason::SlowReader)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(request: &RequestHandle, judge: impl Fn(&Pass) -> Option<EndReason>) -> Option<EndReason> {
        reason_to_end(request, Duration::ZERO, judge)
    }

    #[test]
    fn a_request_ends_for_its_pass_its_deadline_or_its_reader() {
        let request = RequestHandle::default();
        request.set_pass(Pass::new(None, false, 0));
        assert_eq!(reason(&request, |_| None), None);
        assert_eq!(reason(&request, |_| Some(EndReason::UserDeleted)), Some(EndReason::UserDeleted));
        request.body_yielded();
        assert_eq!(reason(&request, |_| None), Some(EndReason::SlowReader));
        request.set_deadline(Instant::now());
        assert_eq!(reason(&request, |_| None), Some(EndReason::DeadlineExceeded));
        request.mark_answered();
        assert_eq!(reason(&request, |_| Some(EndReason::UserDeleted)), Some(EndReason::SlowReader));
        request.body_polled();
        assert_eq!(reason(&request, |_| Some(EndReason::UserDeleted)), None);
    }
}
