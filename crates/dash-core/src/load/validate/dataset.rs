//! The section `dataset`: what the types of each recipe cannot state, and what a recipe's samples are like.

use super::{Checks, MAX_COUNT};
use crate::{
    card::TargetKind,
    load::error::shorten,
    pipeline::{
        Cosmic, DarcyFlow, Dataset, Deepsea, Ecg, Fsd50k, Music, OwnData, Psicov, SPLIT_PLACEHOLDER,
        Spherical,
    },
};

impl Checks<'_, '_, '_> {
    pub(super) fn dataset(&mut self, dataset: &Dataset) {
        match dataset {
            Dataset::Cosmic(cosmic) => self.cosmic(cosmic),
            Dataset::DarcyFlow(darcy) => self.darcy(darcy),
            Dataset::Deepsea(deepsea) => self.deepsea(deepsea),
            Dataset::Ecg(ecg) => self.ecg(ecg),
            Dataset::Satellite(s) => self.held_out(s.validation_fraction),
            Dataset::Ninapro(_) => {}
            Dataset::Fsd50k(fsd50k) => self.fsd50k(fsd50k),
            Dataset::Cifar100(c) => self.cifar(c.validation_fraction, &c.mean, &c.deviation),
            Dataset::Spherical(s) => self.spherical(s),
            Dataset::Cifar10(c) => self.cifar(c.validation_fraction, &c.mean, &c.deviation),
            Dataset::Mnist(m) => {
                self.held_out(m.validation_fraction);
                self.positive("dataset.deviation", m.deviation);
            }
            Dataset::Music(m) => self.music(m),
            Dataset::Psicov(psicov) => self.psicov(psicov),
            Dataset::Npz(own) | Dataset::Parquet(own) => self.own(own, dataset),
        }
    }

    fn cosmic(&mut self, c: &Cosmic) {
        self.require(!c.filter.is_empty(), "dataset.filter", || "must name a filter".into());
        if !c.fields.is_empty() {
            self.distinct("dataset.fields", "field", &c.fields);
        }
        if let Some(crop) = c.crop {
            self.count("dataset.crop", crop);
        }
        self.count("dataset.validation", c.validation);
    }

    fn darcy(&mut self, d: &DarcyFlow) {
        self.require(d.raw.is_some() != d.simulate.is_some(), "dataset", || match d.raw {
            Some(_) => "`raw` and `simulate` cannot be given together: remove one".into(),
            None => "either `raw` (a folder with files) or `simulate` must be given".into(),
        });
        for (key, file) in [("train_file", &d.train_file), ("test_file", &d.test_file)] {
            self.require(file.is_none() || d.raw.is_some(), &format!("dataset.{key}"), || {
                "is only valid with `raw`".into()
            });
        }
        self.count("dataset.subsample", d.subsample);
        self.require(d.train >= 2, "dataset.train", || {
            format!("must be at least 2 for a standard deviation, found {}", d.train)
        });
        for (key, value) in [("train", d.train.max(1)), ("validation", d.validation), ("test", d.test)] {
            self.count(&format!("dataset.{key}"), value);
        }
        let Some(s) = &d.simulate else { return };
        self.require((3..=4097).contains(&s.grid), "dataset.simulate.grid", || {
            format!("must be from 3 to 4097, found {}", s.grid)
        });
        let steps = s.grid.saturating_sub(1);
        self.require(d.subsample == 0 || steps.is_multiple_of(d.subsample), "dataset.subsample", || {
            format!("must divide grid - 1 = {steps}, found {}", d.subsample)
        });
        self.require(d.subsample == 0 || steps / d.subsample >= 2, "dataset.subsample", || {
            format!("leaves fewer than 3 of {} grid points per axis", s.grid)
        });
        self.require(s.train_seed != s.test_seed, "dataset.simulate.test_seed", || {
            format!("must differ from train_seed, both are {}", s.test_seed)
        });
        self.not_negative("dataset.simulate.tau", s.tau);
        self.positive("dataset.simulate.alpha", s.alpha);
        self.positive("dataset.simulate.high", s.high);
        self.positive("dataset.simulate.low", s.low);
        self.require(s.tolerance > 0.0 && s.tolerance < 1.0, "dataset.simulate.tolerance", || {
            format!("must be between 0 and 1, found {}", s.tolerance)
        });
    }

    fn deepsea(&mut self, d: &Deepsea) {
        if let Some(labels) = &d.labels {
            self.distinct("dataset.labels", "label", labels);
        }
    }

    fn ecg(&mut self, e: &Ecg) {
        self.count("dataset.window", e.window);
        self.require(!e.steps.is_empty(), "dataset.steps", || "must name at least one class".into());
        for (class, &step) in &e.steps {
            self.count(&format!("dataset.steps.{class}"), step);
        }
    }

    fn fsd50k(&mut self, f: &Fsd50k) {
        for (key, value) in [
            ("sample_rate", f.sample_rate as usize),
            ("chunk", f.chunk),
            ("fft", f.fft),
            ("window", f.window),
            ("hop", f.hop),
            ("bands", f.bands),
        ] {
            self.count(&format!("dataset.{key}"), value);
        }
        self.require(f.fft.is_multiple_of(2) && f.fft <= 1 << 20, "dataset.fft", || {
            format!("must be even and at most {}, found {}", 1 << 20, f.fft)
        });
        self.require(f.window <= f.fft, "dataset.window", || {
            format!("must be at most fft = {}, found {}", f.fft, f.window)
        });
        // Signals are reflected at their ends.
        self.require(f.chunk > f.fft / 2, "dataset.chunk", || {
            format!("must be more than fft / 2 = {}, found {}", f.fft / 2, f.chunk)
        });
        self.require(f.bands <= 4096, "dataset.bands", || format!("must be at most 4096, found {}", f.bands));
        let frames = f.chunk / f.hop.max(1) + 1 + f.zero_columns.min(MAX_COUNT);
        self.require(frames.saturating_mul(f.bands.max(1)) <= MAX_COUNT, "dataset.hop", || {
            format!("makes {frames} columns of {} bands: too many", f.bands)
        });
        self.positive("dataset.top_db", f.top_db);
        let plain = !f.noise.contains(['/', '\\']) && f.noise != "." && f.noise != "..";
        self.require(plain, "dataset.noise", || "must be the name of a folder, not a path".into());
    }

    /// Rows must be left on both sides.
    fn held_out(&mut self, fraction: f64) {
        self.require(fraction > 0.0 && fraction < 1.0, "dataset.validation_fraction", || {
            format!("must be greater than 0 and less than 1, found {fraction}")
        });
    }

    fn cifar(&mut self, validation_fraction: f64, mean: &[f64], deviation: &[f64]) {
        self.held_out(validation_fraction);
        self.require(mean.len() == 3, "dataset.mean", || {
            format!("must have one number for each of 3 channels, found {}", mean.len())
        });
        self.require(deviation.len() == 3, "dataset.deviation", || {
            format!("must have one number for each of 3 channels, found {}", deviation.len())
        });
        for (i, &value) in deviation.iter().enumerate() {
            self.positive(&format!("dataset.deviation[{i}]"), value);
        }
    }

    fn spherical(&mut self, s: &Spherical) {
        self.held_out(s.validation_fraction);
        let Some(p) = &s.project else { return };
        self.require((1..=512).contains(&p.bandwidth), "dataset.project.bandwidth", || {
            format!("must be from 1 to 512, found {}", p.bandwidth)
        });
        self.count("dataset.project.images_per_rotation", p.images_per_rotation);
    }

    fn music(&mut self, m: &Music) {
        if let Some(steps) = m.steps {
            self.count("dataset.steps", steps);
            self.require(steps != 1, "dataset.steps", || {
                "must be at least 2: a step predicts the next".into()
            });
        }
    }

    fn psicov(&mut self, p: &Psicov) {
        self.count("dataset.validation", p.validation);
        self.held_out(p.validation_fraction);
    }

    fn own(&mut self, o: &OwnData, dataset: &Dataset) {
        let parts = o.train_file.is_some() && o.test_file.is_some();
        let any_part = o.train_file.is_some() || o.validation_file.is_some() || o.test_file.is_some();
        self.require(o.file.is_some() != any_part, "dataset", || match o.file {
            Some(_) => "`file` and files per split cannot be given together: remove one kind".into(),
            None => "either `file` or both `train_file` and `test_file` must be given".into(),
        });
        self.require(!any_part || parts, "dataset", || {
            "both `train_file` and `test_file` must be given".into()
        });
        self.require(o.split.is_none() || o.file.is_some(), "dataset.split", || {
            "is only valid with `file`".into()
        });
        let named = o.has_split_names();
        self.require(!named || matches!(dataset, Dataset::Npz(_)), "dataset.input", || {
            "`{split}` is only valid for the arrays of an npz archive".into()
        });
        self.require(!named || (o.file.is_some() && o.split.is_none()), "dataset.input", || {
            "`{split}` in a name needs `file`, and no `split`".into()
        });
        self.require(named == o.target.contains(SPLIT_PLACEHOLDER), "dataset.target", || {
            "`{split}` must be in the names of both `input` and `target`, or in none".into()
        });
        self.below_one("dataset.validation_fraction", o.validation_fraction);
        self.below_one("dataset.test_fraction", o.test_fraction);
        self.require(o.validation_fraction + o.test_fraction < 1.0, "dataset.test_fraction", || {
            "leaves no training samples beside `validation_fraction`".into()
        });
        let field = o.target_kind == TargetKind::Field;
        self.require(field || o.target_shape.is_none(), "dataset.target_shape", || {
            "is only valid for fields".into()
        });
        self.require(field || !o.standardise_target, "dataset.standardise_target", || {
            "is only valid for fields".into()
        });
        if let Some(labels) = &o.labels {
            self.require(!field, "dataset.labels", || "is not valid for fields".into());
            self.distinct("dataset.labels", "name", labels);
        }
        for (key, shape) in [("input_shape", &o.input_shape), ("target_shape", &o.target_shape)] {
            for (i, &axis) in shape.iter().flatten().enumerate() {
                self.count(&format!("dataset.{key}[{i}]"), axis);
            }
        }
        if let Some(shape) = &o.input_shape {
            self.require(o.input_shape_of(shape).is_some(), "dataset.input_shape", || {
                format!(
                    "must have one or two spatial axes beside the channels, found {}",
                    shorten(&format!("{shape:?}"))
                )
            });
        }
    }
}

