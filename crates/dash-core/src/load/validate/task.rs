//! Checks the section `task`.

use super::MAX_ROWS;
use crate::{
    card::TargetKind,
    checks::Checks,
    pipeline::{Augment, DatasetFeatures, DatasetSpec, Loss, Mask, Metric, Pipeline, TargetScaling, Window},
};
use std::collections::HashSet;

impl Checks {
    pub(super) fn task(&mut self, p: &Pipeline) {
        let recipe = p.dataset.recipe();
        let DatasetSpec { target, features, target_scaling, .. } = p.dataset.spec();
        let DatasetFeatures { background, noise, variable_length } = features;
        let unfit = |name: &str, fitting: Vec<&str>| {
            format!("{name} does not fit: {recipe} predicts {target}; use {}", alternatives(&fitting))
        };
        let loss = p.task.loss;
        self.require(loss.spec().target == target, "task.loss", || {
            unfit(loss.name(), Loss::TABLE.iter().filter(|l| l.target == target).map(|l| l.name).collect())
        });
        if let Some((key, message)) = loss.invalid_parameter() {
            self.require(false, &format!("task.loss.{key}"), || message);
        }
        let metric = p.task.metric;
        self.require(metric.spec().target == target, "task.metric", || {
            unfit(
                metric.name(),
                Metric::TABLE.iter().filter(|m| m.target == target).map(|m| m.name).collect(),
            )
        });
        // A target with a value per position would have to move with the input.
        let moved = p.task.augment.iter().any(|augment| augment.spec().moves_positions);
        self.require(
            !moved || !matches!(target, TargetKind::Field | TargetKind::Mask),
            "task.augment",
            || format!("does not fit: {recipe} predicts {target}, which does not move with the input"),
        );
        let dense = target == TargetKind::Field;
        let mut seen = HashSet::new();
        for (i, augment) in p.task.augment.iter().enumerate() {
            let key = format!("task.augment[{i}]");
            match *augment {
                Augment::Crop { padding } => self.count(&format!("{key}.padding"), padding),
                Augment::Flip => {}
                Augment::Background { low, high } => {
                    self.require(background, &key, || {
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
                    self.require(noise, &key, || {
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
        match target_scaling {
            TargetScaling::EnabledBy(key) => {
                self.require(!p.task.decode_target, "task.decode_target", || {
                    format!("there is no scaling to decode: set {key}")
                })
            }
            TargetScaling::None => self.require(!p.task.decode_target, "task.decode_target", || {
                format!("does not fit: {recipe} has no scaling to decode")
            }),
            TargetScaling::Stored => {}
        }
        if let Some(window) = &p.task.window {
            self.require(variable_length, "task.window", || {
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

    fn window(&mut self, w: &Window) {
        for (key, rows, least) in
            [("training", w.training, 1), ("evaluation", w.evaluation, 1), ("padding", w.padding, 0)]
        {
            self.require((least..=MAX_ROWS).contains(&rows), &format!("task.window.{key}"), || {
                format!("must be from {least} to {MAX_ROWS}, found {rows}")
            });
        }
        self.count("task.window.evaluation_batch_size", w.evaluation_batch_size);
    }

    fn mask(&mut self, key: &str, mask: &Mask) {
        self.probability(&format!("{key}.probability"), mask.probability);
        self.count(&format!("{key}.rounds"), mask.rounds);
        self.probability(&format!("{key}.rows"), mask.rows);
        self.probability(&format!("{key}.columns"), mask.columns);
    }
}

/// `a`, `a or b`, `a, b or c`.
fn alternatives(names: &[&str]) -> String {
    match names {
        [] => "another task".to_owned(),
        [only] => (*only).to_owned(),
        [most @ .., last] => format!("{} or {last}", most.join(", ")),
    }
}
