//! Collects the problems of a pipeline file while it is checked.

use super::{
    error::{ConfigProblem, Error, SUGGESTED, suggestion},
    tree::{Node, Origin, RenamedKey, rename_keys},
};
use crate::text::shorten;
use serde::de::DeserializeOwned;
use std::collections::HashSet;

/// The problems found so far.
pub(super) struct Found<'a> {
    file: &'a str,
    problems: Vec<ConfigProblem>,
    /// The same problems without suggestions, for lookup.
    seen: HashSet<ConfigProblem>,
    suggested: usize,
}

impl<'a> Found<'a> {
    pub(super) fn new(file: &'a str) -> Found<'a> {
        Found { file, problems: Vec::new(), seen: HashSet::new(), suggested: 0 }
    }

    pub(super) fn add(&mut self, origin: &Origin, key: &str, message: impl Into<String>) {
        self.add_unknown(origin, key, message.into(), "", std::iter::empty());
    }

    /// Adds a problem with the unknown `word`, and suggests the most similar of the `known` words.
    pub(super) fn add_unknown<'k>(
        &mut self,
        origin: &Origin,
        key: &str,
        message: String,
        word: &str,
        known: impl Iterator<Item = &'k str>,
    ) {
        let mut problem = problem(self.file, origin, key, message);
        // The same problem occurs again in each merged tree.
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
    pub(super) fn rename_keys(&mut self, tree: &mut Node) {
        for (origin, RenamedKey { section, old, new }) in rename_keys(tree) {
            let message = format!("is the old name of `{new}`, which is given too: remove one of them");
            self.add(&origin, &format!("{section}.{old}"), message);
        }
    }

    pub(super) fn done(&mut self) -> Result<(), Error> {
        match std::mem::take(&mut self.problems) {
            problems if problems.is_empty() => Ok(()),
            problems => Err(Error::Invalid(problems)),
        }
    }

    pub(super) fn build<T: DeserializeOwned>(&mut self, tree: &Node) -> Result<T, Error> {
        self.done()?;
        // The tree conforms to the schema, so only restrictions that the schema cannot express can fail here.
        serde_json::from_value(tree.to_json())
            .map_err(|e| Error::Invalid(vec![problem(self.file, &tree.origin, "", e.to_string())]))
    }
}

pub(super) fn problem(file: &str, origin: &Origin, key: &str, message: String) -> ConfigProblem {
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
