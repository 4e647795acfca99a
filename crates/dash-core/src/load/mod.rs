//! Loads pipeline files: text in, validated values out.
//!
//! A file is parsed into a tree that records the line of each value. Profiles and overrides are merged into it. The result
//! is checked against the schema that is generated from [`Pipeline`], and then validated. All problems are reported
//! together, each with its place.
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

mod error;
mod found;
mod schema;
mod tree;
mod validate;

pub use error::{ConfigProblem, Error};
pub use schema::{SCHEMA_FILE, schema};

use crate::pipeline::{Pipeline, Sweep};
use found::{Found, problem};

/// The kinds of files that `dash-nas run` accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// One task.
    Pipeline,
    /// Several pipeline files that are run together.
    Sweep,
}

/// The kind of a file: a sweep has the key `include`.
///
/// # Errors
/// [`Error::Syntax`].
pub fn kind(file: &str, text: &str) -> Result<FileKind, Error> {
    let tree = tree::parse(file, text)?;
    Ok(if tree.get("include").is_some() { FileKind::Sweep } else { FileKind::Pipeline })
}

/// The effective configuration of a pipeline file: `profile` is merged over it, then the overrides `sets`, each
/// `KEY=VALUE`. `file` is its name in messages.
///
/// # Errors
/// All problems of the file, its profiles and the overrides together.
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

    // Profiles that are not applied are checked too. Missing keys are only known once everything is merged.
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

/// The content of a sweep file.
///
/// # Errors
/// All problems of the file together.
pub fn sweep(file: &str, text: &str) -> Result<Sweep, Error> {
    let tree = tree::parse(file, text)?;
    let mut found = Found::new(file);
    schema::check(&tree, &schema::of::<Sweep>(), schema::Keys::All, &mut found);
    let sweep: Sweep = found.build(&tree)?;
    validate::sweep(&sweep, &tree, &mut found);
    found.done()?;
    Ok(sweep)
}

/// The effective configuration as TOML.
///
/// # Errors
/// If it cannot be serialised.
pub fn to_toml(pipeline: &Pipeline) -> Result<String, Error> {
    toml::to_string(pipeline).map_err(|e| {
        let place = pipeline.name.clone();
        Error::Invalid(vec![ConfigProblem { place, key: String::new(), message: e.to_string() }])
    })
}

#[cfg(test)]
mod tests;
