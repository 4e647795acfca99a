//! Projects spherical images on this machine from the flat ones of CIFAR-100.

use super::projection::{Projector, Rotation, rotations};
use crate::{
    Error,
    shared::{
        cifar_edition::{CHANNELS, EditionFiles, EditionSource, HUNDRED},
        classification::{End, Labels, Part, Samples, check_finite, held_out, layout, write_splits},
    },
};
use dash_core::{
    card::DatasetCard,
    pipeline::{Projection, Spherical},
};
use dash_data::{CardDetails, Ingest, raw::describe_source};
use dash_formats::pickle::PickleArray;
use rayon::prelude::*;
use std::path::{Path, PathBuf};

pub(super) const LICENCE: &str =
    "no licence is stated (cite Krizhevsky 2009 for the images, Cohen et al. 2018 for the projection)";

pub(super) fn sources(config: &Spherical, project: &Projection) -> Result<Vec<PathBuf>, Error> {
    Ok(source(config, project)?.paths(&HUNDRED))
}

fn source(config: &Spherical, project: &Projection) -> Result<EditionSource, Error> {
    HUNDRED.source(&config.raw, &project.archive, "dataset.project.archive")
}

/// Whether the raw folder holds CIFAR-100.
pub(super) fn is_possible(config: &Spherical) -> bool {
    sources(config, &Projection::default()).is_ok()
}

pub(super) fn ingest(
    config: &Spherical,
    project: &Projection,
    cx: &mut Ingest<'_>,
) -> Result<DatasetCard, Error> {
    let source = source(config, project)?;
    let EditionFiles { first: train, test, meta, .. } = HUNDRED.open(&source)?;
    let names = HUNDRED.names(&meta)?;
    let (train_array, train_side, train_labels) = HUNDRED.images(&train, &names)?;
    let (test_array, test_side, test_labels) = HUNDRED.images(&test, &names)?;
    // One sequence of rotations for both files, in their order: the projection of an image depends on
    // its number only.
    let [train_chunks, test_chunks] =
        [train_array, test_array].map(|array| array.rows().div_ceil(project.images_per_rotation));
    let rotations = rotations(project.seed, train_chunks + test_chunks);
    let (train_rotations, test_rotations) = rotations.split_at(train_chunks);
    let images = |path, array, side, rotations| Images { path, array, side, rotations, project, last: None };
    let mut train_images = images(train.path.as_path(), train_array, train_side, train_rotations);
    let mut test_images = images(test.path.as_path(), test_array, test_side, test_rotations);
    let marks =
        held_out(train_labels.values.len(), config.validation_fraction, config.split_seed, End::Last)?;
    let size = 2 * project.bandwidth;
    let mut writer = cx.writer(layout(vec![CHANNELS, size, size], &names, vec!["sample"]));
    let part = |samples, labels: &Labels, held_out| Part {
        samples,
        classes: labels.values.iter().map(|&label| usize::try_from(label).unwrap_or(usize::MAX)).collect(),
        held_out,
    };
    write_splits(
        &mut writer,
        part(&mut train_images, &train_labels, Some(marks)),
        part(&mut test_images, &test_labels, None),
    )?;
    Ok(writer.finish(CardDetails {
        sources: source
            .paths(&HUNDRED)
            .iter()
            .map(|path| describe_source(&config.raw, path))
            .collect::<Result<_, _>>()?,
        target_scaling: None,
        notes: [
            ("split_seed".to_owned(), config.split_seed.into()),
            ("validation_fraction".to_owned(), config.validation_fraction.into()),
            ("scaling".to_owned(), "none: pixels from 0 to 255, as in the reference".into()),
            ("projection".to_owned(), serde_json::json!(project)),
        ]
        .into(),
        licence: LICENCE,
    })?)
}

/// Images of a file, projected block by block.
struct Images<'a> {
    path: &'a Path,
    array: &'a PickleArray,
    side: usize,
    /// Per chunk of images.
    rotations: &'a [Rotation],
    project: &'a Projection,
    /// The chunk that was read last, and its projector.
    last: Option<(usize, Projector)>,
}

impl Samples for Images<'_> {
    fn inputs(&mut self, first: usize, count: usize) -> Result<Vec<f32>, Error> {
        let values = self.array.rows_f32(first, count).ok_or_else(|| {
            let problem = format!("holds elements of type {}; numbers are expected", self.array.dtype());
            Error::field(self.path, "data", problem)
        })?;
        let flat = (CHANNELS * self.side * self.side).max(1);
        check_finite(self.path, "data", &values, first, flat)?;
        let size = 2 * self.project.bandwidth;
        let length = (CHANNELS * size * size).max(1);
        let per_chunk = self.project.images_per_rotation.max(1);
        let mut out = vec![0f32; count * length];
        let mut at = first;
        while at < first + count {
            let chunk = at / per_chunk;
            let end = ((chunk + 1) * per_chunk).min(first + count);
            let projector = match self.last.take() {
                Some((last, projector)) if last == chunk => projector,
                _ => match self.rotations.get(chunk) {
                    Some(rotation) => Projector::new(self.project.bandwidth, self.side, rotation),
                    None => return Err(Error::row(at, self.array.rows())),
                },
            };
            let (from, to) = (at - first, end - first);
            let targets = out.get_mut(from * length..to * length).unwrap_or_default();
            let images = values.get(from * flat..to * flat).unwrap_or_default();
            targets
                .par_chunks_mut(length)
                .zip(images.par_chunks(flat))
                .for_each(|(target, image)| projector.project(image, target));
            self.last = Some((chunk, projector));
            at = end;
        }
        Ok(out)
    }
}
