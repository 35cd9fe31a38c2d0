//! Generated from `proto/` of the repository.

#![allow(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    unreachable_pub,
    unused_qualifications,
    dead_code,
    reason = "generated"
)]

pub mod user {
    tonic::include_proto!("user");
}

pub mod rialto {
    pub mod v1 {
        tonic::include_proto!("rialto.v1");
    }
}
