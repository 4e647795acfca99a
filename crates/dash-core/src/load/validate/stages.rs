//! Checks the sections `search`, `tune` and `retrain`.

use crate::{
    checks::Checks,
    pipeline::{Backbone, Dataset, Pipeline, Schedule},
    text::shorten,
};

impl Checks {
    pub(super) fn search(&mut self, p: &Pipeline) {
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
        self.not_negative("search.receptive_field_penalty.weight", s.receptive_field_penalty.weight());
        self.schedule("search.schedule", &s.schedule);
    }

    pub(super) fn tune(&mut self, p: &Pipeline) {
        let t = &p.tune;
        self.count("tune.epochs", t.epochs);
        self.count("tune.batch_size", t.batch_size);
        self.share("tune.fraction", t.fraction);
        type Rule = fn(&mut Checks, &str, f64);
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

    pub(super) fn schedule(&mut self, key: &str, s: &Schedule) {
        self.share(&format!("{key}.factor"), s.factor);
        self.require(s.milestones.is_sorted_by(|a, b| a < b), &format!("{key}.milestones"), || {
            format!("must ascend, found {}", shorten(&format!("{:?}", s.milestones)))
        });
        self.not_negative(&format!("{key}.min_learning_rate"), s.min_learning_rate);
    }

    pub(super) fn backbone(&mut self, key: &str, backbone: Option<&Backbone>, dataset: &Dataset) {
        let Some(backbone) = backbone else { return };
        let needed = backbone.spec().spatial_axes;
        let dims = dataset.spec().dimensions.unwrap_or(needed);
        self.require(dims == needed, key, || {
            format!("{} needs {needed}-D data, {} is {dims}-D", backbone.name(), dataset.recipe())
        });
        backbone.add_checks(key, self);
    }
}
