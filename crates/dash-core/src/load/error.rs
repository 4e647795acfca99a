//! Describes the errors of loading pipeline files.

use crate::{
    error::{Classify, ErrorKind},
    text::{SHOWN, shorten},
};
use std::fmt;

/// An error in a pipeline file, a profile or an override.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The text is not TOML.
    #[error("{file}:{line}: {message}")]
    Syntax {
        /// Name of the file.
        file: String,
        /// One-based line.
        line: usize,
        /// The message of the parser.
        message: String,
    },
    /// The file has no such profile.
    #[error("{file}: there is no profile `{name}`{}", suggestion(name, known.iter().map(String::as_str)))]
    UnknownProfile {
        /// Name of the file.
        file: String,
        /// The profile asked for.
        name: String,
        /// The profiles of the file.
        known: Vec<String>,
    },
    /// An override is not `KEY=VALUE` with a dotted key.
    #[error("--set {}: expected KEY=VALUE with a dotted key such as search.epochs=5", shorten(text))]
    Override {
        /// The override as given.
        text: String,
    },
    /// Keys or values are invalid.
    #[error("{}", listed(.0))]
    Invalid(Vec<ConfigProblem>),
}

/// One invalid key or value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ConfigProblem {
    /// `FILE:LINE`, `FILE`, or the override that contains it.
    pub place: String,
    /// Full key path.
    pub key: String,
    /// What is wrong and, if known, what is expected.
    pub message: String,
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key.as_str() {
            "" => write!(f, "{}: {}", self.place, self.message),
            key => write!(f, "{}: {key}: {}", self.place, self.message),
        }
    }
}

impl Classify for Error {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Configuration
    }

    /// The place of the first problem.
    fn place(&self) -> Option<String> {
        match self {
            Error::Syntax { file, line, .. } => Some(format!("{file}:{line}")),
            Error::UnknownProfile { file, .. } => Some(file.clone()),
            Error::Override { text } => Some(format!("--set {}", shorten(text))),
            Error::Invalid(problems) => problems.first().map(|problem| problem.place.clone()),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::UnknownProfile { known, .. } if known.is_empty() => {
                Some("the file defines no profiles; omit --profile".into())
            }
            Error::UnknownProfile { known, .. } => {
                let more = if known.len() > SUGGESTED { ", ..." } else { "" };
                let some: Vec<&str> = known.iter().take(SUGGESTED).map(String::as_str).collect();
                Some(format!("its profiles are {}{more}", some.join(", ")))
            }
            Error::Syntax { .. } => Some("see https://toml.io for the syntax".into()),
            Error::Override { .. } => None,
            Error::Invalid(_) => Some("`dash-nas schema` prints all keys with their descriptions".into()),
        }
    }
}

/// Up to this number, problems are listed; further ones are counted.
pub(super) const LISTED: usize = 50;

/// Number of unknown words for which a similar known word is searched. The search is slow, and a longer list does not help.
pub(super) const SUGGESTED: usize = 20;

/// A line per problem.
fn listed(problems: &[ConfigProblem]) -> String {
    let mut lines: Vec<String> = problems.iter().take(LISTED).map(ConfigProblem::to_string).collect();
    match problems.len().saturating_sub(LISTED) {
        0 => {}
        1 => lines.push("and one more problem".into()),
        more => lines.push(format!("and {more} more problems")),
    }
    lines.join("\n")
}

/// `; did you mean `x`?` for the most similar known word, if one is similar.
pub(super) fn suggestion<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> String {
    let length = word.chars().count();
    known
        .filter_map(|candidate| {
            let longest = word.len().max(candidate.len());
            let most = 1 + longest / 4;
            // The difference in length bounds the distance, whose computation takes time with the product of the lengths.
            if length.abs_diff(candidate.chars().count()) > most || longest > SHOWN {
                return None;
            }
            let distance = strsim::damerau_levenshtein(word, candidate);
            (distance <= most).then_some((distance, candidate))
        })
        .min()
        .map(|(_, candidate)| format!("; did you mean `{candidate}`?"))
        .unwrap_or_default()
}
