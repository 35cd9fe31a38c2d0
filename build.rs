//! Generates the server traits from the definitions that `rialto-proto` compiled.

use std::{env, error::Error, fs};

use prost::Message;
use prost_types::FileDescriptorSet;

fn main() -> Result<(), Box<dyn Error>> {
    // Set by `proto/build.rs`, whose package has `links = "rialto-proto"`.
    let file = env::var("DEP_RIALTO_PROTO_DESCRIPTORS")?;
    println!("cargo::rerun-if-changed={file}");
    println!("cargo::rerun-if-changed=src/rpc/methods/own_bodies.rs");
    let descriptors = FileDescriptorSet::decode(fs::read(file)?.as_slice())?;
    tonic_prost_build::configure()
        .build_client(false)
        .extern_path(".user", "::rialto_proto::user")
        .extern_path(".rialto", "::rialto_proto::rialto")
        .codec_path("crate::rpc::codec::Codec")
        .compile_fds(without_own_bodies(descriptors))?;
    Ok(())
}

#[path = "src/rpc/methods/own_bodies.rs"]
mod own_bodies;

/// Removes the methods that `rpc/chat` serves with a response body of its own.
fn without_own_bodies(mut descriptors: FileDescriptorSet) -> FileDescriptorSet {
    for file in &mut descriptors.file {
        let package = file.package().to_owned();
        for service in &mut file.service {
            let prefix = format!("/{package}.{}/", service.name());
            service.method.retain(|method| !own_bodies::OWN_BODIES.contains(&&*(prefix.clone() + method.name())));
        }
    }
    descriptors
}
