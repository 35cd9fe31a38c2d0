//! Servers with nothing in them, to compare with.

pub mod fault;
pub mod tcp;
pub mod tonic;
