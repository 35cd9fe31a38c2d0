//! Minimal servers, as baselines.

pub mod fault;
pub mod tcp;
pub mod tonic;
