//! Rialto: a gRPC chat hub. One binary, one data file, many rooms.
//!
//! `ARCHITECTURE.md` is the map of these modules. They are listed in the order of their dependencies: a module uses only those below its line
//! (`tests/house.rs` enforces it).

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

// Leaves, which any module may use.
pub mod config;
pub mod metrics;
pub mod telemetry;
