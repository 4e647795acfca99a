//! Pipeline files: text in, checked values out.
//!
//! A file is read as a tree that remembers where each value was written. Profiles and overrides
//! are merged into it; the result is checked against the schema that is generated from
//! [`Pipeline`], then for meaning. All problems are reported at once, each with its place.
//!
//! ```
//! let text = r#"
//! name = "mine"
//! dataset = { recipe = "darcy-flow", simulate = { grid = 85 }, subsample = 4 }
//! task = { loss = { kind = "relative-l2" }, metric = { kind = "relative-l2" } }
//! [profiles.smoke]
//! search.epochs = 2
//! "#;
//! let sets = ["retrain.epochs=3".to_owned()];
//! let pipeline = dash_core::load::pipeline("mine.toml", text, Some("smoke"), &sets).unwrap();
//! assert_eq!((pipeline.search.epochs, pipeline.retrain.epochs), (2, 3));
//!
//! let sets = ["search.epoch=3".to_owned()];
//! let error = dash_core::load::pipeline("mine.toml", text, None, &sets).unwrap_err();
//! assert_eq!(error.to_string(), "--set search.epoch=3: search.epoch: unknown key; did you mean `epochs`?");
//! ```

mod schema;
mod tree;
mod validate;

pub use schema::{SCHEMA_FILE, schema};

use crate::{
    error::{Classify, ErrorKind},
    pipeline::{Pipeline, Sweep},
};
use serde::de::DeserializeOwned;
use std::{collections::HashSet, fmt};
use tree::{Node, Origin, RenamedKey};

/// What is wrong with a pipeline file, a profile or an override.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The text is not TOML.
    #[error("{file}:{line}: {message}")]
    Syntax {
        /// Name of the file.
        file: String,
        /// One-based line.
        line: usize,
        /// What the parser expected.
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
    /// Keys or values are wrong.
    #[error("{}", listed(.0))]
    Invalid(Vec<ConfigProblem>),
}

/// One wrong key or value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ConfigProblem {
    /// `FILE:LINE`, `FILE`, or the override it comes from.
    pub place: String,
    /// Full key path.
    pub key: String,
    /// What is wrong with it and, where it can be known, what would be right.
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

    /// Of several problems that of the first.
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
                Some("the file defines no profiles; leave --profile away".into())
            }
            Error::UnknownProfile { known, .. } => {
                let more = if known.len() > SUGGESTED { ", ..." } else { "" };
                let some: Vec<&str> = known.iter().take(SUGGESTED).map(String::as_str).collect();
                Some(format!("its profiles are {}{more}", some.join(", ")))
            }
            Error::Syntax { .. } => Some("see https://toml.io for the syntax".into()),
            Error::Override { .. } => None,
            Error::Invalid(_) => Some("`dash-nas schema` prints every key with its meaning".into()),
        }
    }
}

/// A file that `dash-nas run` accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// One task.
    Pipeline,
    /// A list of other files.
    Sweep,
}

/// Whether a text is a sweep (it has the key `include`) or a pipeline.
pub fn kind(file: &str, text: &str) -> Result<FileKind, Error> {
    let tree = tree::parse(file, text)?;
    Ok(if tree.get("include").is_some() { FileKind::Sweep } else { FileKind::Pipeline })
}

/// The effective configuration of a pipeline file: `profile` merged over it, then the overrides
/// `sets`, each `KEY=VALUE`. `file` is the name used in messages.
pub fn pipeline(file: &str, text: &str, profile: Option<&str>, sets: &[String]) -> Result<Pipeline, Error> {
    let mut base = tree::parse(file, text)?;
    let mut profiles = tree::take_profiles(&mut base)
        .map_err(|(origin, message)| Error::Invalid(vec![problem(file, &origin, "profiles", message)]))?;
    let schema = schema::pipeline_schema();
    let mut found = Found::new(file);
    found.rename_keys(&mut base);
    for (_, changes) in &mut profiles {
        found.rename_keys(changes);
    }

    // Mistakes in the file and in profiles that are not asked for are mistakes too. What may be
    // missing there is only known of the merged tree.
    schema::check(&base, &schema, schema::Keys::Some, &mut found);
    for (_, changes) in &profiles {
        schema::check_changes(changes, &base, &schema, &mut found);
    }

    let mut effective = base;
    if let Some(name) = profile {
        match profiles.iter().position(|(known, _)| known == name) {
            Some(i) => effective = effective.merged(profiles.swap_remove(i).1),
            None => {
                let known = profiles.into_iter().map(|(name, _)| name).collect();
                return Err(Error::UnknownProfile { file: file.to_owned(), name: name.to_owned(), known });
            }
        }
    }
    for text in sets {
        let mut change = tree::parse_override(text).ok_or_else(|| Error::Override { text: text.clone() })?;
        found.rename_keys(&mut change);
        effective = effective.merged(change);
    }
    schema::check(&effective, &schema, schema::Keys::All, &mut found);
    let mut pipeline: Pipeline = found.build(&effective)?;
    pipeline.profile = profile.map(str::to_owned);
    pipeline.overrides = sets.to_vec();
    validate::pipeline(&pipeline, &effective, &mut found);
    found.done()?;
    Ok(pipeline)
}

