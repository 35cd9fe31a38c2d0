//! Generated from `proto/`: messages and clients. The servers' side is generated for [`crate::rpc`].

#![allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub, unused_qualifications, reason = "generated")]

/// Package `user`: the users, and the chat between them.
pub mod user {
    tonic::include_proto!("user");
}

/// Every definition, for reflection: a serialised `google.protobuf.FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
