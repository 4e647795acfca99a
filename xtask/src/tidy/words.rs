//! Rejects words that the project does not use any more (`docs/glossary.md`).

use super::source::{Source, Text};

/// A retired word or phrase, where it is retired, and what to say instead.
struct Retired {
    phrase: &'static str,
    /// Prefixes of file names where it is looked for; everywhere if empty.
    within: &'static [&'static str],
    instead: &'static str,
}

const GPU: &[&str] =
    &["crates/dash-cuda/", "crates/dash-conv/", "crates/dash-nn/", "docs/cuda.md", ".ci/cuda"];

const fn retired(phrase: &'static str, instead: &'static str) -> Retired {
    Retired { phrase, within: &[], instead }
}

const RETIRED: &[Retired] = &[
    Retired { phrase: "card", within: GPU, instead: "GPU, or dataset card" },
    Retired { phrase: "cards", within: GPU, instead: "GPUs" },
    Retired { phrase: "waves", within: GPU, instead: "twiddle factors" },
    Retired { phrase: "bundle", within: &["crates/dash-conv/"], instead: "plane batch" },
    retired("nvidia card", "NVIDIA GPU"),
    retired("nvidia cards", "NVIDIA GPUs"),
    retired("on a card", "on a GPU"),
    retired("on cards", "on GPUs"),
    retired("the processor", "the CPU"),
    retired("processor time", "CPU time"),
    retired("twin", "emulator, or test double"),
    retired("twins", "emulator, or test doubles"),
    retired("page-locked", "pinned"),
    retired("gone on with", "resumed"),
    retired("goes on from", "resumes from"),
    retired("go on from", "resume from"),
    retired("going on from", "resuming from"),
    retired("goes on with", "continues with"),
    retired("nobody waits", "asynchronous"),
    retired("what is there", "say what it is"),
    retired("takes forever", "is unsupported"),
    retired("samples of differing size", "variable-length samples"),
    retired("the publication", "the DASH paper"),
    retired("the publication's", "the DASH paper's"),
    retired("by the clock", "by measurement"),
    retired("receptive-field pull", "receptive-field penalty"),
    retired("treated gradient", "regularised architecture gradient"),
    retired("exchangeable convolution", "searchable convolution"),
    retired("does not suit", "does not fit, or is not supported for"),
    retired("gave way to", "were superseded by"),
];

/// Files that name retired words because they are about them, and results that are kept as they were written.
const EXEMPT: [&str; 5] =
    ["docs/glossary.md", "xtask/src/tidy/", "tests/compat/", "reports/example/", "CHANGELOG.md"];

/// Finds retired words in comments, strings and texts.
pub(crate) fn check(sources: &[Source], texts: &[Text]) -> Vec<String> {
    let mut findings = Vec::new();
    let rust = sources.iter().map(|source| (&source.name, &source.text, true));
    let other = texts.iter().map(|text| (&text.name, &text.text, false));
    for (name, text, code) in rust.chain(other) {
        if EXEMPT.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            let prose = if code { prose(line) } else { line.to_owned() };
            if let Some(found) = is_no(&prose) {
                findings.push(format!("{name}:{}: `{found}`: say \"is not a ...\"", number + 1));
            }
            let prose = prose.to_lowercase();
            for word in RETIRED.iter().filter(|word| applies(word, name) && has(&prose, word.phrase)) {
                findings.push(format!("{name}:{}: `{}`: say {}", number + 1, word.phrase, word.instead));
            }
        }
    }
    findings
}

fn applies(word: &Retired, name: &str) -> bool {
    word.within.is_empty() || word.within.iter().any(|prefix| name.starts_with(prefix))
}

/// The comment and the string literals of a line of Rust, each followed by a full stop.
fn prose(line: &str) -> String {
    let (mut out, mut quoted, mut characters) = (String::new(), false, line.chars().peekable());
    while let Some(character) = characters.next() {
        match character {
            '\\' if quoted => {
                characters.next();
            }
            '"' => {
                quoted = !quoted;
                out.push_str(". ");
            }
            '/' if !quoted && characters.peek() == Some(&'/') => {
                out.extend(characters);
                return out;
            }
            _ if quoted => out.push(character),
            _ => {}
        }
    }
    out
}

/// Whether a text has this phrase between word boundaries.
fn has(text: &str, phrase: &str) -> bool {
    let letter = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '-');
    text.match_indices(phrase).any(|(at, _)| {
        !letter(text[..at].chars().next_back()) && !letter(text[at + phrase.len()..].chars().next())
    })
}

/// "is no" in the place of "is not a", and "is none" in that of "is not one": not after "there", nor before "longer".
fn is_no(text: &str) -> Option<String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    (1..words.len()).find_map(|at| {
        let before = if at > 1 { words[at - 2].to_lowercase() } else { String::new() };
        let after = words.get(at + 1).copied().unwrap_or_default();
        let negated = match words[at].trim_end_matches(['.', ',', ';', ':', ')']) {
            "no" => !after.is_empty() && !matches!(after, "longer" | "more" | "less" | "other" | "matter"),
            "none" => true,
            _ => false,
        };
        let found = matches!(words[at - 1], "is" | "are") && negated && !before.ends_with("there");
        found.then(|| words[at - 1..words.len().min(at + 2)].join(" "))
    })
}

#[cfg(test)]
mod tests {
    use super::{has, is_no, prose};

    #[test]
    fn only_comments_and_strings_are_prose() {
        assert_eq!(prose("let twin = \"a // b\"; // c").trim(), ". a // b. / c");
        assert!(!prose("let twin = 1;").contains("twin"));
    }

    #[test]
    fn phrases_are_whole_words() {
        assert!(has("a twin, it", "twin"));
        assert!(!has("twins between", "twin"));
        assert!(!has("a-twin", "twin"));
    }

    #[test]
    fn is_no_is_told_from_there_is_no() {
        assert_eq!(is_no("it is no folder").unwrap(), "is no folder");
        assert_eq!(is_no("which is none.").unwrap(), "is none.");
        assert_eq!(is_no("there is no folder, there is none, and it is no longer here"), None);
    }
}
