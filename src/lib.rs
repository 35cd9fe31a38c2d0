//! Rialto: a gRPC chat hub. One binary, one data file, many rooms.
//!
//! The parts, in the order of the arrows: a part uses those below its line, never one above or beside it (`tests/house.rs` checks it).

pub mod cli;

pub mod server;

pub mod net;
pub mod rpc;

pub mod auth;
pub mod limit;

pub mod rooms;

pub mod hub;
pub mod users;

pub mod batch;
pub mod caller;
pub mod changes;
pub mod engine;
pub mod lifecycle;

pub use rialto_proto as proto;

pub mod types;

// Leaves, for anyone.
pub mod config;
pub mod metrics;
pub mod telemetry;
