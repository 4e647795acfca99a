//! Compiles the CUDA kernels of a crate: to PTX for GPUs, and as C++ for the emulator of `dash-cuda`.
//!
//! For build scripts. Kernels are the files `kernels/*.cu` of the crate; they include `dash.h` of this one.
//!
//! ```no_run
//! // build.rs
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     dash_cuda_build::compile("my_kernels", dash_cuda_build::emulated())
//! }
//! ```

#![allow(clippy::print_stdout, reason = "build scripts instruct cargo on standard output")]

use std::{
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The oldest GPUs that kernels run on: Turing. The driver compiles the PTX for newer ones.
const ARCHITECTURE: &str = "compute_75";

/// Whether `dash-cuda`, of which the calling crate depends, is built with its emulator.
pub fn emulated() -> bool {
    env::var("DEP_DASH_CUDA_EMULATOR").is_ok_and(|value| value == "1")
}

/// Compiles the kernels of the calling crate: to PTX if the crate's feature `cuda` is on, by the program that `NVCC` names or
/// `nvcc`, and as the static library `library` for the emulator if `emulated`. The crate is compiled with the configuration
/// `emulated` then.
///
/// Each `kernels/name.cu` has a `name.ptx` in `OUT_DIR`, which is empty without the feature.
///
/// # Errors
/// If a file cannot be read or written, or a compiler fails.
pub fn compile(library: &str, emulated: bool) -> Result<(), Box<dyn Error>> {
    println!("cargo::rustc-check-cfg=cfg(emulated)");
    println!("cargo::rerun-if-changed=kernels");
    println!("cargo::rerun-if-env-changed=NVCC");
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("include");
    println!("cargo::rerun-if-changed={}", include.display());
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let sources = sources()?;
    if emulated {
        println!("cargo::rustc-cfg=emulated");
        emulate(library, &sources, &include, &out)?;
    }
    let nvcc =
        env::var_os("CARGO_FEATURE_CUDA").map(|_| env::var("NVCC").unwrap_or_else(|_| "nvcc".to_owned()));
    for source in &sources {
        let ptx = out.join(Path::new(source.file_stem().unwrap_or_default()).with_extension("ptx"));
        match &nvcc {
            Some(nvcc) => assemble(nvcc, source, &include, &ptx)?,
            None => write(&ptx, "")?,
        }
    }
    Ok(())
}

/// The kernel files of the calling crate, sorted.
fn sources() -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let paths = fs::read_dir("kernels")?.map(|entry| Ok(entry?.path()));
    let mut paths = paths.collect::<Result<Vec<_>, std::io::Error>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "cu"));
    paths.sort();
    Ok(paths)
}

fn emulate(library: &str, sources: &[PathBuf], include: &Path, out: &Path) -> Result<(), Box<dyn Error>> {
    let mut build = cc::Build::new();
    build.cpp(true).std("c++14").opt_level(2).warnings(true).extra_warnings(true).include(include);
    // The emulator jumps between the stacks of its fibres.
    build.flag("-U_FORTIFY_SOURCE");
    // As on GPUs, products and sums are fused only where the GPU's compiler does so, which is nowhere here.
    build.flag("-ffp-contract=off").flag("-Wno-unused-function").flag("-Wno-unused-variable");
    for source in sources {
        // The compiler knows C++ by the extension of its file.
        let unit = out.join(Path::new(source.file_stem().unwrap_or_default()).with_extension("cpp"));
        write(&unit, &format!("#include \"{}\"\n", fs::canonicalize(source)?.display()))?;
        build.file(unit);
    }
    build.try_compile(library)?;
    Ok(())
}

fn assemble(nvcc: &str, source: &Path, include: &Path, ptx: &Path) -> Result<(), Box<dyn Error>> {
    let mut command = Command::new(nvcc);
    command.args(["-ptx", "-O3", "-arch", ARCHITECTURE, "-I"]).arg(include).arg("-o").arg(ptx).arg(source);
    let status = command
        .status()
        .map_err(|e| format!("cannot start {nvcc}: {e}; set NVCC, or see scripts/cuda-toolkit"))?;
    if status.success() { Ok(()) } else { Err(format!("{nvcc} failed on {}", source.display()).into()) }
}

#[allow(clippy::disallowed_methods, reason = "an unfinished file is written again by the next build")]
fn write(path: &Path, text: &str) -> Result<(), std::io::Error> {
    fs::write(path, text)
}
