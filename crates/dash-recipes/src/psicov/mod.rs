//! Distances between the residues of proteins (DeepCov and PSICOV, as PDNet prepares them): features of
//! the sequence and of its alignment -> map of distances.

mod files;
mod protein;

use crate::{DatasetRecipe, Error};
use dash_core::{
    card::{DatasetCard, ElementType, PairFeatures, Split, Target, TensorField},
    event::{Event, Listener},
    pipeline::{Protocol, Psicov},
};
use dash_data::{CardDetails, Ingest, PairRow, RowLayout, raw::describe_source};
use files::{TEST, TRAIN, Tree, distances_name, features_name, list_name};
use protein::{Protein, Widths};
use std::{collections::HashSet, path::PathBuf};

/// The pairs that the metric `mae8` counts: at least so far apart in the sequence and at most so far in space.
const SEPARATION: usize = 24;
const CONTACT: f32 = 8.0;

const LICENCE: &str = "structures of the Protein Data Bank: CC0; features and lists as prepared for PDNet \
                       (Adhikari 2020) and distributed with NAS-Bench-360";

impl DatasetRecipe for Psicov {
    fn sources(&self) -> Result<Vec<PathBuf>, Error> {
        let tree = Tree::open(&self.raw, self.tree.as_deref())?;
        paths(&tree, &tree.proteins(TRAIN)?, &tree.proteins(TEST)?)
    }

    fn ingest(&self, cx: &mut Ingest<'_>) -> Result<DatasetCard, Error> {
        let (protocol, listener) = (cx.protocol, cx.listener);
        let tree = Tree::open(&self.raw, self.tree.as_deref())?;
        let (train, test) = (tree.proteins(TRAIN)?, tree.proteins(TEST)?);
        let paths = paths(&tree, &train, &test)?;
        warn_of_shared(&train, &test, listener);
        let parts = splits(self, protocol, &tree, &train, &test)?;

        let tensor = |name: &str, channels| TensorField {
            column: name.to_owned(),
            // Rows and columns are those of the longest protein, which is not known yet.
            shape: vec![channels, 0, 0],
            element: ElementType::F32,
        };
        let layout = RowLayout::new(
            tensor("input", 0),
            Target::Field { tensor: tensor("target", 1) },
            vec!["protein"],
        );
        let mut writer = cx.writer(layout);
        let total = parts.iter().map(|(.., rows)| rows.len()).sum();
        let (mut done, mut longest, mut unknown) = (0, 0, 0);
        // The columns are described before the first row is written.
        let [(_, list, proteins, rows), ..] = &parts;
        let first = proteins.get(rows.start).map_or("", String::as_str);
        let widths = Protein::read(&tree, list, first, None)?.widths;
        let features = features(widths);
        let channels = features.channels();
        writer.store_pairs(features);
        for (split, list, proteins, rows) in parts {
            let mut contacts = 0;
            writer.split_pairs::<Error>(split, |push| {
                for row in rows {
                    let Some(id) = proteins.get(row) else { continue };
                    let protein = Protein::read(&tree, list, id, Some(widths))?;
                    longest = longest.max(protein.length);
                    unknown += protein.unknown;
                    contacts += usize::from(protein.has_contacts(SEPARATION, CONTACT));
                    push(PairRow {
                        length: protein.length,
                        positions: &protein.positions,
                        maps: &protein.maps,
                        target: &protein.distances,
                        ids: &[row as i64],
                        tuning: true,
                    })?;
                    done += 1;
                    listener.on(&Event::Progress { what: "proteins".to_owned(), done, total });
                }
                Ok(())
            })?;
            if contacts == 0 {
                let message = format!(
                    "no protein of the {} split has two residues that are {SEPARATION} or more apart in the \
                 sequence within {CONTACT} angstrom: mae8 has no value there",
                    split.name()
                );
                listener.on(&Event::Warning { message });
            }
        }
        writer.set_largest(vec![channels, longest, longest], vec![1, longest, longest]);
        let mut notes = vec![
            ("longest".to_owned(), longest.into()),
            ("unknown_numbers".to_owned(), unknown.into()),
            ("target_unit".to_owned(), "angstrom; 0 where nothing is known".into()),
        ];
        if protocol == Protocol::Paper {
            let leak = "the validation proteins are test proteins, as published: tuning sees them";
            notes.push(("leak".to_owned(), leak.into()));
        }
        let mut sources = vec![];
        for path in paths {
            sources.push(describe_source(&self.raw, &path)?);
        }
        Ok(writer.finish(CardDetails {
            sources,
            target_scaling: None,
            notes: notes.into_iter().collect(),
            licence: LICENCE,
        })?)
    }
}

fn paths(tree: &Tree, train: &[String], test: &[String]) -> Result<Vec<PathBuf>, Error> {
    let names = [(TRAIN, train), (TEST, test)].into_iter().flat_map(|(list, proteins)| {
        let files = proteins
            .iter()
            .flat_map(move |protein| [features_name(list, protein), distances_name(list, protein)]);
        std::iter::once(list_name(list)).chain(files)
    });
    let paths = tree.sources(names);
    match paths.iter().find(|path| !path.is_file()) {
        Some(path) => Err(Error::raw(path, "there is no such file".to_owned())),
        None => Ok(paths),
    }
}

/// The columns of a dataset.
fn features(widths: Widths) -> PairFeatures {
    PairFeatures {
        length: "length".to_owned(),
        positions: "positions".to_owned(),
        position_features: widths.positions(),
        maps: "maps".to_owned(),
        map_features: widths.maps(),
    }
}

/// Which proteins of which list a split takes.
type Part<'a> = (Split, &'static str, &'a [String], std::ops::Range<usize>);

/// Strict protocol: the first training proteins are held out, as the baselines of NAS-Bench-360 do. Paper
/// protocol: training takes all, and tuning is validated on the second half of the test proteins.
fn splits<'a>(
    config: &Psicov,
    protocol: Protocol,
    tree: &Tree,
    train: &'a [String],
    test: &'a [String],
) -> Result<[Part<'a>; 3], Error> {
    let tests = (Split::Test, TEST, test, 0..test.len());
    if protocol == Protocol::Paper {
        let half = test.len().div_ceil(2).min(test.len().saturating_sub(1));
        let validation = (Split::Validation, TEST, test, half..test.len());
        return Ok([(Split::Train, TRAIN, train, 0..train.len()), validation, tests]);
    }
    let share = (config.validation_fraction * train.len() as f64).round().max(1.0);
    let held_out = config.validation.min(share as usize);
    if held_out == 0 || held_out >= train.len() {
        return Err(Error::TooFewSamples {
            path: tree.locate(&list_name(TRAIN)),
            wanted: held_out.saturating_add(1),
            available: train.len(),
            keys: "`dataset.validation` or `dataset.validation_fraction` and at least one to train on",
        });
    }
    Ok([
        (Split::Train, TRAIN, train, held_out..train.len()),
        (Split::Validation, TRAIN, train, 0..held_out),
        tests,
    ])
}

/// Warns of proteins that are in both lists: training would see test samples.
fn warn_of_shared(train: &[String], test: &[String], listener: &dyn Listener) {
    let known: HashSet<&String> = train.iter().collect();
    let shared: Vec<&str> = test.iter().filter(|id| known.contains(id)).map(String::as_str).collect();
    if !shared.is_empty() {
        let shown = shared.iter().take(10).copied().collect::<Vec<_>>().join(", ");
        let message = format!("{} test proteins are in the training list too: {shown}", shared.len());
        listener.on(&Event::Warning { message });
    }
}

#[cfg(test)]
mod tests;
