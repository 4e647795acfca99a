//! Reads the Rust files and the other texts of the repository.

use crate::shell::{Failure, output};
use std::{fs, path::Path};

/// A Rust source file of a library or of the program; tests in files of their own are left out of most checks.
pub(crate) struct Source {
    /// The path from the root of the repository, with `/`.
    pub(crate) name: String,
    /// The crate that it belongs to: the folder under `crates/`.
    pub(crate) package: String,
    /// The path of its module in the crate: `["ops", "loss"]`; empty for the root.
    pub(crate) module: Vec<String>,
    /// Whether it is part of the crate itself and not a test, an example or a benchmark.
    pub(crate) production: bool,
    /// The text.
    pub(crate) text: String,
    /// The text as items.
    pub(crate) parsed: syn::File,
}

/// Another text: documents, pipeline files, scripts, kernels.
pub(crate) struct Text {
    /// The path from the root of the repository, with `/`.
    pub(crate) name: String,
    /// The text.
    pub(crate) text: String,
}

/// Folders that hold data or what was built.
const OTHER_FOLDERS: [&str; 5] = [".git", "target", "runs", "data", "reports"];

/// Names of the files that version control knows; of all files in a tree without it, such as an unpacked archive.
fn names(root: &Path) -> Result<Vec<String>, Failure> {
    let listed = output(root, "git", &["ls-files", "--cached", "--others", "--exclude-standard"]);
    let mut names = match listed {
        Some(listed) => listed.lines().map(str::to_owned).collect(),
        None => walk(root, "")?,
    };
    names.retain(|name| root.join(name).is_file());
    Ok(names)
}

fn walk(root: &Path, folder: &str) -> Result<Vec<String>, Failure> {
    let failed = |error: std::io::Error| format!("{folder}: {error}");
    let mut names = Vec::new();
    for entry in fs::read_dir(root.join(folder)).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
        match entry.file_type().map_err(failed)?.is_dir() {
            true if OTHER_FOLDERS.contains(&name.as_str()) => {}
            true => names.extend(walk(root, &path)?),
            false => names.push(path),
        }
    }
    Ok(names)
}

/// Reads all Rust files.
pub(crate) fn read(root: &Path) -> Result<Vec<Source>, Failure> {
    let rust = names(root)?.into_iter().filter(|name| name.ends_with(".rs"));
    let mut sources = Vec::new();
    for name in rust {
        let text = fs::read_to_string(root.join(&name)).map_err(|error| format!("{name}: {error}"))?;
        let parsed = syn::parse_file(&text).map_err(|error| format!("{name}: {error}"))?;
        let parts: Vec<&str> = name.split('/').collect();
        let (package, inside) = match parts.as_slice() {
            ["crates", package, inside @ ..] => (*package, inside),
            [package, inside @ ..] => (*package, inside),
            [] => continue,
        };
        let module = match inside {
            ["src", path @ ..] => module(path),
            _ => Vec::new(),
        };
        let production = matches!(inside, ["src", ..]) && !module.iter().any(|part| part == "tests");
        sources.push(Source { package: package.to_owned(), module, production, parsed, text, name });
    }
    Ok(sources)
}

/// The module of a file under `src`.
fn module(path: &[&str]) -> Vec<String> {
    let mut module: Vec<String> = path.iter().map(|part| part.trim_end_matches(".rs").to_owned()).collect();
    if matches!(module.last().map(String::as_str), Some("mod" | "lib" | "main")) {
        module.pop();
    }
    module
}

/// Reads all other texts.
pub(crate) fn texts(root: &Path) -> Result<Vec<Text>, Failure> {
    const ENDINGS: [&str; 7] = [".md", ".toml", ".cu", ".h", ".cpp", ".py", ".yml"];
    let wanted = |name: &String| {
        ENDINGS.iter().any(|ending| name.ends_with(ending))
            || name.starts_with("scripts/")
            || name.starts_with(".ci/")
            || name.starts_with("schemas/")
    };
    let mut texts = Vec::new();
    for name in names(root)?.into_iter().filter(wanted) {
        let bytes = fs::read(root.join(&name)).map_err(|error| format!("{name}: {error}"))?;
        texts.push(Text { name, text: String::from_utf8_lossy(&bytes).into_owned() });
    }
    Ok(texts)
}

/// Whether an item is compiled for tests only.
pub(crate) fn for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && matches!(&attribute.meta, syn::Meta::List(list) if list.tokens.to_string().contains("test"))
    })
}
