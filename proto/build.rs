//! Compiles the definitions with protox, so that no `protoc` is needed.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message;

const DEFINITIONS: [&str; 3] = ["user.proto", "rialto/v1/auth.proto", "rialto/v1/chat.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    for definition in DEFINITIONS {
        println!("cargo::rerun-if-changed={definition}");
    }
    let descriptors = protox::compile(DEFINITIONS, ["."])?;

    // With comments: `rialto_proto::DESCRIPTORS`, and what dependents generate their servers from.
    let file = PathBuf::from(env::var("OUT_DIR")?).join("descriptors.bin");
    fs::write(&file, descriptors.encode_to_vec())?;
    println!("cargo::metadata=descriptors={}", file.display());

    tonic_prost_build::configure()
        .build_server(env::var_os("CARGO_FEATURE_SERVER").is_some())
        // These messages carry secrets: `redacted` prints them without.
        .skip_debug([
            ".user.CreateUserRequest",
            ".user.UpdateUserRequest",
            ".user.RefreshToken",
            ".rialto.v1.LoginRequest",
            ".rialto.v1.RefreshRequest",
            ".rialto.v1.LogoutRequest",
            ".rialto.v1.Tokens",
        ])
        .compile_fds(descriptors)?;
    Ok(())
}
