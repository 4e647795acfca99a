//! Reads CIFAR-100 on the sphere: one gzipped pickle with a training and a test part, or made from CIFAR-100.

mod made;
mod projection;

use crate::{
    DatasetRecipe, Error,
    shared::{
        classification::{
            Classes, End, Labels, Part, Samples, check_finite, held_out, integer_labels, layout, write_splits,
        },
        pickle::field,
    },
};
use dash_core::{card::DatasetCard, pipeline::Spherical};
use dash_data::{
    CardDetails, Ingest, Subject,
    raw::{describe_source, find_file},
};
use dash_formats::{
    archive,
    pickle::{Pickle, PickleArray, Value},
};
use made::LICENCE;
use std::path::{Path, PathBuf};

impl DatasetRecipe for Spherical {
    fn sources(&self) -> Result<Vec<PathBuf>, Error> {
        match &self.project {
            Some(project) => made::sources(self, project),
            None => Ok(vec![source(self)?]),
        }
    }

    fn ingest(&self, cx: &mut Ingest<'_>) -> Result<DatasetCard, Error> {
        if let Some(project) = &self.project {
            return made::ingest(self, project, cx);
        }
        let path = source(self)?;
        // The images stay bytes of this one buffer until they are written.
        let pickle = Pickle::from_bytes(archive::contents(&path)?.into(), &path)?;
        let (mut train, train_labels) = read(&path, pickle.root(), "train")?;
        let (mut test, test_labels) = read(&path, pickle.root(), "test")?;
        if train.shape() != test.shape() {
            let problem =
                format!("images of shape {:?}, those of `train` have {:?}", test.shape(), train.shape());
            return Err(Error::field(&path, "test.images", problem));
        }
        let classes = Classes::of(&[&train_labels, &test_labels])?;
        let marks =
            held_out(train_labels.values.len(), self.validation_fraction, self.split_seed, End::Last)?;
        let shape = train.shape().to_vec();
        let mut writer = cx.writer(layout(shape, classes.names(), vec!["sample"]));
        if train.array.dtype().is_byte() && test.array.dtype().is_byte() {
            writer.store_bytes(None);
        }
        let part =
            |samples, labels: &Labels, held_out| Part { samples, classes: classes.indices(labels), held_out };
        write_splits(
            &mut writer,
            part(&mut train, &train_labels, Some(marks)),
            part(&mut test, &test_labels, None),
        )?;
        Ok(writer.finish(CardDetails {
            sources: vec![describe_source(&self.raw, &path)?],
            target_scaling: None,
            notes: [
                ("split_seed".to_owned(), self.split_seed.into()),
                ("validation_fraction".to_owned(), self.validation_fraction.into()),
                ("scaling".to_owned(), "none: pixels from 0 to 255, as in the reference".into()),
            ]
            .into(),
            licence: LICENCE,
        })?)
    }
}

fn source(config: &Spherical) -> Result<PathBuf, Error> {
    find_file(&config.raw, &config.file, "dataset.file").map_err(|error| match error {
        // Flat images may be there instead.
        dash_data::Error::Invalid { subject: Subject::Raw, path, problem } if made::is_possible(config) => {
            let problem = format!("{problem}; `dataset.project = {{}}` makes it from the CIFAR-100 there");
            Error::raw(path, problem)
        }
        other => other.into(),
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
    let dict = field(path, root, part)?;
    let images = field(path, dict, "images").map_err(|error| error.inside(part))?;
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
    let mut labels = integer_labels(path, dict, "labels").map_err(|error| error.inside(part))?;
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

#[cfg(test)]
mod tests;
