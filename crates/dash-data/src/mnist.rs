//! MNIST: handwritten digits in IDX files, as series of pixels, in their order or in one random order.

use crate::{
    Error,
    idx::Idx,
    numpy_random::RandomState,
    points::{
        Classes, End, Labels, Part, Samples, find, held_out, layout, warn_of_missing_classes, write_splits,
    },
    recipe::{About, Ingest, describe},
};
use dash_core::{
    card::{DatasetCard, InputScaling},
    event::Listener,
    pipeline::{Mnist, Protocol},
};
use dash_store::Staging;
use std::path::{Path, PathBuf};

const LICENCE: &str = "CC BY-SA 3.0 (LeCun, Cortes, Burges; cite LeCun et al. 1998)";

/// The largest value of a pixel.
const WHITE: f64 = 255.0;

/// Where a common loader puts the files below the folder that it is given.
const USUAL: &str = "MNIST/raw";

/// Images and labels of training and test.
pub(crate) fn sources(config: &Mnist) -> Result<Vec<PathBuf>, Error> {
    Ok(pairs(config)?.into_iter().flatten().collect())
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
    match find(raw, name, key) {
        Ok(path) => Ok(path),
        // The message is about the name as it was given.
        Err(error) => find(raw, &packed, key).map_err(|_| error),
    }
}

pub(crate) fn ingest(
    config: &Mnist,
    protocol: Protocol,
    staging: &mut Staging,
    listener: &dyn Listener,
) -> Result<DatasetCard, Error> {
    let files = pairs(config)?;
    let [[train, train_label], [test, test_label]] = &files;
    let (train, train_labels) = read(train, train_label)?;
    let (test, test_labels) = read(test, test_label)?;
    if train.shape().get(1..) != test.shape().get(1..) {
        let problem =
            format!("images of {:?} pixels, those of the training file have {:?}", grid(&test), grid(&train));
        return Err(Error::field(test.path(), "images", problem));
    }
    let pixels: usize = grid(&train).iter().product();
    let order = match config.permuted {
        false => None,
        true => {
            let size = u32::try_from(pixels)
                .map_err(|_| Error::field(train.path(), "images", "has too many pixels to be shuffled"))?;
            Some(RandomState::new(config.permutation_seed).permutation(size))
        }
    };
    let classes = Classes::of(&[&train_labels, &test_labels])?;
    let marks =
        held_out(train_labels.values.len(), config.validation_fraction, config.split_seed, End::First)?;
    let mut ingest = Ingest::new(staging, protocol, layout(vec![1, pixels], classes.names(), vec!["sample"]));
    ingest.store_bytes(Some(InputScaling {
        scale: vec![1.0 / (WHITE * config.deviation)],
        offset: vec![-config.mean / config.deviation],
    }));
    let order = order.as_deref();
    let mut train = Series { images: &train, pixels, order };
    let mut test = Series { images: &test, pixels, order };
    let part =
        |samples, labels: &Labels, held_out| Part { samples, classes: classes.indices(labels), held_out };
    write_splits(
        &mut ingest,
        part(&mut train, &train_labels, Some(marks)),
        part(&mut test, &test_labels, None),
        listener,
    )?;
    warn_of_missing_classes(&ingest, listener);
    let mut notes = vec![
        ("split_seed".to_owned(), config.split_seed.into()),
        ("validation_fraction".to_owned(), config.validation_fraction.into()),
        ("mean".to_owned(), config.mean.into()),
        ("deviation".to_owned(), config.deviation.into()),
        ("image".to_owned(), serde_json::json!(grid(train.images))),
    ];
    if config.permuted {
        notes.push(("permutation_seed".to_owned(), config.permutation_seed.into()));
    }
    ingest.finish(About {
        recipe: "mnist",
        sources: files.iter().flatten().map(|path| describe(&config.raw, path)).collect::<Result<_, _>>()?,
        target_scaling: None,
        notes: notes.into_iter().collect(),
        licence: LICENCE,
    })
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
        let bytes = bytes.ok_or(Error::Row { row: first + count, rows: self.images.elements().len() })?;
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
