//! Compiles the kernels, and tells the build scripts of dependent crates whether the emulator is on.

use std::{env, error::Error};

fn main() -> Result<(), Box<dyn Error>> {
    let emulated = env::var_os("CARGO_FEATURE_EMULATOR").is_some();
    println!("cargo::metadata=emulator={}", u8::from(emulated));
    dash_cuda_build::compile("dash_cuda_emulator", emulated)
}
