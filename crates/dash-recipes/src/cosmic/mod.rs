//! Cosmic rays in Hubble images (deepCR, ACS/WFC): image -> mask of the hit pixels, with pixels that
//! nobody can judge left out.

mod tree;

#[cfg(test)]
mod tests;

use crate::{DatasetRecipe, Error, shared::numpy_random::RandomState};
use dash_core::{
    card::{DatasetCard, ElementType, Split, Target, TensorField},
    event::Event,
    pipeline::Cosmic,
};
use dash_data::{
    CardDetails, DatasetRow, Ingest, RowLayout, RowTarget,
    raw::{describe_source, list_files, name_files},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};
use tree::{Name, Tree};

/// Column with the sky level of each image, which augmentation in training scales.
const SKY_COLUMN: &str = "sky";

const LICENCE: &str = "terms of the source files (Hubble images of the MAST archive with the masks of deepCR, \
                       Zhang and Bloom 2020, as distributed with NAS-Bench-360)";

/// A tree and its images of the wanted filter and fields, in order.
struct Part {
    tree: Tree,
    images: Vec<Name>,
}

/// One image, cropped.
struct Sample {
    image: Vec<f32>,
    /// 1 where a cosmic ray hit.
    mask: Vec<u8>,
    /// 1 where neither loss nor metric look.
    ignore: Vec<u8>,
    sky: f32,
}

/// The centre of all images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Crop {
    /// Rows and columns of the whole image.
    image: [usize; 2],
    /// Rows and columns that are kept.
    kept: [usize; 2],
}

impl DatasetRecipe for Cosmic {
    fn sources(&self) -> Result<Vec<PathBuf>, Error> {
        let mut files = vec![];
        for part in [Part::train(self)?, Part::test(self)?] {
            files.extend(part.sources());
        }
        Ok(files)
    }

    /// The published data is always split in three: the paper protocol trains on the same images and only
    /// reports another epoch.
    fn ingest(&self, cx: &mut Ingest<'_>) -> Result<DatasetCard, Error> {
        let listener = cx.listener;
        let (train, test) = (Part::train(self)?, Part::test(self)?);
        let (kept, held_out) = split(&train, self)?;
        let crop = Crop::of(&train, self)?;

        let tensor = |name: &str, element| TensorField {
            column: name.to_owned(),
            shape: vec![1, crop.kept[0], crop.kept[1]],
            element,
        };
        let target = Target::Mask {
            tensor: tensor("target", ElementType::U8),
            ignore: Some(tensor("ignore", ElementType::U8)),
        };
        let mut layout = RowLayout::new(tensor("input", ElementType::F32), target, vec!["image"]);
        layout.background = Some(SKY_COLUMN);
        let mut writer = cx.writer(layout);
        let parts = [
            (Split::Train, &train, kept),
            (Split::Validation, &train, held_out),
            (Split::Test, &test, (0..test.images.len()).collect()),
        ];
        let total = parts.iter().map(|(_, _, rows)| rows.len()).sum();
        let (mut done, mut shares) = (0, serde_json::Map::new());
        for (split, part, rows) in &parts {
            let (mut pixels, mut hit, mut ignored) = (0, 0, 0);
            writer.split::<Error>(*split, |push| {
                let mut skies = BTreeMap::new();
                for &row in rows {
                    let Some(name) = part.images.get(row) else { continue };
                    let sample = part.read(name, crop, &mut skies)?;
                    pixels += sample.mask.len();
                    ignored += sample.ignore.iter().filter(|&&v| v == 1).count();
                    hit +=
                        sample.mask.iter().zip(&sample.ignore).filter(|&(&m, &i)| m == 1 && i == 0).count();
                    push(DatasetRow {
                        input: &sample.image,
                        target: RowTarget::Mask { values: &sample.mask, ignore: &sample.ignore },
                        background: sample.sky,
                        ids: &[row as i64],
                        tuning: true,
                    })?;
                    done += 1;
                    listener.on(&Event::Progress { what: "images".to_owned(), done, total });
                }
                Ok(())
            })?;
            let share = |count: usize| count as f64 / pixels as f64;
            shares.insert(
                split.name().to_owned(),
                serde_json::json!({"hit": share(hit), "ignored": share(ignored)}),
            );
        }
        let mut sources = vec![];
        for part in [&train, &test] {
            for path in part.sources() {
                sources.push(describe_source(&self.raw, &path)?);
            }
        }
        Ok(writer.finish(CardDetails {
            sources,
            target_scaling: None,
            notes: [
                ("filter".to_owned(), self.filter.as_str().into()),
                ("fields".to_owned(), serde_json::json!(self.fields)),
                ("image_size".to_owned(), serde_json::json!(crop.image)),
                ("split_seed".to_owned(), self.split_seed.into()),
                ("pixel_shares".to_owned(), shares.into()),
            ]
            .into(),
            licence: LICENCE,
        })?)
    }
}

