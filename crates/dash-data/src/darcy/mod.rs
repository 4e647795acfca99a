//! Darcy Flow: permeability -> pressure, from the benchmark's files or from the built-in solver.

mod field;
mod mat;
mod simulate;
mod solver;

use crate::{
    Error,
    recipe::{About, Ingest, describe, in_words, listing, raw_file},
    table::{Layout, Row, RowTarget},
};
use dash_core::{
    card::{DatasetCard, ElementType, Scaling, Split, Target, TensorField},
    event::{Event, Listener},
    pipeline::{DarcyFlow, DarcySimulation, Protocol},
};
use dash_store::Staging;
use std::{
    ops::Range,
    path::{Path, PathBuf},
};

/// Added to standard deviations before dividing by them.
const EPSILON: f64 = 1e-5;

/// Coefficients and solutions on a square grid.
#[derive(Debug)]
struct Fields {
    /// Grid points per axis.
    side: usize,
    /// One coefficient field after the other; the last axis of the file varies fastest.
    coefficient: Vec<f32>,
    /// One solution after the other.
    solution: Vec<f32>,
}

impl Fields {
    fn sample<'a>(&self, values: &'a [f32], index: usize) -> &'a [f32] {
        let points = self.side * self.side;
        values.get(index * points..(index + 1) * points).unwrap_or_default()
    }
}

