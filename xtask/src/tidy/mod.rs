//! Checks what compilers do not: words, names, the shape of crates, and the links of documents.

mod cycles;
mod docs;
mod links;
mod source;
mod types;
mod words;

use crate::shell::Failure;
use source::Source;
use std::path::Path;

/// Runs all checks, prints every finding, and fails if there is one.
pub(crate) fn run(root: &Path) -> Result<(), Failure> {
    let sources = source::read(root)?;
    let texts = source::texts(root)?;
    let checks: [(&str, Vec<String>); 6] = [
        ("retired words", words::check(&sources, &texts)),
        ("public type names in two crates", types::check(&sources)),
        ("import cycles", cycles::check(&sources)),
        ("module docs", docs::check(&sources)),
        ("file sizes", sizes(&sources)),
        ("links", links::check(root, &texts)),
    ];
    for (name, findings) in &checks {
        println!("tidy: {name}: {}", findings.len());
        findings.iter().for_each(|finding| println!("  {finding}"));
    }
    let count: usize = checks.iter().map(|(_, findings)| findings.len()).sum();
    println!("tidy: {} source files, {} texts", sources.len(), texts.len());
    if count == 0 { Ok(()) } else { Err(format!("tidy found {count} faults")) }
}

/// Files longer than this need a reason in their first lines.
const MOST_LINES: usize = 500;

/// Finds long files whose head does not mention the limit and so gives no reason.
fn sizes(sources: &[Source]) -> Vec<String> {
    let long = sources.iter().filter(|source| {
        let head = source.text.lines().take(20);
        source.text.lines().count() > MOST_LINES && !head.into_iter().any(|line| line.contains("500 lines"))
    });
    long.map(|source| {
        format!("{}: {} lines and no reason at its head", source.name, source.text.lines().count())
    })
    .collect()
}

#[cfg(test)]
mod tests {
    /// The same check as a test, so that `cargo test` finds what CI finds.
    #[test]
    fn the_tree_is_tidy() {
        super::run(&crate::root()).unwrap();
    }
}
