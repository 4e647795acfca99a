//! Checks the section `task`.

use super::MAX_ROWS;
use crate::{
    card::TargetKind,
    checks::Checks,
    pipeline::{Augment, DatasetFeatures, DatasetSpec, Loss, Metric, Pipeline, TargetScaling, Window},
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
        loss.add_checks("task.loss", self);
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
            match augment {
                Augment::Background { .. } => self.require(background, &key, || {
                    format!("does not fit: the samples of {recipe} have no background level")
                }),
                Augment::Noise { .. } => self
                    .require(noise, &key, || format!("does not fit: {recipe} holds no recordings of noise")),
                Augment::Crop { .. } | Augment::Flip | Augment::SpecAugment(_) => {}
            }
            augment.add_checks(&key, self);
            // The debug text has the kind and all parameters.
            self.require(seen.insert(format!("{augment:?}")), &key, || "is given twice".into());
        }
        self.require(dense || !p.task.decode_target, "task.decode_target", || {
            format!("does not fit: {recipe} predicts {target}: there is no scaling to decode")
        });
        match target_scaling {
            TargetScaling::EnabledBy(key) => {
                self.require(!p.task.decode_target, "task.decode_target", || {
                    format!("there is no scaling to decode: set {key}")
                });
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
}

/// `a`, `a or b`, `a, b or c`.
fn alternatives(names: &[&str]) -> String {
    match names {
        [] => "another task".to_owned(),
        [only] => (*only).to_owned(),
        [most @ .., last] => format!("{} or {last}", most.join(", ")),
    }
}