/// The images that are trained on and those that are held out for validation: the last of a random
/// order; both ascending.
fn split(train: &Part, config: &Cosmic) -> Result<(Vec<usize>, Vec<usize>), Error> {
    let available = train.images.len();
    // One image at least must be left to train on.
    let too_few = || Error::TooFewSamples {
        path: train.tree.path().to_owned(),
        wanted: config.validation.saturating_add(1),
        available,
        keys: "`dataset.validation` and at least one to train on",
    };
    let count = u32::try_from(available).map_err(|_| too_few())?;
    let mut kept = RandomState::new(config.split_seed).permutation(count);
    let left = available.checked_sub(config.validation).filter(|&left| left > 0).ok_or_else(too_few)?;
    let mut held_out = kept.split_off(left);
    kept.sort_unstable();
    held_out.sort_unstable();
    Ok((kept, held_out))
}

impl Part {
    fn train(config: &Cosmic) -> Result<Part, Error> {
        Part::open(config, config.train_tree.as_deref(), "train")
    }

    fn test(config: &Cosmic) -> Result<Part, Error> {
        Part::open(config, config.test_tree.as_deref(), "test")
    }

    fn open(config: &Cosmic, named: Option<&Path>, part: &str) -> Result<Part, Error> {
        let tree = Tree::open(&locate(&config.raw, named, part)?)?;
        let wanted = |name: &&Name| {
            name.filter == config.filter
                && (config.fields.is_empty() || config.fields.contains(&name.field()))
        };
        let images: Vec<Name> = tree.images().filter(wanted).cloned().collect();
        if images.is_empty() {
            let fields: BTreeSet<String> =
                tree.images().map(|name| format!("{}/{}", name.filter, name.field())).collect();
            let problem = if fields.is_empty() {
                "has no images named like `f435w/10760/2/1_1.npy`".to_owned()
            } else {
                let shown: Vec<&str> = fields.iter().take(10).map(String::as_str).collect();
                format!(
                    "none of the images is of `dataset.filter` {:?} and one of `dataset.fields`; it has {}{}",
                    config.filter,
                    shown.join(", "),
                    if fields.len() > shown.len() { ", ..." } else { "" }
                )
            };
            return Err(Error::raw(tree.path(), problem));
        }
        Ok(Part { tree, images })
    }

    /// The files that images and sky levels are in.
    fn sources(&self) -> Vec<PathBuf> {
        let skies: BTreeSet<Name> = self.images.iter().map(Name::sky).collect();
        let skies = skies.into_iter().filter(|name| self.tree.contains(name)).collect::<Vec<_>>();
        self.tree.sources(self.images.iter().chain(&skies))
    }

    /// Reads an image and the sky level that belongs to it; `skies` keeps the levels of visits that were
    /// met before.
    fn read(
        &self,
        name: &Name,
        crop: Crop,
        skies: &mut BTreeMap<Name, Option<Vec<f64>>>,
    ) -> Result<Sample, Error> {
        let path = self.tree.locate(name);
        let mut array = self.tree.array(name)?;
        let (planes, size) = dimensions(&path, array.shape())?;
        if size != crop.image {
            let [rows, columns] = crop.image;
            let problem =
                format!("is {} x {}, the first training image is {rows} x {columns}", size[0], size[1]);
            return Err(Error::field(&path, "image", problem));
        }
        let mut plane = |number: usize| -> Result<Vec<f32>, Error> { Ok(crop.cut(&array.rows(number, 1)?)) };
        let image = plane(0)?;
        if let Some(at) = image.iter().position(|value| !value.is_finite()) {
            return Err(Error::field(&path, "image", format!("{} is not a finite number", crop.pixel(at))));
        }
        let mut zero_or_one = |number: usize, field: &str| -> Result<Vec<u8>, Error> {
            let values = plane(number)?;
            match values.iter().position(|&value| value != 0.0 && value != 1.0) {
                None => Ok(values.iter().map(|&value| u8::from(value == 1.0)).collect()),
                Some(at) => Err(Error::field(&path, field, format!("{} is neither 0 nor 1", crop.pixel(at)))),
            }
        };
        let mask = zero_or_one(1, "mask")?;
        let ignore = if planes == 3 { zero_or_one(2, "ignore")? } else { vec![0; mask.len()] };
        let sky = self.sky(name, skies)?;
        Ok(Sample { image, mask, ignore, sky })
    }

