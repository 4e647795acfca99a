//! Passes build facts to the binary: commit, uncommitted changes, compiler, target, profile.
//!
//! Only this crate does so, so that a commit rebuilds the binary and none of the libraries.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Files and folders of a crate that are compiled into the binary.
const SOURCES: [&str; 4] = ["src", "kernels", "build.rs", "Cargo.toml"];

fn main() {
    let package = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    println!("cargo::rerun-if-changed=build.rs");
    let commit = from_repository(&package).or_else(|| from_package(&package));
    let (hash, dirty) = commit.unwrap_or_default();
    let compiler = env::var_os("RUSTC").and_then(|rustc| output(Command::new(rustc).arg("--version")));
    for (name, value) in [
        ("COMMIT", hash.as_str()),
        ("DIRTY", if dirty { "true" } else { "" }),
        ("RUSTC", compiler.as_deref().unwrap_or_default()),
        ("TARGET", &env::var("TARGET").unwrap_or_default()),
        ("PROFILE", &env::var("PROFILE").unwrap_or_default()),
    ] {
        println!("cargo::rustc-env=DASH_NAS_{name}={value}");
    }
}

/// The commit that is checked out, and whether files that are compiled differ from it.
fn from_repository(package: &Path) -> Option<(String, bool)> {
    // An archive may be unpacked inside another repository, whose commit is not that of this source.
    git(package, &["ls-files", "--error-unmatch", "Cargo.toml"])?;
    let hash = git(package, &["rev-parse", "HEAD"])?;
    // Every move of HEAD is written to at least one of these. The index is not watched: looking at a
    // repository refreshes it, and the comparison below is with HEAD.
    let branch = git(package, &["symbolic-ref", "--quiet", "HEAD"]);
    for name in ["HEAD", "logs/HEAD", "packed-refs"].into_iter().chain(branch.as_deref()) {
        let path = git(package, &["rev-parse", "--git-path", name]);
        watch(path.map(|path| package.join(path)));
    }
    let mut sources = vec![];
    for one in ["Cargo.toml", "Cargo.lock"] {
        sources.push(package.join("../..").join(one));
    }
    let crates = fs::read_dir(package.join("..")).ok()?.flatten();
    for folder in crates {
        sources.extend(SOURCES.map(|one| folder.path().join(one)));
    }
    sources.retain(|path| path.exists());
    sources.sort();
    sources.iter().for_each(|path| watch(Some(path.clone())));
    let mut status = command(package, &["status", "--porcelain", "--"]);
    let dirty = output(status.args(sources)).is_some_and(|changes| !changes.is_empty());
    Some((hash, dirty))
}

/// The commit that `cargo package` recorded.
fn from_package(package: &Path) -> Option<(String, bool)> {
    let text = fs::read_to_string(package.join(".cargo_vcs_info.json")).ok()?;
    let (_, rest) = text.split_once("\"sha1\"")?;
    let hash = rest.split('"').nth(1).filter(|hash| hash.chars().all(|c| c.is_ascii_hexdigit()))?;
    let dirty = text.split_once("\"dirty\"").is_some_and(|(_, rest)| {
        rest.trim_start_matches(|c: char| c == ':' || c.is_whitespace()).starts_with("true")
    });
    Some((hash.to_owned(), dirty))
}

fn watch(path: Option<PathBuf>) {
    // Cargo takes a path that does not exist for one that has changed, every time.
    if let Some(path) = path.filter(|path| path.exists()) {
        println!("cargo::rerun-if-changed={}", path.display());
    }
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("git");
    // A build started by a hook of git has variables that point to the repository of the hook; and a build
    // must not write to a repository, as git does to refresh its index.
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
        command.env_remove(name);
    }
    command.env("GIT_OPTIONAL_LOCKS", "0").current_dir(folder).args(arguments);
    command
}

fn git(folder: &Path, arguments: &[&str]) -> Option<String> {
    output(&mut command(folder, arguments))
}

/// What a program prints, if it succeeds.
fn output(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
