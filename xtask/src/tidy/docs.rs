//! Checks that each module says what it does: its documentation has a first sentence with a verb.

use super::source::Source;

/// Verbs of first sentences. A sentence with a verb that is missing here is a reason to add it.
const VERBS: &str = include_str!("verbs.txt");

/// Finds modules without documentation, and first sentences without a verb.
pub(crate) fn check(sources: &[Source]) -> Vec<String> {
    let verbs: Vec<&str> = VERBS.split_whitespace().collect();
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| source.production) {
        if source.text.starts_with("#![doc = include_str!") {
            // The README is its documentation.
            continue;
        }
        let Some(sentence) = first_sentence(&source.text) else {
            findings.push(format!("{}: no documentation of the module", source.name));
            continue;
        };
        let words: Vec<String> =
            sentence.split(|c: char| !c.is_ascii_alphabetic()).map(str::to_ascii_lowercase).collect();
        if !words.iter().any(|word| verbs.contains(&word.as_str())) {
            findings.push(format!("{}: no verb in \"{sentence}\"", source.name));
        }
    }
    findings
}

/// The first sentence of the documentation of the module in this text.
fn first_sentence(text: &str) -> Option<String> {
    let lines = text.lines().skip_while(|line| line.is_empty() || line.starts_with("// "));
    let doc: Vec<&str> = lines.map_while(|line| line.strip_prefix("//!")).map(str::trim).collect();
    let paragraph: Vec<&str> = doc.into_iter().take_while(|line| !line.is_empty()).collect();
    let paragraph = paragraph.join(" ");
    let end = paragraph.match_indices(". ").map(|(at, _)| at + 1).next().unwrap_or(paragraph.len());
    let sentence = paragraph.get(..end)?.trim();
    (!sentence.is_empty()).then(|| sentence.to_owned())
}

#[cfg(test)]
mod tests {
    use super::first_sentence;

    #[test]
    fn first_sentences_end_at_their_full_stop() {
        assert_eq!(
            first_sentence("//! Reads `a.b` files. More.\n//!\n//! x\n").unwrap(),
            "Reads `a.b` files."
        );
        assert_eq!(first_sentence("//! Two\n//! lines\nfn main() {}").unwrap(), "Two lines");
        assert_eq!(first_sentence("fn main() {}"), None);
    }
}