pub(super) fn target(dataset: &Dataset) -> TargetKind {
    match dataset {
        Dataset::Cosmic(_) | Dataset::Music(_) => TargetKind::Mask,
        Dataset::DarcyFlow(_) | Dataset::Psicov(_) => TargetKind::Field,
        Dataset::Deepsea(_) | Dataset::Fsd50k(_) => TargetKind::Labels,
        Dataset::Ecg(_)
        | Dataset::Satellite(_)
        | Dataset::Ninapro(_)
        | Dataset::Cifar100(_)
        | Dataset::Spherical(_)
        | Dataset::Cifar10(_)
        | Dataset::Mnist(_) => TargetKind::Class,
        Dataset::Npz(own) | Dataset::Parquet(own) => own.target_kind,
    }
}

pub(super) fn has_background(dataset: &Dataset) -> bool {
    matches!(dataset, Dataset::Cosmic(_))
}

/// Whether samples differ in size.
pub(super) fn has_windows(dataset: &Dataset) -> bool {
    matches!(dataset, Dataset::Psicov(_))
}

pub(super) fn has_noise(dataset: &Dataset) -> bool {
    matches!(dataset, Dataset::Fsd50k(fsd50k) if !fsd50k.noise.is_empty())
}

/// Spatial axes of the inputs; `None` if only the data says it.
pub(super) fn dimensions(dataset: &Dataset) -> Option<usize> {
    match dataset {
        Dataset::Cosmic(_) | Dataset::DarcyFlow(_) | Dataset::Psicov(_) => Some(2),
        Dataset::Deepsea(_) | Dataset::Ecg(_) | Dataset::Satellite(_) => Some(1),
        Dataset::Mnist(_) | Dataset::Music(_) => Some(1),
        Dataset::Fsd50k(_) => Some(2),
        Dataset::Ninapro(_) | Dataset::Cifar100(_) | Dataset::Spherical(_) | Dataset::Cifar10(_) => Some(2),
        Dataset::Npz(own) | Dataset::Parquet(own) => own.dimensions(),
    }
}
