//! Compiles `proto/` without `protoc` and keeps the descriptor set for reflection.

use prost::Message as _;
use std::{env, error::Error, fs, path::PathBuf};

const FILES: [&str; 10] = [
    // For reflection alone: tools show error details by it.
    "google/rpc/error_details.proto",
    "trellis/v1/cache.proto",
    "trellis/v1/common.proto",
    "trellis/v1/errors.proto",
    "trellis/v1/events.proto",
    "trellis/v1/jobs.proto",
    "trellis/v1/limits.proto",
    "trellis/v1/locks.proto",
    "trellis/v1/pipelines.proto",
    "trellis/v1/status.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".")
        .codec_path("crate::codec::StrictCodec")
        .extern_path(".google.rpc.Status", "::tonic_types::Status")
        .compile_fds(descriptors)?;
    Ok(())
}
