//! Runs what CI runs.

use crate::{
    shell::{Failure, execute, output},
    tidy,
};
use std::path::Path;

/// Runs all checks in order of their cost and stops at the first that fails.
///
/// Checks that need a program which a machine may lack are skipped there with a line that says so; the workflow files
/// install these programs.
pub(crate) fn run(root: &Path) -> Result<(), Failure> {
    let cargo = |arguments: &[&str]| execute(root, "cargo", arguments, &[]);
    cargo(&["fmt", "--all", "--check"])?;
    tidy::run(root)?;
    cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"])?;
    let documentation = ["doc", "--workspace", "--no-deps", "--locked"];
    execute(root, "cargo", &documentation, &[("RUSTDOCFLAGS", "-D warnings")])?;
    // The README's test command; it also compares the generated files.
    cargo(&["test", "--workspace", "--locked"])?;
    fuzz_targets(root)?;
    if installed(root, "cargo-deny", "cargo", &["deny", "--version"]) {
        // Advisories need a database from the network: the scheduled workflow checks them.
        cargo(&["deny", "--offline", "check", "licenses", "bans", "sources"])?;
    }
    if installed(root, "typos-cli", "typos", &["--version"]) {
        execute(root, "typos", &[], &[])?;
    }
    oldest_compiler(root)
}

/// Whether a program is there; says so if it is not.
fn installed(root: &Path, package: &str, program: &str, arguments: &[&str]) -> bool {
    let found = output(root, program, arguments).is_some();
    if !found {
        println!("skipped: {package} is not installed (cargo install --locked {package})");
    }
    found
}

/// Checks that the fuzz targets compile. They are a workspace of their own and share the target folder.
fn fuzz_targets(root: &Path) -> Result<(), Failure> {
    let target = root.join("target/fuzz");
    let arguments = ["check", "--manifest-path", "fuzz/Cargo.toml", "--bins", "--locked"];
    execute(root, "cargo", &arguments, &[("CARGO_TARGET_DIR", &target.to_string_lossy())])
}

/// Checks the code of the feature `cuda` without a toolkit: the stub compiler makes empty kernels.
pub(crate) fn cuda(root: &Path) -> Result<(), Failure> {
    let stub = root.join("scripts/stub-nvcc");
    if !stub.exists() {
        println!("skipped: there is no scripts/stub-nvcc");
        return Ok(());
    }
    let target = root.join("target/cuda-check");
    let arguments = ["check", "--package", "dash-cli", "--features", "cuda", "--locked"];
    let environment = [
        ("NVCC", &*stub.to_string_lossy()),
        ("CUDA_COMPUTE_CAP", "80"),
        ("CUDARC_CUDA_VERSION", "13000"),
        ("CARGO_TARGET_DIR", &*target.to_string_lossy()),
    ];
    execute(root, "cargo", &arguments, &environment)
}

/// Compiles with the oldest supported compiler (`rust-version`) where rustup has it. The lint `incompatible_msrv`
/// finds newer functions of the standard library without it.
fn oldest_compiler(root: &Path) -> Result<(), Failure> {
    let manifest = std::fs::read_to_string(root.join("Cargo.toml")).map_err(|error| error.to_string())?;
    let version = manifest.lines().find_map(|line| line.strip_prefix("rust-version = "));
    let version = version.ok_or("Cargo.toml names no rust-version")?.trim_matches('"').to_owned();
    let toolchains = output(root, "rustup", &["toolchain", "list"]).unwrap_or_default();
    if !toolchains.lines().any(|line| line.starts_with(&version)) {
        println!("skipped: Rust {version} is not installed (rustup toolchain install {version})");
        return Ok(());
    }
    let target = root.join("target/oldest");
    let arguments = [&*format!("+{version}"), "check", "--workspace", "--locked"];
    execute(root, "cargo", &arguments, &[("CARGO_TARGET_DIR", &target.to_string_lossy())])
}
