//! What the types of a pipeline cannot state.

use super::{Found, shorten, tree::Node};
use crate::{
    card::TargetKind,
    pipeline::{
        Augment, Backbone, Cosmic, DarcyFlow, Dataset, Deepsea, Ecg, Fsd50k, Loss, Mask, Music, OwnData,
        Pipeline, Psicov, Pull, SPLIT_PLACEHOLDER, Schedule, Spherical, Sweep, Window,
    },
};
use std::{collections::HashSet, fmt::Debug, hash::Hash};

/// Larger counts are taken for mistakes; they also keep arithmetic far from overflow.
const MOST: usize = 100_000_000;

/// Rows and columns of a window: networks with more would not fit into any memory.
const MOST_ROWS: usize = 8192;

pub(super) fn pipeline(p: &Pipeline, tree: &Node, found: &mut Found<'_>) {
    let mut checks = Checks { tree, found };
    checks.folder_name("name", &p.name);
    if let Some(profile) = &p.profile {
        checks.folder_name("profiles", profile);
    }
    checks.distinct("seeds", "seed", &p.seeds);
    checks.distinct("methods", "method", &p.methods);
    match &p.dataset {
        Dataset::Cosmic(cosmic) => checks.cosmic(cosmic),
        Dataset::DarcyFlow(darcy) => checks.darcy(darcy),
        Dataset::Deepsea(deepsea) => checks.deepsea(deepsea),
        Dataset::Ecg(ecg) => checks.ecg(ecg),
        Dataset::Satellite(s) => checks.held_out(s.validation_fraction),
        Dataset::Ninapro(_) => {}
        Dataset::Fsd50k(fsd50k) => checks.fsd50k(fsd50k),
        Dataset::Cifar100(c) => checks.cifar(c.validation_fraction, &c.mean, &c.deviation),
        Dataset::Spherical(s) => checks.spherical(s),
        Dataset::Cifar10(c) => checks.cifar(c.validation_fraction, &c.mean, &c.deviation),
        Dataset::Mnist(m) => {
            checks.held_out(m.validation_fraction);
            checks.positive("dataset.deviation", m.deviation);
        }
        Dataset::Music(m) => checks.music(m),
        Dataset::Psicov(psicov) => checks.psicov(psicov),
        Dataset::Npz(own) | Dataset::Parquet(own) => checks.own(own, &p.dataset),
    }
    checks.task(p);
    checks.search(p);
    checks.tune(p);
    checks.count("retrain.epochs", p.retrain.epochs);
    checks.count("retrain.batch_size", p.retrain.batch_size);
    checks.schedule("retrain.schedule", &p.retrain.schedule);
    checks.backbone("search.backbone", p.search.backbone.as_ref(), &p.dataset);
    checks.backbone("retrain.backbone", p.retrain.backbone.as_ref(), &p.dataset);
}

pub(super) fn sweep(s: &Sweep, tree: &Node, found: &mut Found<'_>) {
    let mut checks = Checks { tree, found };
    checks.distinct("include", "file", &s.include);
    if let Some(seeds) = &s.seeds {
        checks.distinct("seeds", "seed", seeds);
    }
    if let Some(report) = &s.report {
        checks.folder_name("report", report);
    }
}

struct Checks<'a, 'b, 'c> {
    tree: &'a Node,
    found: &'b mut Found<'c>,
}

