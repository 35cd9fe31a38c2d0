//! Generates the server traits from the definitions that `rialto-proto` compiled.

use std::{env, error::Error, fs};

use prost::Message;
use prost_types::FileDescriptorSet;

fn main() -> Result<(), Box<dyn Error>> {
    // Set by `proto/build.rs`, whose package has `links = "rialto-proto"`.
    let file = env::var("DEP_RIALTO_PROTO_DESCRIPTORS")?;
    println!("cargo::rerun-if-changed={file}");
    let descriptors = FileDescriptorSet::decode(fs::read(file)?.as_slice())?;
    tonic_prost_build::configure()
        .build_client(false)
        .extern_path(".user", "::rialto_proto::user")
        .extern_path(".rialto", "::rialto_proto::rialto")
        .codec_path("crate::rpc::codec::Codec")
        .compile_fds(without_own_bodies(descriptors))?;
    Ok(())
}

/// Removes the methods whose response body is our own (`rpc/chat`).
fn without_own_bodies(mut descriptors: FileDescriptorSet) -> FileDescriptorSet {
    for service in descriptors.file.iter_mut().flat_map(|file| &mut file.service) {
        service.method.retain(|method| !matches!(method.name(), "Chat" | "Subscribe"));
    }
    descriptors
}
