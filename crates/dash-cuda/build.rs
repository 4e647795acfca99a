//! Compiles the kernels: to PTX for GPUs (`cuda`), and as C++ for the emulator (`emulator`).

#![allow(clippy::disallowed_methods, reason = "what is left half-written is built again")]

use std::{env, error::Error, fs, path::Path, process::Command};

/// The oldest GPUs that the kernels run on: Turing. The driver compiles PTX for what there is.
#[allow(dead_code, reason = "without the feature `cuda`")]
const ARCHITECTURE: &str = "compute_75";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=kernels");
    println!("cargo:rerun-if-env-changed=NVCC");
    let mut sources = Vec::new();
    for entry in fs::read_dir("kernels")? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "cu") {
            sources.push(path);
        }
    }
    sources.sort();
    #[cfg(feature = "emulator")]
    {
        let mut build = cc::Build::new();
        build.cpp(true).std("c++14").opt_level(2).warnings(true).extra_warnings(true);
        // As on GPUs, products and sums are only fused where the compiler of the GPU does so: here nowhere.
        // Jumps between stacks are what fibres are.
        build.flag("-U_FORTIFY_SOURCE");
        build.flag("-ffp-contract=off").flag("-Wno-unused-function").flag("-Wno-unused-variable");
        for source in &sources {
            // The compiler knows C++ by its ending.
            let name = source.file_stem().unwrap_or_default().to_string_lossy();
            let unit = Path::new(&env::var("OUT_DIR")?).join(format!("{name}.cpp"));
            fs::write(&unit, format!("#include \"{}\"\n", fs::canonicalize(source)?.display()))?;
            build.file(unit);
        }
        build.compile("dash_emulator");
    }
    if env::var_os("CARGO_FEATURE_CUDA").is_some() {
        let nvcc = env::var("NVCC").unwrap_or_else(|_| "nvcc".to_owned());
        for source in &sources {
            let name = source.file_stem().unwrap_or_default().to_string_lossy();
            let out = Path::new(&env::var("OUT_DIR")?).join(format!("{name}.ptx"));
            let mut command = Command::new(&nvcc);
            command.args(["-ptx", "-O3", "-arch", ARCHITECTURE, "-o"]).arg(&out).arg(source);
            let status = command
                .status()
                .map_err(|e| format!("cannot start {nvcc}: {e}; set NVCC, or see scripts/cuda-toolkit"))?;
            if !status.success() {
                return Err(format!("nvcc failed on {}", source.display()).into());
            }
        }
    }
    Ok(())
}