    /// The sky level of an image; 0, with which augmentation changes nothing, if its visit has none.
    fn sky(&self, name: &Name, skies: &mut BTreeMap<Name, Option<Vec<f64>>>) -> Result<f32, Error> {
        let file = name.sky();
        let path = self.tree.locate(&file);
        if !skies.contains_key(&file) {
            let levels = if self.tree.contains(&file) {
                let mut array = self.tree.array(&file)?;
                if array.shape().len() != 1 {
                    let problem =
                        format!("has shape {:?}; one level per exposure is expected", array.shape());
                    return Err(Error::field(&path, "sky", problem));
                }
                let count = array.len();
                Some(array.rows_f64(0, count)?)
            } else {
                None
            };
            skies.insert(file.clone(), levels);
        }
        let Some(Some(levels)) = skies.get(&file) else { return Ok(0.0) };
        let level = name.exposure().and_then(|number| levels.get(number.checked_sub(1)?).copied());
        match level {
            Some(level) if (level as f32).is_finite() => Ok(level as f32),
            Some(_) => Err(Error::field(&path, "sky", format!("the level of `{}` is not finite", name.file))),
            None => Err(Error::field(
                &path,
                "sky",
                format!(
                    "has {} levels, none for `{}`, whose name should begin with the number of its exposure",
                    levels.len(),
                    name.file
                ),
            )),
        }
    }
}

/// Planes, and rows and columns of an image.
fn dimensions(path: &Path, shape: &[usize]) -> Result<(usize, [usize; 2]), Error> {
    match *shape {
        [planes @ (2 | 3), rows, columns] if rows > 0 && columns > 0 => Ok((planes, [rows, columns])),
        _ => Err(Error::field(
            path,
            "image",
            format!("has shape {shape:?}; (3, rows, columns) of image, mask and ignored pixels are expected"),
        )),
    }
}

impl Crop {
    /// The crop of the first training image, to whose size all others are held.
    fn of(train: &Part, config: &Cosmic) -> Result<Crop, Error> {
        let Some(first) = train.images.first() else { return Crop::new([0, 0], config.crop) };
        let array = train.tree.array(first)?;
        let (_, image) = dimensions(&train.tree.locate(first), array.shape())?;
        Crop::new(image, config.crop)
    }

    fn new(image: [usize; 2], kept: Option<usize>) -> Result<Crop, Error> {
        let kept = kept.map_or(image.map(|side| side.div_ceil(2)), |side| [side, side]);
        if kept.iter().zip(&image).any(|(kept, image)| kept > image || *kept == 0) {
            let [rows, columns] = image;
            let problem = format!("{} x {} pixels of {rows} x {columns} are requested", kept[0], kept[1]);
            return Err(Error::configuration("dataset.crop", problem));
        }
        Ok(Crop { image, kept })
    }

    /// First row and column that are kept.
    fn start(self) -> [usize; 2] {
        let [rows, columns] = self.image;
        [(rows - self.kept[0]) / 2, (columns - self.kept[1]) / 2]
    }

    fn cut(self, plane: &[f32]) -> Vec<f32> {
        let [top, left] = self.start();
        let rows = plane.chunks_exact(self.image[1]).skip(top).take(self.kept[0]);
        rows.flat_map(|row| row.get(left..left + self.kept[1]).unwrap_or_default()).copied().collect()
    }

    /// Words for a pixel of the crop, in positions of the whole image.
    fn pixel(self, at: usize) -> String {
        let [top, left] = self.start();
        format!("pixel ({}, {})", top + at / self.kept[1], left + at % self.kept[1])
    }
}

/// The tree that a key names; else the folder `npy_<part>` or the archive of the benchmark's name in the
/// raw folder or one level below.
fn locate(raw: &Path, named: Option<&Path>, part: &str) -> Result<PathBuf, Error> {
    if let Some(named) = named {
        let path = raw.join(named);
        if path.exists() {
            return Ok(path);
        }
        return Err(Error::raw(path, "there is no such folder or archive"));
    }
    let files = list_files(raw)?;
    let (folder, archive) = (format!("npy_{part}"), format!("deepCR.ACS-WFC.{part}.tar"));
    let mut found = vec![];
    let entries = std::fs::read_dir(raw).map_err(Error::io(raw))?;
    for entry in entries {
        let path = entry.map_err(Error::io(raw))?.path();
        if path.file_name().is_some_and(|name| name == folder.as_str()) && path.is_dir() {
            found.push(path);
        } else if path.join(&folder).is_dir() {
            found.push(path.join(&folder));
        }
    }
    if found.is_empty() {
        found = files.iter().filter(|path| path.ends_with(&archive)).cloned().collect();
    }
    found.sort();
    match found.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(Error::raw(
            raw,
            format!(
                "there is neither a folder `{folder}` nor a file `{archive}`; {}",
                name_files(raw, &files)
            ),
        )),
        several => Err(Error::raw(
            raw,
            format!(
                "several could be meant: {}; `dataset.{part}_tree` must name one",
                name_files(raw, several)
            ),
        )),
    }
}