/// A sweep file: which pipelines, and what to vary.
pub fn sweep(file: &str, text: &str) -> Result<Sweep, Error> {
    let tree = tree::parse(file, text)?;
    let mut found = Found::new(file);
    schema::check(&tree, &schema::of::<Sweep>(), schema::Keys::All, &mut found);
    let sweep: Sweep = found.build(&tree)?;
    validate::sweep(&sweep, &tree, &mut found);
    found.done()?;
    Ok(sweep)
}

/// The effective configuration as TOML text.
pub fn to_toml(pipeline: &Pipeline) -> Result<String, Error> {
    toml::to_string(pipeline).map_err(|e| {
        let place = pipeline.name.clone();
        Error::Invalid(vec![ConfigProblem { place, key: String::new(), message: e.to_string() }])
    })
}

/// Problems that are told one by one; more are counted.
const TOLD: usize = 50;

/// Unknown words for which a known one is looked for: the comparison is slow, and nobody reads more.
const SUGGESTED: usize = 20;

/// A line per problem.
fn listed(problems: &[ConfigProblem]) -> String {
    let mut lines: Vec<String> = problems.iter().take(TOLD).map(ConfigProblem::to_string).collect();
    match problems.len().saturating_sub(TOLD) {
        0 => {}
        1 => lines.push("and one more problem".into()),
        more => lines.push(format!("and {more} more problems")),
    }
    lines.join("\n")
}

/// Problems found so far.
struct Found<'a> {
    file: &'a str,
    problems: Vec<ConfigProblem>,
    /// The same problems, for looking them up; without suggestions.
    seen: HashSet<ConfigProblem>,
    suggested: usize,
}

impl<'a> Found<'a> {
    fn new(file: &'a str) -> Found<'a> {
        Found { file, problems: Vec::new(), seen: HashSet::new(), suggested: 0 }
    }

    fn add(&mut self, origin: &Origin, key: &str, message: impl Into<String>) {
        self.add_unknown(origin, key, message.into(), "", std::iter::empty());
    }

    /// Adds a problem with `word`, for which one of `known` may have been meant.
    fn add_unknown<'k>(
        &mut self,
        origin: &Origin,
        key: &str,
        message: String,
        word: &str,
        known: impl Iterator<Item = &'k str>,
    ) {
        let mut problem = problem(self.file, origin, key, message);
        // The same place is seen again in each merged tree.
        if !self.seen.insert(problem.clone()) {
            return;
        }
        if self.suggested < SUGGESTED {
            let suggestion = suggestion(word, known);
            self.suggested += usize::from(!word.is_empty());
            problem.message += &suggestion;
        }
        self.problems.push(problem);
    }

    /// Gives the keys of a tree their present names.
    fn rename_keys(&mut self, tree: &mut Node) {
        for (origin, RenamedKey { section, old, new }) in tree::rename_keys(tree) {
            let message = format!("is the old name of `{new}`, which is given too: remove one of them");
            self.add(&origin, &format!("{section}.{old}"), message);
        }
    }

    fn done(&mut self) -> Result<(), Error> {
        match std::mem::take(&mut self.problems) {
            problems if problems.is_empty() => Ok(()),
            problems => Err(Error::Invalid(problems)),
        }
    }

    fn build<T: DeserializeOwned>(&mut self, tree: &Node) -> Result<T, Error> {
        self.done()?;
        // The schema was met, so only a restriction that a schema cannot state can fail here.
        serde_json::from_value(tree.to_json())
            .map_err(|e| Error::Invalid(vec![problem(self.file, &tree.origin, "", e.to_string())]))
    }
}

fn problem(file: &str, origin: &Origin, key: &str, message: String) -> ConfigProblem {
    let (place, key) = match origin {
        Origin::File { line: 0 } => (file.to_owned(), key.to_owned()),
        Origin::File { line } => (format!("{file}:{line}"), key.to_owned()),
        Origin::Profile { name, line } => {
            let prefix = format!("profiles.{name}");
            let key = if key.is_empty() { prefix } else { format!("{prefix}.{key}") };
            (format!("{file}:{line}"), key)
        }
        Origin::Set { text } => (format!("--set {}", shorten(text)), key.to_owned()),
    };
    ConfigProblem { place, key, message }
}

/// `; did you mean `x`?` for the nearest known word, if one is near.
fn suggestion<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> String {
    let length = word.chars().count();
    known
        .filter_map(|candidate| {
            let longest = word.len().max(candidate.len());
            let most = 1 + longest / 4;
            // The distance is at least this, and takes time with the product of the lengths.
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

/// Characters of a value that messages show.
const SHOWN: usize = 200;

/// A text for a message, cut if it is long.
fn shorten(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}... ({} bytes)", text.get(..end).unwrap_or_default(), text.len()),
    }
}

#[cfg(test)]
mod tests;
