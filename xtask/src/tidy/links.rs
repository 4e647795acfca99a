//! Checks that relative links of Markdown documents lead to files of the repository.

use super::source::Text;
use std::path::Path;

/// Finds links whose files do not exist. Addresses on the web and anchors are not followed.
pub(crate) fn check(root: &Path, texts: &[Text]) -> Vec<String> {
    let mut findings = Vec::new();
    for text in texts.iter().filter(|text| text.name.ends_with(".md")) {
        let folder = root.join(&text.name).parent().map(Path::to_path_buf).unwrap_or_default();
        for target in targets(&text.text) {
            let file = target.split('#').next().unwrap_or_default();
            let elsewhere = file.is_empty() || file.contains("://") || file.starts_with("mailto:");
            if !elsewhere && !folder.join(file).exists() {
                findings.push(format!("{}: {target}", text.name));
            }
        }
    }
    findings
}

/// The targets of `[text](target)`.
fn targets(text: &str) -> Vec<&str> {
    let starts = text.match_indices("](").map(|(at, _)| at + 2);
    starts.filter_map(|at| text.get(at..)?.split(')').next()).filter(|target| !target.contains(' ')).collect()
}
