//! Builds both variants of the program and packs them.

use crate::shell::{Failure, execute, output};
use std::{
    env::consts::{ARCH, OS},
    fs,
    path::{Path, PathBuf},
};

/// What every archive holds beside the program.
const FILES: [&str; 4] = ["README.md", "CHANGELOG.md", "LICENSE-MIT", "LICENSE-APACHE"];

/// Writes `target/release-files/dash-nas-VERSION-{cpu,cuda}-MACHINE.tar.gz` and `SHA256SUMS`.
///
/// The CUDA variant is built with the toolkit of `CUDA_HOME`, or with one that `scripts/cuda-toolkit` assembles from
/// wheels; it starts only where NVIDIA's driver and runtime libraries are (docs/cuda.md).
pub(crate) fn run(root: &Path) -> Result<(), Failure> {
    let folder = root.join("target/release-files");
    #[allow(clippy::disallowed_methods, reason = "build products")]
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    let version = env!("CARGO_PKG_VERSION");
    execute(root, "cargo", &["build", "--release", "--locked", "--workspace"], &[])?;
    let cpu =
        pack(root, &folder, &format!("dash-nas-{version}-cpu-{ARCH}-{OS}"), "target/release/dash-nas", &[])?;
    let build = "cargo build --release --locked --workspace --features cuda --target-dir target/cuda";
    let toolkit = "if [ -z \"${CUDA_HOME:-}\" ]; then scripts/cuda-toolkit target/cuda-toolkit; . target/cuda-toolkit/env; fi";
    execute(root, "sh", &["-ec", &format!("{toolkit}\n{build}")], &[])?;
    let name = format!("dash-nas-{version}-cuda-{ARCH}-{OS}");
    let cuda = pack(root, &folder, &name, "target/cuda/release/dash-nas", &["docs/cuda.md"])?;
    let sums = output(&folder, "sha256sum", &[&cpu, &cuda]).ok_or("sha256sum failed")?;
    #[allow(clippy::disallowed_methods, reason = "build products")]
    fs::write(folder.join("SHA256SUMS"), &sums).map_err(|error| format!("SHA256SUMS: {error}"))?;
    print!("{sums}");
    Ok(())
}

/// Packs the program and what belongs to it as `NAME.tar.gz`; returns that name.
fn pack(root: &Path, folder: &Path, name: &str, program: &str, more: &[&str]) -> Result<String, Failure> {
    let inside: PathBuf = folder.join(name);
    #[allow(clippy::disallowed_methods, reason = "build products")]
    fs::create_dir_all(&inside).map_err(|error| format!("{}: {error}", inside.display()))?;
    let target = inside.to_string_lossy().into_owned();
    let mut files = vec![program];
    files.extend(FILES);
    files.extend(more);
    files.extend(["pipelines", "schemas", target.as_str()]);
    execute(root, "cp", &[&["-r"], files.as_slice()].concat(), &[])?;
    let archive = format!("{name}.tar.gz");
    execute(folder, "tar", &["-czf", &archive, name], &[])?;
    execute(folder, "rm", &["-r", name], &[])?;
    Ok(archive)
}