/// Where fields come from.
enum Origin<'a> {
    Files { raw: &'a Path, train: PathBuf, test: PathBuf },
    Simulation(&'a DarcySimulation),
}

/// The raw files that ingestion will read.
pub(crate) fn sources(config: &DarcyFlow) -> Result<Vec<PathBuf>, Error> {
    Ok(match origin(config)? {
        Origin::Files { train, test, .. } => vec![train, test],
        Origin::Simulation(_) => vec![],
    })
}

pub(crate) fn ingest(
    config: &DarcyFlow,
    protocol: Protocol,
    staging: &mut Staging,
    listener: &dyn Listener,
) -> Result<DatasetCard, Error> {
    check(config)?;
    let origin = origin(config)?;
    let wanted = config.train + config.validation;
    let (train, test) = match &origin {
        Origin::Files { train, test, .. } => (
            mat::read(train, wanted, config.subsample, "`dataset.train` and `dataset.validation`")?,
            mat::read(test, config.test, config.subsample, "`dataset.test`")?,
        ),
        Origin::Simulation(simulation) => {
            simulate::check(simulation)?;
            let counts = [wanted, config.test];
            simulate::run(simulation, counts, config.subsample, listener)?
        }
    };
    if train.side != test.side {
        return Err(Error::configuration(
            "dataset.test_file",
            format!("the test grid has {} points per axis, the training grid {}", test.side, train.side),
        ));
    }
    let fitted = match protocol {
        Protocol::Strict => config.train,
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
    let layout = Layout {
        input: tensor("input", 3),
        target: Target::Field { tensor: tensor("target", 1) },
        background: None,
        ids: vec!["sample"],
        tuning: false,
    };
    let mut writer = Ingest::new(staging, protocol, layout);
    let coordinates = coordinates(side);
    let parts: [(Split, &Fields, Range<usize>); 3] = [
        (Split::Train, &train, 0..fitted),
        (Split::Validation, &train, config.train..wanted),
        (Split::Test, &test, 0..config.test),
    ];
    let total = parts.iter().map(|(_, _, rows)| rows.len()).sum();
    let mut done = 0;
    for (split, fields, rows) in parts {
        writer.split(split, |push| {
            let mut x = vec![];
            let mut y = vec![];
            for row in rows {
                x.clear();
                y.clear();
                input.encode(fields.sample(&fields.coefficient, row), &mut x);
                x.extend_from_slice(&coordinates);
                target.encode(fields.sample(&fields.solution, row), &mut y);
                push(Row {
                    input: &x,
                    target: RowTarget::Field(&y),
                    background: 0.0,
                    ids: &[row as i64],
                    tuning: row < config.train,
                })?;
                done += 1;
                listener.on(&Event::Progress { what: "samples".to_owned(), done, total });
            }
            Ok(())
        })?;
    }
    let (sources, licence, made) = match &origin {
        Origin::Files { raw, train, test } => (
            vec![describe(raw, train)?, describe(raw, test)?],
            "terms of the source files (Li et al. 2021, as distributed with NAS-Bench-360)",
            serde_json::json!("files"),
        ),
        Origin::Simulation(simulation) => (
            vec![],
            "made on this machine by the built-in solver; no third-party terms",
            serde_json::json!({"simulation": simulation}),
        ),
    };
    writer.finish(About {
        recipe: "darcy-flow",
        sources,
        target_scaling: Some(target.scaling()),
        notes: [
            ("origin".to_owned(), made),
            ("subsample".to_owned(), config.subsample.into()),
            (
                "input_channels".to_owned(),
                serde_json::json!(["encoded coefficient", "u along the last axis", "v along the first axis"]),
            ),
            ("normalised_with_samples".to_owned(), fitted.into()),
        ]
        .into(),
        licence,
    })
}

fn check(config: &DarcyFlow) -> Result<(), Error> {
    let least = [
        ("dataset.subsample", config.subsample, 1),
        // The standard deviation of one sample is undefined.
        ("dataset.train", config.train, 2),
        ("dataset.validation", config.validation, 1),
        ("dataset.test", config.test, 1),
    ];
    for (key, value, least) in least {
        if value < least {
            return Err(Error::configuration(key, format!("{value} is given, at least {least} is needed")));
        }
    }
    if config.train.checked_add(config.validation).is_none() {
        return Err(Error::configuration("dataset.train", "more samples than can be counted"));
    }
    Ok(())
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
        return raw_file(raw, name);
    }
    let all = listing(raw)?;
    let is_benchmark_file = |path: &&PathBuf| {
        path.file_name().and_then(|n| n.to_str()).is_some_and(|n| matches_benchmark(n, part))
    };
    let found: Vec<PathBuf> = all.iter().filter(is_benchmark_file).cloned().collect();
    match found.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(Error::Raw {
            path: raw.to_owned(),
            problem: format!(
                "no file is named like `piececonst_r421_N1024_{part}.mat`; {}; `{key}` can name one",
                in_words(raw, &all)
            ),
        }),
        several => Err(Error::Raw {
            path: raw.to_owned(),
            problem: format!(
                "several files are named like `piececonst_r421_N1024_{part}.mat`: {}; `{key}` must name one",
                in_words(raw, several)
            ),
        }),
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
mod tests {
    use super::*;

    #[test]
    fn names_of_the_benchmark() {
        assert!(matches_benchmark("piececonst_r421_N1024_smooth1.mat", "smooth1"));
        for other in [
            "piececonst_r421_N1024_smooth2.mat",
            "synthetic_piececonst_r421_N3_smooth1.mat",
            "piececonst_r32_N30_smooth1_v73.mat",
            "piececonst_r_N30_smooth1.mat",
            "piececonst_r32_N3x_smooth1.mat",
            "piececonst_smooth1.mat",
        ] {
            assert!(!matches_benchmark(other, "smooth1"), "{other}");
        }
    }

    #[test]
    fn coordinates_run_along_the_named_axes() {
        assert_eq!(
            coordinates(3),
            [0., 0.5, 1., 0., 0.5, 1., 0., 0.5, 1., 0., 0., 0., 0.5, 0.5, 0.5, 1., 1., 1.]
        );
    }

    #[test]
    fn statistics_are_those_of_the_first_samples_with_n_minus_1() {
        let fields = Fields { side: 1, coefficient: vec![1.0, 4.0, 100.0], solution: vec![] };
        let normaliser = Normaliser::fit(&fields, &fields.coefficient, 2);
        assert_eq!(normaliser.mean, [2.5]);
        // (1.5^2 + 1.5^2) / 1 = 4.5
        assert_eq!(normaliser.scale, [(4.5f64.sqrt() + 1e-5) as f32]);
        let mut code = vec![];
        normaliser.encode(&[4.0], &mut code);
        assert!((code[0] - (1.5 / (4.5f64.sqrt() + 1e-5)) as f32).abs() < 1e-6);
    }
}
