//! Writes the files of the repository that are generated from the code, and compares them.

use crate::shell::{Failure, output};
use std::{fs, path::Path};

/// Generated files, and the arguments of `dash-nas` that print them.
const FILES: &[(&str, &[&str])] =
    &[("schemas/pipeline.json", &["schema", "pipeline"]), ("schemas/output.json", &["schema", "output"])];

/// Writes all generated files.
pub(crate) fn write(root: &Path) -> Result<(), Failure> {
    for (file, arguments) in FILES {
        #[allow(
            clippy::disallowed_methods,
            reason = "a file of the repository: version control keeps the former"
        )]
        fs::write(root.join(file), generated(root, arguments)?)
            .map_err(|error| format!("{file}: {error}"))?;
        println!("{file}");
    }
    Ok(())
}

/// Fails if a file differs from what the code generates.
pub(crate) fn check(root: &Path) -> Result<(), Failure> {
    for (file, arguments) in FILES {
        let committed = fs::read_to_string(root.join(file)).map_err(|error| format!("{file}: {error}"))?;
        if committed != generated(root, arguments)? {
            return Err(format!(
                "{file} is not what the code generates: run `cargo xtask gen` and commit it"
            ));
        }
    }
    Ok(())
}

fn generated(root: &Path, arguments: &[&str]) -> Result<String, Failure> {
    let mut all = vec!["run", "--quiet", "--locked", "--package", "dash-cli", "--"];
    all.extend(arguments);
    output(root, "cargo", &all).ok_or_else(|| format!("`cargo {}` failed", all.join(" ")))
}
