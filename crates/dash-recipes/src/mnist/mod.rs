//! Reads MNIST: handwritten digits in IDX files, as series of pixels, in their order or in one random order.

use crate::{
    DatasetRecipe, Error,
    shared::{
        classification::{Classes, End, Labels, Part, Samples, held_out, layout, write_splits},
        numpy_random::RandomState,
    },
};
use dash_core::{
    card::{DatasetCard, InputScaling},
    pipeline::Mnist,
};
use dash_data::{
    CardDetails, Ingest,
    raw::{describe_source, find_file},
};
use dash_formats::idx::Idx;
use std::path::{Path, PathBuf};

const LICENCE: &str = "CC BY-SA 3.0 (LeCun, Cortes, Burges; cite LeCun et al. 1998)";

/// The largest value of a pixel.
const WHITE: f64 = 255.0;

/// Where a common loader puts the files below the folder that it is given.
const USUAL: &str = "MNIST/raw";

impl DatasetRecipe for Mnist {
    fn sources(&self) -> Result<Vec<PathBuf>, Error> {
        Ok(pairs(self)?.into_iter().flatten().collect())
    }

    fn ingest(&self, cx: &mut Ingest<'_>) -> Result<DatasetCard, Error> {
        let files = pairs(self)?;
        let [[train, train_label], [test, test_label]] = &files;
        let (train, train_labels) = read(train, train_label)?;
        let (test, test_labels) = read(test, test_label)?;
        if train.shape().get(1..) != test.shape().get(1..) {
            let problem = format!(
                "images of {:?} pixels, those of the training file have {:?}",
                grid(&test),
                grid(&train)
            );
            return Err(Error::field(test.path(), "images", problem));
        }
        let pixels: usize = grid(&train).iter().product();
        let order = match self.permuted {
            false => None,
            true => {
                let size = u32::try_from(pixels).map_err(|_| {
                    Error::field(train.path(), "images", "has too many pixels to be shuffled")
                })?;
                Some(RandomState::new(self.permutation_seed).permutation(size))
            }
        };
        let classes = Classes::of(&[&train_labels, &test_labels])?;
        let marks =
            held_out(train_labels.values.len(), self.validation_fraction, self.split_seed, End::First)?;
        let mut writer = cx.writer(layout(vec![1, pixels], classes.names(), vec!["sample"]));
        writer.store_bytes(Some(InputScaling {
            scale: vec![1.0 / (WHITE * self.deviation)],
            offset: vec![-self.mean / self.deviation],
        }));
        let order = order.as_deref();
        let mut train = Series { images: &train, pixels, order };
        let mut test = Series { images: &test, pixels, order };
        let part =
            |samples, labels: &Labels, held_out| Part { samples, classes: classes.indices(labels), held_out };
        write_splits(
            &mut writer,
            part(&mut train, &train_labels, Some(marks)),
            part(&mut test, &test_labels, None),
        )?;
        let mut notes = vec![
            ("split_seed".to_owned(), self.split_seed.into()),
            ("validation_fraction".to_owned(), self.validation_fraction.into()),
            ("mean".to_owned(), self.mean.into()),
            ("deviation".to_owned(), self.deviation.into()),
            ("image".to_owned(), serde_json::json!(grid(train.images))),
        ];
        if self.permuted {
            notes.push(("permutation_seed".to_owned(), self.permutation_seed.into()));
        }
        Ok(writer.finish(CardDetails {
            sources: files
                .iter()
                .flatten()
                .map(|path| describe_source(&self.raw, path))
                .collect::<Result<_, _>>()?,
            target_scaling: None,
            notes: notes.into_iter().collect(),
            licence: LICENCE,
        })?)
    }
}

fn pairs(config: &Mnist) -> Result<[[PathBuf; 2]; 2], Error> {
    let file = |name: &Path, key: &str| locate(&config.raw, name, &format!("dataset.{key}"));
    Ok([
        [file(&config.train_file, "train_file")?, file(&config.train_label_file, "train_label_file")?],
        [file(&config.test_file, "test_file")?, file(&config.test_label_file, "test_label_file")?],
    ])
}

/// A file by its name or by that of its gzipped form.
fn locate(raw: &Path, name: &Path, key: &str) -> Result<PathBuf, Error> {
    let mut packed = name.as_os_str().to_owned();
    packed.push(".gz");
    let packed = PathBuf::from(packed);
    for folder in [raw.to_owned(), raw.join(USUAL)] {
        for name in [name, &packed] {
            let path = folder.join(name);
            if path.is_file() {
                return Ok(path);
            }
        }
    }
    match find_file(raw, name, key) {
        Ok(path) => Ok(path),
        // The message is about the name as it was given.
        Err(error) => Ok(find_file(raw, &packed, key).map_err(|_| error)?),
    }
}

/// Rows and columns of an image.
fn grid(images: &Idx) -> &[usize] {
    images.shape().get(1..).unwrap_or_default()
}

fn read(images: &Path, labels: &Path) -> Result<(Idx, Labels), Error> {
    let images = Idx::open(images, 3)?;
    let found = Idx::open(labels, 1)?;
    let labels = Labels {
        path: labels.to_owned(),
        field: "labels".to_owned(),
        values: found.elements().iter().map(|&label| label.into()).collect(),
    };
    let samples = images.shape().first().copied().unwrap_or(0);
    labels.check_count(samples, &images.path().display().to_string())?;
    Ok((images, labels))
}

/// Images as series of pixels.
struct Series<'a> {
    images: &'a Idx,
    pixels: usize,
    /// Which pixel stands at each position.
    order: Option<&'a [usize]>,
}

impl Samples for Series<'_> {
    fn inputs(&mut self, first: usize, count: usize) -> Result<Vec<f32>, Error> {
        let start = first * self.pixels;
        let bytes = self.images.elements().get(start..start + count * self.pixels);
        let bytes = bytes.ok_or(Error::row(first + count, self.images.elements().len()))?;
        let Some(order) = self.order else {
            return Ok(bytes.iter().map(|&byte| byte.into()).collect());
        };
        let images = bytes.chunks_exact(self.pixels.max(1));
        Ok(images
            .flat_map(|image| order.iter().filter_map(|&pixel| image.get(pixel)))
            .map(|&byte| byte.into())
            .collect())
    }
}

#[cfg(test)]
mod tests;
