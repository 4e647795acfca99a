//! The sections `search`, `tune` and `retrain`.

use super::{Checks, dataset::dimensions};
use crate::{
    load::shorten,
    pipeline::{Backbone, Dataset, Pipeline, Schedule},
};

impl Checks<'_, '_, '_> {
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

    pub(super) fn schedule(&mut self, key: &str, s: &Schedule) {
        self.share(&format!("{key}.factor"), s.factor);
        self.require(s.milestones.is_sorted_by(|a, b| a < b), &format!("{key}.milestones"), || {
            format!("must ascend, found {}", shorten(&format!("{:?}", s.milestones)))
        });
        self.not_negative(&format!("{key}.min_learning_rate"), s.min_learning_rate);
    }

    pub(super) fn backbone(&mut self, key: &str, backbone: Option<&Backbone>, dataset: &Dataset) {
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