impl Checks<'_, '_, '_> {
    fn require(&mut self, fine: bool, key: &str, message: impl FnOnce() -> String) {
        if !fine {
            self.found.add(self.tree.place(key), key, message());
        }
    }

    fn count(&mut self, key: &str, value: usize) {
        self.require((1..=MOST).contains(&value), key, || format!("must be from 1 to {MOST}, found {value}"));
    }

    fn positive(&mut self, key: &str, value: f64) {
        self.require(value > 0.0, key, || format!("must be greater than 0, found {value}"));
    }

    fn not_negative(&mut self, key: &str, value: f64) {
        self.require(value >= 0.0, key, || format!("must not be negative, found {value}"));
    }

    /// In (0, 1].
    fn share(&mut self, key: &str, value: f64) {
        self.require(value > 0.0 && value <= 1.0, key, || {
            format!("must be greater than 0 and at most 1, found {value}")
        });
    }

    /// In [0, 1).
    fn below_one(&mut self, key: &str, value: f64) {
        self.require((0.0..1.0).contains(&value), key, || {
            format!("must be at least 0 and less than 1, found {value}")
        });
    }

    fn distinct<T: Eq + Hash + Debug>(&mut self, key: &str, what: &str, values: &[T]) {
        self.distinct_by(key, what, values, |value| value);
    }

    /// Values whose `identity` is equal are equal.
    fn distinct_by<'v, T: Debug, K: Eq + Hash>(
        &mut self,
        key: &str,
        what: &str,
        values: &'v [T],
        identity: impl Fn(&'v T) -> K,
    ) {
        self.require(!values.is_empty(), key, || format!("must name at least one {what}"));
        let mut seen = HashSet::with_capacity(values.len());
        for (i, value) in values.iter().enumerate() {
            if !seen.insert(identity(value)) {
                self.require(false, &format!("{key}[{i}]"), || {
                    format!("the {what} {} is given twice", format!("{value:?}").to_lowercase())
                });
            }
        }
    }

    fn folder_name(&mut self, key: &str, name: &str) {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let fine =
            (1..=100).contains(&name.len()) && name.chars().all(plain) && !name.starts_with(['.', '-']);
        self.require(fine, key, || {
            let name = shorten(&format!("{name:?}"));
            format!("{name} does not make a safe folder name: use letters, digits, '-', '_' and '.'")
        });
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
            Some(_) => "`raw` and `simulate` exclude each other: remove one".into(),
            None => "either `raw` (a folder with files) or `simulate` must be given".into(),
        });
        for (key, file) in [("train_file", &d.train_file), ("test_file", &d.test_file)] {
            self.require(file.is_none() || d.raw.is_some(), &format!("dataset.{key}"), || {
                "has a meaning only with `raw`".into()
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
        let frames = f.chunk / f.hop.max(1) + 1 + f.zero_columns.min(MOST);
        self.require(frames.saturating_mul(f.bands.max(1)) <= MOST, "dataset.hop", || {
            format!("makes {frames} columns of {} bands: too many", f.bands)
        });
        self.positive("dataset.top_db", f.top_db);
        let plain = !f.noise.contains(['/', '\\']) && f.noise != "." && f.noise != "..";
        self.require(plain, "dataset.noise", || "must be the name of a folder, not a path".into());
    }

    fn mask(&mut self, key: &str, mask: &Mask) {
        self.probability(&format!("{key}.probability"), mask.probability);
        self.count(&format!("{key}.rounds"), mask.rounds);
        self.probability(&format!("{key}.rows"), mask.rows);
        self.probability(&format!("{key}.columns"), mask.columns);
    }

    /// In [0, 1].
    fn probability(&mut self, key: &str, value: f64) {
        self.require((0.0..=1.0).contains(&value), key, || {
            format!("must be at least 0 and at most 1, found {value}")
        });
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

    fn window(&mut self, w: &Window) {
        for (key, rows, least) in
            [("training", w.training, 1), ("evaluation", w.evaluation, 1), ("padding", w.padding, 0)]
        {
            self.require((least..=MOST_ROWS).contains(&rows), &format!("task.window.{key}"), || {
                format!("must be from {least} to {MOST_ROWS}, found {rows}")
            });
        }
        self.count("task.window.evaluation_batch_size", w.evaluation_batch_size);
    }

    fn own(&mut self, o: &OwnData, dataset: &Dataset) {
        let parts = o.train_file.is_some() && o.test_file.is_some();
        let any_part = o.train_file.is_some() || o.validation_file.is_some() || o.test_file.is_some();
        self.require(o.file.is_some() != any_part, "dataset", || match o.file {
            Some(_) => "`file` and files per split exclude each other: remove one kind".into(),
            None => "either `file` or both `train_file` and `test_file` must be given".into(),
        });
        self.require(!any_part || parts, "dataset", || {
            "both `train_file` and `test_file` must be given".into()
        });
        self.require(o.split.is_none() || o.file.is_some(), "dataset.split", || {
            "has a meaning only with `file`".into()
        });
        let named = o.has_split_names();
        self.require(!named || matches!(dataset, Dataset::Npz(_)), "dataset.input", || {
            "`{split}` has a meaning only for the arrays of an npz archive".into()
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
            "has a meaning only for fields".into()
        });
        self.require(field || !o.standardise_target, "dataset.standardise_target", || {
            "has a meaning only for fields".into()
        });
        if let Some(labels) = &o.labels {
            self.require(!field, "dataset.labels", || "has no meaning for fields".into());
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

    fn task(&mut self, p: &Pipeline) {
        let (recipe, target) = (p.dataset.recipe(), target(&p.dataset));
        let unfit = |name: &str, fitting: &str| {
            format!("{name} does not fit: {recipe} predicts {target}; use {fitting}")
        };
        self.require(p.task.loss.target() == target, "task.loss", || {
            let fitting = match target {
                TargetKind::Class => "cross-entropy",
                TargetKind::Labels => "binary-cross-entropy",
                TargetKind::Field => "relative-l2 or mean-squared-error",
                TargetKind::Mask => "masked-binary-cross-entropy",
            };
            unfit(p.task.loss.name(), fitting)
        });
        self.require(p.task.metric.target() == target, "task.metric", || {
            let fitting = match target {
                TargetKind::Class => "zero-one-error or macro-f1",
                TargetKind::Labels => "auroc or average-precision",
                TargetKind::Field => "relative-l2 or mae8",
                TargetKind::Mask => "false-negative-rate or masked-binary-cross-entropy",
            };
            unfit(p.task.metric.name(), fitting)
        });
        if let Loss::Focal { gamma } = p.task.loss {
            self.not_negative("task.loss.gamma", gamma);
        }
        if let Loss::BinaryCrossEntropy { positive_weight } = p.task.loss {
            self.positive("task.loss.positive_weight", positive_weight);
        }
        // A target on the grid of the input would have to move with it.
        let on_grid = matches!(target, TargetKind::Field | TargetKind::Mask);
        let moves = |augment: &Augment| matches!(augment, Augment::Crop { .. } | Augment::Flip);
        self.require(!on_grid || !p.task.augment.iter().any(moves), "task.augment", || {
            format!("does not fit: {recipe} predicts {target}, which does not move with the input")
        });
        let dense = target == TargetKind::Field;
        let mut seen = HashSet::new();
        for (i, augment) in p.task.augment.iter().enumerate() {
            let key = format!("task.augment[{i}]");
            match *augment {
                Augment::Crop { padding } => self.count(&format!("{key}.padding"), padding),
                Augment::Flip => {}
                Augment::Background { low, high } => {
                    self.require(has_background(&p.dataset), &key, || {
                        format!("does not fit: the samples of {recipe} have no background level")
                    });
                    self.require(
                        low.is_finite() && high.is_finite() && low < high,
                        &format!("{key}.high"),
                        || format!("must be greater than low = {low}, found {high}"),
                    );
                }
                Augment::SpecAugment(mask) => self.mask(&key, &mask),
                Augment::Noise { probability, share, mask } => {
                    self.require(has_noise(&p.dataset), &key, || {
                        format!("does not fit: {recipe} holds no recordings of noise")
                    });
                    self.probability(&format!("{key}.probability"), probability);
                    self.probability(&format!("{key}.share"), share);
                    if let Some(mask) = mask {
                        self.mask(&format!("{key}.mask"), &mask);
                    }
                }
            }
            // The text of a change names its kind and all of its numbers.
            self.require(seen.insert(format!("{augment:?}")), &key, || "is given twice".into());
        }
        self.require(dense || !p.task.decode_target, "task.decode_target", || {
            format!("does not fit: {recipe} predicts {target}: there is no scaling to decode")
        });
        if let Dataset::Npz(own) | Dataset::Parquet(own) = &p.dataset {
            let scaled = own.standardise_target || !p.task.decode_target;
            self.require(scaled, "task.decode_target", || {
                "there is no scaling to decode: set dataset.standardise_target".into()
            });
        }
        if let Dataset::Psicov(_) = &p.dataset {
            self.require(!p.task.decode_target, "task.decode_target", || {
                format!("does not fit: {recipe} has no scaling to decode")
            });
        }
        if let Some(window) = &p.task.window {
            self.require(has_windows(&p.dataset), "task.window", || {
                format!("does not fit: all samples of {recipe} have one size")
            });
            self.window(window);
        }
        if let Some(size) = p.task.batch_average {
            self.count("task.batch_average", size);
        }
        if let Some(name) = &p.task.name {
            self.folder_name("task.name", name);
        }
    }

    fn search(&mut self, p: &Pipeline) {
        let s = &p.search;
        self.distinct("search.kernel_sizes", "kernel size", &s.kernel_sizes);
        for (i, &size) in s.kernel_sizes.iter().enumerate() {
            self.require(size % 2 == 1 && size <= 1001, &format!("search.kernel_sizes[{i}]"), || {
                format!("must be odd and at most 1001, found {size}")
            });
        }
        self.distinct("search.dilations", "dilation", &s.dilations);
        for (i, &dilation) in s.dilations.iter().enumerate() {
            self.require((1..=10_000).contains(&dilation), &format!("search.dilations[{i}]"), || {
                format!("must be from 1 to 10000, found {dilation}")
            });
        }
        self.count("search.epochs", s.epochs);
        self.count("search.batch_size", s.batch_size);
        self.share("search.fraction", s.fraction);
        self.positive("search.learning_rate", s.learning_rate);
        self.positive("search.arch_learning_rate", s.arch_learning_rate);
        self.below_one("search.momentum", s.momentum);
        self.not_negative("search.weight_decay", s.weight_decay);
        self.positive("search.clip_norm", s.clip_norm);
        self.not_negative("search.grad_scale", s.grad_scale);
        let (Pull::Extent { weight } | Pull::KernelSize { weight }) = s.pull;
        self.not_negative("search.pull.weight", weight);
        self.schedule("search.schedule", &s.schedule);
    }

    fn tune(&mut self, p: &Pipeline) {
        let t = &p.tune;
        self.count("tune.epochs", t.epochs);
        self.count("tune.batch_size", t.batch_size);
        self.share("tune.fraction", t.fraction);
        type Rule = fn(&mut Checks<'_, '_, '_>, &str, f64);
        let lists: [(&str, &[f64], Rule); 4] = [
            ("learning_rates", &t.learning_rates, |c, key, value| c.positive(key, value)),
            ("dropouts", &t.dropouts, |c, key, value| c.below_one(key, value)),
            ("weight_decays", &t.weight_decays, |c, key, value| c.not_negative(key, value)),
            ("momenta", &t.momenta, |c, key, value| c.below_one(key, value)),
        ];
        for (name, values, rule) in lists {
            let key = format!("tune.{name}");
            // Zero with a sign is zero.
            self.distinct_by(&key, "value", values, |value| (value + 0.0).to_bits());
            for (i, &value) in values.iter().enumerate() {
                rule(self, &format!("{key}[{i}]"), value);
            }
        }
    }

    fn schedule(&mut self, key: &str, s: &Schedule) {
        self.share(&format!("{key}.factor"), s.factor);
        self.require(s.milestones.is_sorted_by(|a, b| a < b), &format!("{key}.milestones"), || {
            format!("must ascend, found {}", shorten(&format!("{:?}", s.milestones)))
        });
        self.not_negative(&format!("{key}.min_learning_rate"), s.min_learning_rate);
    }

    fn backbone(&mut self, key: &str, backbone: Option<&Backbone>, dataset: &Dataset) {
        let dims = dimensions(dataset);
        let fits = |network: &str, needed: usize| {
            format!("{network} needs {needed}-D data, {} is {}-D", dataset.recipe(), dims.unwrap_or(0))
        };
        match backbone {
            Some(&Backbone::Wrn { depth, width }) => {
                self.require(dims.is_none_or(|dims| dims == 2), key, || fits("wrn", 2));
                let fine = (10..=1000).contains(&depth) && (depth - 4).is_multiple_of(6);
                self.require(fine, &format!("{key}.depth"), || {
                    format!("must be 6 n + 4 with n >= 1 (10, 16, 22, ...), found {depth}")
                });
                self.require((1..=256).contains(&width), &format!("{key}.width"), || {
                    format!("must be from 1 to 256, found {width}")
                });
            }
            Some(&Backbone::Resnet1d { channels, .. }) => {
                self.require(dims.is_none_or(|dims| dims == 1), key, || fits("resnet1d", 1));
                let fine = channels.is_none_or(|n| (1..=65_536).contains(&n));
                self.require(fine, &format!("{key}.channels"), || "must be from 1 to 65536".into());
            }
            None => {}
        }
    }
}

fn target(dataset: &Dataset) -> TargetKind {
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

fn has_background(dataset: &Dataset) -> bool {
    matches!(dataset, Dataset::Cosmic(_))
}

/// Whether samples differ in size.
fn has_windows(dataset: &Dataset) -> bool {
    matches!(dataset, Dataset::Psicov(_))
}

fn has_noise(dataset: &Dataset) -> bool {
    matches!(dataset, Dataset::Fsd50k(fsd50k) if !fsd50k.noise.is_empty())
}

/// Spatial axes of the inputs; `None` if only the data says it.
fn dimensions(dataset: &Dataset) -> Option<usize> {
    match dataset {
        Dataset::Cosmic(_) | Dataset::DarcyFlow(_) | Dataset::Psicov(_) => Some(2),
        Dataset::Deepsea(_) | Dataset::Ecg(_) | Dataset::Satellite(_) => Some(1),
        Dataset::Mnist(_) | Dataset::Music(_) => Some(1),
        Dataset::Fsd50k(_) => Some(2),
        Dataset::Ninapro(_) | Dataset::Cifar100(_) | Dataset::Spherical(_) | Dataset::Cifar10(_) => Some(2),
        Dataset::Npz(own) | Dataset::Parquet(own) => own.dimensions(),
    }
}
