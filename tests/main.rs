//! Black-box tests: the real server on a free port, called over the wire. One file for each promise or topic.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that panics has failed"
)]
#![allow(clippy::print_stderr, reason = "figures belong into a test's output")]
#![allow(unreachable_pub, reason = "nobody uses a test")]

mod support;

mod attacks;
mod bad_input;
mod chat_service;
mod compression;
mod deadlines;
mod docs;
mod door;
mod durable;
mod half_close;
mod house;
mod kill;
mod limits;
mod logs;
mod operators;
mod ordered;
mod presence;
mod protocol;
mod retention;
mod rooms;
mod rooms_by_the_thousand;
mod rules;
mod slow_reader;
mod storm;
mod stream_ends;
mod tls;
mod tokens;
mod tooling;
mod users;
