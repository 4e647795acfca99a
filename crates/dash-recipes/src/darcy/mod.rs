//! Makes the dataset Darcy Flow, from permeability to pressure, from the benchmark's files or from the built-in solver.

mod field;
mod fields;
mod mat;
mod simulate;
mod solver;

use crate::{DatasetRecipe, Error};
use dash_core::{
    card::{DatasetCard, ElementType, Scaling, Split, Target, TensorField},
    event::Event,
    pipeline::{DarcyFlow, DarcySimulation, Protocol},
};
use dash_data::{
    CardDetails, DatasetRow, Ingest, RowLayout, RowTarget,
    raw::{describe_source, list_files, name_files, required_file},
};
use fields::Fields;
use std::{
    ops::Range,
    path::{Path, PathBuf},
};

/// Added to standard deviations before dividing by them.
const EPSILON: f64 = 1e-5;

/// Where fields come from.
enum Origin<'a> {
    Files { raw: &'a Path, train: PathBuf, test: PathBuf },
    Simulation(&'a DarcySimulation),
}

impl DatasetRecipe for DarcyFlow {
    fn sources(&self) -> Result<Vec<PathBuf>, Error> {
        Ok(match origin(self)? {
            Origin::Files { train, test, .. } => vec![train, test],
            Origin::Simulation(_) => vec![],
        })
    }

    fn ingest(&self, cx: &mut Ingest<'_>) -> Result<DatasetCard, Error> {
        let (protocol, listener) = (cx.protocol, cx.listener);
        let origin = origin(self)?;
        let wanted = self.train + self.validation;
        let (train, test) = match &origin {
            Origin::Files { train, test, .. } => (
                mat::read(train, wanted, self.subsample, "`dataset.train` and `dataset.validation`")?,
                mat::read(test, self.test, self.subsample, "`dataset.test`")?,
            ),
            Origin::Simulation(simulation) => {
                let counts = [wanted, self.test];
                simulate::run(simulation, counts, self.subsample, listener)?
            }
        };
        if train.side != test.side {
            return Err(Error::configuration(
                "dataset.test_file",
                format!("the test grid has {} points per axis, the training grid {}", test.side, train.side),
            ));
        }
        let fitted = match protocol {
            Protocol::Strict => self.train,
            Protocol::Paper => wanted,
        };
        let input = Normaliser::fit(&train, &train.coefficient, fitted);
        let target = Normaliser::fit(&train, &train.solution, fitted);
        let constant = input.scale.iter().filter(|&&scale| scale <= 2.0 * EPSILON as f32).count();
        if constant > 0 {
            let message = format!(
                "the permeability is the same in all {fitted} training samples at {constant} of {} grid points; \
             other samples get very large encoded values there",
                input.scale.len()
            );
            listener.on(&Event::Warning { message });
        }

        let side = train.side;
        let tensor = |name: &str, channels| TensorField {
            column: name.to_owned(),
            shape: vec![channels, side, side],
            element: ElementType::F32,
        };
        let layout =
            RowLayout::new(tensor("input", 3), Target::Field { tensor: tensor("target", 1) }, vec!["sample"]);
        let mut writer = cx.writer(layout);
        let coordinates = coordinates(side);
        let parts: [(Split, &Fields, Range<usize>); 3] = [
            (Split::Train, &train, 0..fitted),
            (Split::Validation, &train, self.train..wanted),
            (Split::Test, &test, 0..self.test),
        ];
        let total = parts.iter().map(|(_, _, rows)| rows.len()).sum();
        let mut done = 0;
        for (split, fields, rows) in parts {
            writer.split::<Error>(split, |push| {
                let mut x = vec![];
                let mut y = vec![];
                for row in rows {
                    x.clear();
                    y.clear();
                    input.encode(fields.sample(&fields.coefficient, row), &mut x);
                    x.extend_from_slice(&coordinates);
                    target.encode(fields.sample(&fields.solution, row), &mut y);
                    push(DatasetRow {
                        input: &x,
                        target: RowTarget::Field(&y),
                        background: 0.0,
                        ids: &[row as i64],
                        tuning: row < self.train,
                    })?;
                    done += 1;
                    listener.on(&Event::Progress { what: "samples".to_owned(), done, total });
                }
                Ok(())
            })?;
        }
        let (sources, licence, made) = match &origin {
            Origin::Files { raw, train, test } => (
                vec![describe_source(raw, train)?, describe_source(raw, test)?],
                "terms of the source files (Li et al. 2021, as distributed with NAS-Bench-360)",
                serde_json::json!("files"),
            ),
            Origin::Simulation(simulation) => (
                vec![],
                "made on this machine by the built-in solver; no third-party terms",
                serde_json::json!({"simulation": simulation}),
            ),
        };
        Ok(writer.finish(CardDetails {
            sources,
            target_scaling: Some(target.scaling()),
            notes: [
                ("origin".to_owned(), made),
                ("subsample".to_owned(), self.subsample.into()),
                (
                    "input_channels".to_owned(),
                    serde_json::json!([
                        "encoded coefficient",
                        "u along the last axis",
                        "v along the first axis"
                    ]),
                ),
                ("normalised_with_samples".to_owned(), fitted.into()),
            ]
            .into(),
            licence,
        })?)
    }
}

fn origin(config: &DarcyFlow) -> Result<Origin<'_>, Error> {
    match (&config.raw, &config.simulate) {
        (Some(raw), None) => Ok(Origin::Files {
            raw,
            train: file(raw, config.train_file.as_deref(), "smooth1", "dataset.train_file")?,
            test: file(raw, config.test_file.as_deref(), "smooth2", "dataset.test_file")?,
        }),
        (None, Some(simulation)) => Ok(Origin::Simulation(simulation)),
        _ => Err(Error::configuration("dataset", "exactly one of `raw` and `simulate` must be given")),
    }
}

