//! Rate limits by caller, by address and by username.
//!
//! Every rate has a fixed number of counters, and a key is counted by the one that it hashes to. So the memory is bounded whatever clients
//! send, without evicting anything; keys that hash to the same counter share it. The hash keys are random per process, so a client cannot
//! choose a counter to share.

mod layer;
mod rate;
mod rates;

pub use layer::{Layer, by_address, by_caller};
pub use rate::{Limited, Period};
pub use rates::RateLimits;
