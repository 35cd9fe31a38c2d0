//! The section `[rates]`.

use super::section::{Limit, MAX_COUNT, MAX_SECONDS, section};

const MAX_RATE: u64 = u32::MAX as u64;

section! {
    /// Rate limits. They apply in token mode only. In each of them 0 means no limit, and addresses of one IPv6 /64 network count as one.
    ///
    /// Behind a proxy all clients share the proxy's address: raise the limits per address, or set them to 0.
    pub struct Rates in "rates" {
        /// Calls per second of one caller.
        pub calls_per_second_per_caller: Limit = Limit(100), 0..=MAX_RATE;
        /// Calls per second from one address.
        pub calls_per_second_per_address: Limit = Limit(1_000), 0..=MAX_RATE;
        /// Messages per second of one caller, on all its streams and by `Publish`.
        pub messages_per_second_per_caller: Limit = Limit(100), 0..=MAX_RATE;
        /// Messages per second from one address.
        pub messages_per_second_per_address: Limit = Limit(1_000), 0..=MAX_RATE;
        /// Burst size of these four rates, in seconds of the sustained rate: a caller that was idle may make this many seconds' worth of calls
        /// at once.
        pub burst_seconds: u32 = 10, 1..=MAX_SECONDS;
        /// Login attempts per minute for one username, from all addresses together.
        pub logins_per_minute_per_user: Limit = Limit(60), 0..=MAX_RATE;
        /// Login attempts per minute for one username from one address. Keep it below `logins_per_minute_per_user`, so that one address
        /// cannot lock a user out.
        pub logins_per_minute_per_user_and_address: Limit = Limit(10), 0..=MAX_RATE;
        /// Login attempts per minute from one address.
        pub logins_per_minute_per_address: Limit = Limit(60), 0..=MAX_RATE;
        /// With `auth.open_registration`, users that may be registered per hour from one address; half of them may be registered at once.
        /// Admins are not limited.
        pub registrations_per_hour_per_address: Limit = Limit(10), 0..=MAX_RATE;
        /// Counters of each rate, 8 bytes each. Callers are spread over them by a hash, and two callers with the same counter share its
        /// rate: use at least 64 times as many counters as there are active callers.
        pub counters: usize = 65_536, 1..=MAX_COUNT;
    }
}
