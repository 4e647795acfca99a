//! CIFAR-100 on the sphere: one gzipped pickle with a training and a test part, or made from CIFAR-100.

mod made;
mod projection;

use crate::{
    Error, packed,
    pickle::{Pickle, PickleArray, Value},
    points::{
        Classes, End, Labels, Part, Samples, check_finite, find, held_out, layout, warn_of_missing_classes,
        write_splits,
    },
    recipe::{About, Ingest, describe, field},
    satellite::labels,
};
use dash_core::{
    card::DatasetCard,
    event::Listener,
    pipeline::{Protocol, Spherical},
};
use dash_store::Staging;
use std::path::{Path, PathBuf};

const LICENCE: &str =
    "no licence is stated (cite Krizhevsky 2009 for the images, Cohen et al. 2018 for the projection)";

/// The raw files that [`ingest`] will read.
pub(crate) fn sources(config: &Spherical) -> Result<Vec<PathBuf>, Error> {
    match &config.project {
        Some(project) => made::sources(config, project),
        None => Ok(vec![source(config)?]),
    }
}

fn source(config: &Spherical) -> Result<PathBuf, Error> {
    find(&config.raw, &config.file, "dataset.file").map_err(|error| match error {
        // Flat images may be there instead.
        Error::Raw { path, problem } if made::is_possible(config) => {
            let problem = format!("{problem}; `dataset.project = {{}}` makes it from the CIFAR-100 there");
            Error::Raw { path, problem }
        }
        other => other,
    })
}

pub(crate) fn ingest(
    config: &Spherical,
    protocol: Protocol,
    staging: &mut Staging,
    listener: &dyn Listener,
) -> Result<DatasetCard, Error> {
    if let Some(project) = &config.project {
        return made::ingest(config, project, protocol, staging, listener);
    }
    let path = source(config)?;
    // The images stay bytes of this one buffer until they are written.
    let pickle = Pickle::from_bytes(packed::contents(&path)?.into(), &path)?;
    let (mut train, train_labels) = read(&path, pickle.root(), "train")?;
    let (mut test, test_labels) = read(&path, pickle.root(), "test")?;
    if train.shape() != test.shape() {
        let problem =
            format!("images of shape {:?}, those of `train` have {:?}", test.shape(), train.shape());
        return Err(Error::field(&path, "test.images", problem));
    }
    let classes = Classes::of(&[&train_labels, &test_labels])?;
    let marks =
        held_out(train_labels.values.len(), config.validation_fraction, config.split_seed, End::Last)?;
    let shape = train.shape().to_vec();
    let mut ingest = Ingest::new(staging, protocol, layout(shape, classes.names(), vec!["sample"]));
    if train.array.dtype().is_byte() && test.array.dtype().is_byte() {
        ingest.store_bytes(None);
    }
    let part =
        |samples, labels: &Labels, held_out| Part { samples, classes: classes.indices(labels), held_out };
    write_splits(
        &mut ingest,
        part(&mut train, &train_labels, Some(marks)),
        part(&mut test, &test_labels, None),
        listener,
    )?;
    warn_of_missing_classes(&ingest, listener);
    ingest.finish(About {
        recipe: "spherical",
        sources: vec![describe(&config.raw, &path)?],
        target_scaling: None,
        notes: [
            ("split_seed".to_owned(), config.split_seed.into()),
            ("validation_fraction".to_owned(), config.validation_fraction.into()),
            ("scaling".to_owned(), "none: pixels from 0 to 255, as in the reference".into()),
        ]
        .into(),
        licence: LICENCE,
    })
}

/// Images (samples, channels, rows, columns) of a part of the file.
struct Images<'a> {
    path: &'a Path,
    field: String,
    array: &'a PickleArray,
}

impl Images<'_> {
    /// Shape of one image.
    fn shape(&self) -> &[usize] {
        self.array.shape().get(1..).unwrap_or_default()
    }
}

fn read<'a>(path: &'a Path, root: Value<'a>, part: &str) -> Result<(Images<'a>, Labels), Error> {
    // Names in messages lead from the root of the file.
    let inside = |error: Error| match error {
        Error::Field { path, field, problem } => {
            Error::Field { path, field: format!("{part}.{field}"), problem }
        }
        Error::MissingField { path, field, found } => {
            Error::MissingField { path, field: format!("{part}.{field}"), found }
        }
        other => other,
    };
    let dict = field(path, root, part)?;
    let images = field(path, dict, "images").map_err(inside)?;
    let name = format!("{part}.images");
    let array = images.as_array().filter(|array| array.shape().len() == 4 && array.dtype().is_numeric());
    let array = array.ok_or_else(|| {
        let problem =
            format!("is {}; numbers of shape (images, channels, rows, columns) are expected", images.kind());
        Error::field(path, &name, problem)
    })?;
    if array.shape().contains(&0) {
        return Err(Error::field(path, &name, format!("the shape {:?} holds nothing", array.shape())));
    }
    let mut labels = labels(path, dict, "labels").map_err(inside)?;
    labels.field = format!("{part}.labels");
    labels.check_count(array.rows(), &format!("`{name}`"))?;
    Ok((Images { path, field: name, array }, labels))
}

impl Samples for Images<'_> {
    fn inputs(&mut self, first: usize, count: usize) -> Result<Vec<f32>, Error> {
        let values = self.array.rows_f32(first, count).ok_or_else(|| {
            let problem = format!("holds elements of type {}; numbers are expected", self.array.dtype());
            Error::field(self.path, &self.field, problem)
        })?;
        check_finite(self.path, &self.field, &values, first, self.shape().iter().product())?;
        Ok(values)
    }
}
