//! Compiles `proto/` with protox, so that no `protoc` is needed.

use std::{env, error::Error, fs, path::PathBuf};

use prost_types::FileDescriptorSet;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let descriptors = protox::compile(["user.proto", "rialto/v1/auth.proto", "rialto/v1/chat.proto"], ["proto"])?;

    // For reflection: everything, comments too.
    fs::write(out.join("descriptors.bin"), prost_encode(&descriptors))?;

    // Messages and clients, for `proto`.
    tonic_prost_build::configure()
        .build_server(false)
        // They hold secrets: `proto` prints them without.
        .skip_debug([
            ".user.CreateUserRequest",
            ".user.UpdateUserRequest",
            ".user.RefreshToken",
            ".rialto.v1.LoginRequest",
            ".rialto.v1.RefreshRequest",
            ".rialto.v1.LogoutRequest",
            ".rialto.v1.Tokens",
        ])
        .compile_fds(descriptors.clone())?;

    // Servers, for `rpc`: on our codec, and without the methods whose response body is our own (`rpc/chat`).
    let servers = out.join("servers");
    fs::create_dir_all(&servers)?;
    tonic_prost_build::configure()
        .build_client(false)
        .out_dir(servers)
        .extern_path(".user", "crate::proto::user")
        .extern_path(".rialto", "crate::proto::rialto")
        .codec_path("crate::rpc::codec::Codec")
        .compile_fds(without_own_bodies(descriptors))?;
    Ok(())
}

fn without_own_bodies(mut descriptors: FileDescriptorSet) -> FileDescriptorSet {
    for service in descriptors.file.iter_mut().flat_map(|file| &mut file.service) {
        service.method.retain(|method| !matches!(method.name(), "Chat" | "Subscribe"));
    }
    descriptors
}

fn prost_encode(descriptors: &FileDescriptorSet) -> Vec<u8> {
    use prost::Message;
    descriptors.encode_to_vec()
}
