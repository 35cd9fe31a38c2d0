//! Points in time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A moment, in nanoseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub i64);

impl Time {
    const NANOS: i64 = 1_000_000_000;

    /// The time of the system's clock, which may step back.
    #[must_use]
    pub fn now() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since_epoch.as_nanos()).unwrap_or(i64::MAX))
    }

    /// How long ago that was; nothing, if it is yet to come.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or_default())
    }

    /// So much later.
    #[must_use]
    pub fn plus(self, time: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)))
    }

    /// Whole seconds.
    #[must_use]
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(Self::NANOS)
    }

    /// Nanoseconds within the second.
    #[must_use]
    pub fn subsec_nanos(self) -> i32 {
        i32::try_from(self.0.rem_euclid(Self::NANOS)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_before_the_epoch_splits_into_seconds_and_positive_nanoseconds() {
        let time = Time(-1);
        assert_eq!((time.seconds(), time.subsec_nanos()), (-1, 999_999_999));
    }
}