/// The file that `key` names, or the only one called `piececonst_r<digits>_N<digits>_<part>.mat`.
fn file(raw: &Path, name: Option<&Path>, part: &str, key: &str) -> Result<PathBuf, Error> {
    if let Some(name) = name {
        return Ok(required_file(raw, name)?);
    }
    let all = list_files(raw)?;
    let is_benchmark_file = |path: &&PathBuf| {
        path.file_name().and_then(|n| n.to_str()).is_some_and(|n| matches_benchmark(n, part))
    };
    let found: Vec<PathBuf> = all.iter().filter(is_benchmark_file).cloned().collect();
    match found.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(Error::raw(
            raw,
            format!(
                "no file is named like `piececonst_r421_N1024_{part}.mat`; {}; `{key}` can name one",
                name_files(raw, &all)
            ),
        )),
        several => Err(Error::raw(
            raw,
            format!(
                "several files are named like `piececonst_r421_N1024_{part}.mat`: {}; `{key}` must name one",
                name_files(raw, several)
            ),
        )),
    }
}

fn matches_benchmark(name: &str, part: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    name.strip_prefix("piececonst_r")
        .and_then(|rest| rest.strip_suffix(".mat"))
        .and_then(|rest| rest.strip_suffix(part))
        .and_then(|rest| rest.strip_suffix('_'))
        .and_then(|rest| rest.split_once("_N"))
        .is_some_and(|(resolution, count)| digits(resolution) && digits(count))
}

/// The two coordinate channels: u varies along the last axis, v along the first; both from 0 to 1.
fn coordinates(side: usize) -> Vec<f32> {
    let at = |i: usize| if side > 1 { (i as f64 / (side - 1) as f64) as f32 } else { 0.0 };
    let points = 0..side * side;
    points.clone().map(|k| at(k % side)).chain(points.map(|k| at(k / side))).collect()
}

/// Mean and standard deviation per grid point.
struct Normaliser {
    mean: Vec<f32>,
    /// Standard deviation (n - 1) plus [`EPSILON`].
    scale: Vec<f32>,
}

impl Normaliser {
    /// Statistics over the first `count >= 2` samples of `values`.
    fn fit(fields: &Fields, values: &[f32], count: usize) -> Normaliser {
        let points = fields.side * fields.side;
        let mut mean = vec![0f64; points];
        let mut square = vec![0f64; points];
        for index in 0..count {
            for (mean, &value) in mean.iter_mut().zip(fields.sample(values, index)) {
                *mean += f64::from(value) / count as f64;
            }
        }
        for index in 0..count {
            for ((square, mean), &value) in square.iter_mut().zip(&mean).zip(fields.sample(values, index)) {
                *square += (f64::from(value) - mean).powi(2);
            }
        }
        Normaliser {
            mean: mean.iter().map(|&mean| mean as f32).collect(),
            scale: square
                .iter()
                .map(|square| ((square / (count - 1) as f64).sqrt() + EPSILON) as f32)
                .collect(),
        }
    }

    fn encode(&self, values: &[f32], out: &mut Vec<f32>) {
        let code = self.mean.iter().zip(&self.scale);
        // In f64, so that decoding in f32 with the card's constants loses one rounding only.
        out.extend(values.iter().zip(code).map(|(&value, (&mean, &scale))| {
            ((f64::from(value) - f64::from(mean)) / f64::from(scale)) as f32
        }));
    }

    fn scaling(self) -> Scaling {
        Scaling { mean: self.mean, scale: self.scale }
    }
}

#[cfg(test)]
mod tests;
