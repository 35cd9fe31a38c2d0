//! The deadline that a client gives with a call.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use http::HeaderMap;
use tokio::time::{Sleep, sleep};

/// When a call must have ended. The default never passes.
#[derive(Debug, Default)]
pub(super) struct Deadline(Option<Pin<Box<Sleep>>>);

impl Deadline {
    /// The deadline of the metadata `grpc-timeout`, counted from now. One that cannot be parsed is ignored.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        Self(timeout(headers).map(|timeout| Box::pin(sleep(timeout))))
    }

    /// `None` if there is no deadline.
    pub(super) fn instant(&self) -> Option<Instant> {
        self.0.as_ref().map(|sleep| sleep.deadline().into_std())
    }

    /// Ready once the deadline has passed, then pending.
    pub(super) fn poll_passed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(sleep) = &mut self.0 else { return Poll::Pending };
        let passed = sleep.as_mut().poll(cx);
        if passed.is_ready() {
            self.0 = None;
        }
        passed
    }
}

/// At most eight digits and a unit (gRPC's PROTOCOL-HTTP2, Timeout).
fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get("grpc-timeout")?.to_str().ok()?;
    let (number, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
    let number = Some(number).filter(|digits| digits.len() <= 8)?.parse::<u64>().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 60 * 60),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_in_every_unit_and_garbage_is_ignored() {
        let read = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", value.parse().unwrap());
            timeout(&headers)
        };
        assert_eq!(read("2H"), Some(Duration::from_secs(7200)));
        assert_eq!(read("3M"), Some(Duration::from_secs(180)));
        assert_eq!(read("100m"), Some(Duration::from_millis(100)));
        assert_eq!(read("99999999S"), Some(Duration::from_secs(99_999_999)));
        for garbage in ["", "S", "5", "-1S", "1.5S", "999999999S", "1x", "1 S"] {
            assert_eq!(read(garbage), None, "{garbage:?}");
        }
    }
}
