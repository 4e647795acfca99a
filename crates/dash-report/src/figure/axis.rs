//! Axes: maps from values to pixels, with ticks at round numbers.

use crate::number;

/// Larger values are taken for failures and are not plotted.
const LIMIT: f64 = 1e100;
/// Smaller values and ranges are treated as zero.
const TINY: f64 = 1e-100;
/// The largest readable number of ticks.
const MAX_TICKS: usize = 12;

/// Whether a value can be placed on an axis.
pub(super) fn plottable(value: f64) -> bool {
    value.is_finite() && value.abs() < LIMIT
}

/// A map from values to pixels.
pub(super) struct Scale {
    log: bool,
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Scale {
    /// A linear scale over `low..=high`, drawn from pixel `from` to pixel `to`.
    pub(super) fn linear(low: f64, high: f64, from: f64, to: f64) -> Self {
        let pad = if high - low > TINY { 0.0 } else { 0.5 * low.abs().max(1e-9) };
        Scale { log: false, low: low - pad, high: high + pad, from, to }
    }

    /// A scale for plottable `values`: logarithmic if they are positive and span more than a
    /// factor of five, else linear; a little room is left at both ends.
    pub(super) fn fit(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        if low > high {
            return Self::linear(0.0, 1.0, from, to);
        }
        if low > TINY && high / low > 5.0 {
            let room = (high / low).powf(0.04);
            return Scale { log: true, low: low / room, high: high * room, from, to };
        }
        let room = 0.05 * (high - low);
        Self::linear(low - room, high + room, from, to)
    }

    /// A logarithmic scale for positive `values`, a little room at both ends; linear if they are not
    /// positive.
    pub(super) fn log(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        if low > high || low <= TINY {
            return Self::fit([low, high].into_iter().filter(|v| plottable(*v)), from, to);
        }
        // At least a factor of two, so that a single value has an axis.
        let room = (high / low).max(2.0).powf(0.06);
        Scale { log: true, low: low / room, high: high * room, from, to }
    }

    /// Whether equal distances are equal ratios.
    pub(super) fn is_log(&self) -> bool {
        self.log
    }

    /// The pixel of a value.
    pub(super) fn at(&self, value: f64) -> f64 {
        let share = if self.log {
            (value / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        self.from + share * (self.to - self.from)
    }

    /// Round values on the axis, about `wanted` of them, with their labels.
    pub(super) fn ticks(&self, wanted: usize) -> Vec<(f64, String)> {
        let values = if self.log { self.log_ticks(wanted) } else { self.linear_ticks(wanted) };
        values.into_iter().take(MAX_TICKS).collect()
    }

    fn linear_ticks(&self, wanted: usize) -> Vec<(f64, String)> {
        let raw = (self.high - self.low) / wanted.max(1) as f64;
        let magnitude = 10f64.powf(raw.log10().floor());
        // Of the round steps the one that is closest to the wanted one, as a ratio.
        let distance = |step: &f64| (step / raw).ln().abs();
        let steps = [1.0, 2.0, 5.0, 10.0].map(|m| m * magnitude);
        let step = steps.into_iter().min_by(|a, b| distance(a).total_cmp(&distance(b))).unwrap_or(raw);
        let first = (self.low / step).ceil();
        let decimals = (-step.log10().floor()).max(0.0);
        let label = |v: f64| match v {
            0.0 => "0".to_owned(),
            _ if v.abs() >= 1e7 || decimals > 6.0 => format!("{v:.2e}"),
            _ => format!("{v:.0$}", decimals as usize),
        };
        (0..MAX_TICKS)
            .map(|i| (first + i as f64) * step)
            .take_while(|v| *v <= self.high)
            .map(|v| (v, label(v)))
            .collect()
    }

    fn log_ticks(&self, wanted: usize) -> Vec<(f64, String)> {
        let (low, high) = (self.low.log10().floor() as i32, self.high.log10().ceil() as i32);
        let decades = usize::try_from(high - low).unwrap_or(1).max(1);
        // Few decades leave room for ticks within them; many are thinned out.
        let within: &[f64] = match decades {
            1 => &[1.0, 2.0, 3.0, 5.0],
            2 => &[1.0, 2.0, 5.0],
            3 => &[1.0, 3.0],
            _ => &[1.0],
        };
        (low..=high)
            .step_by(decades.div_ceil(wanted.max(1) + 1))
            .flat_map(|e| within.iter().map(move |m| m * 10f64.powi(e)))
            .filter(|v| (self.low..=self.high).contains(v))
            .map(|v| (v, number::value(v, 1)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn labels(scale: &Scale, wanted: usize) -> Vec<String> {
        scale.ticks(wanted).into_iter().map(|t| t.1).collect()
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(labels(&Scale::linear(0.0, 100.0, 0.0, 1.0), 5), ["0", "20", "40", "60", "80", "100"]);
        assert_eq!(labels(&Scale::linear(0.031, 0.049, 0.0, 1.0), 4), ["0.035", "0.040", "0.045"]);
        let losses = Scale::fit([0.05, 0.9, 2.1].into_iter(), 0.0, 1.0);
        assert!(losses.is_log());
        assert_eq!(labels(&losses, 5), ["0.1", "0.3", "1"]);
    }

    #[test]
    fn ends_of_a_scale_are_its_pixels() {
        for scale in [
            Scale::linear(2.0, 4.0, 100.0, 0.0),
            Scale { log: true, low: 1.0, high: 100.0, from: 100.0, to: 0.0 },
        ] {
            assert_eq!(scale.at(scale.low), 100.0);
            assert_eq!(scale.at(scale.high), 0.0);
        }
        assert_eq!(Scale { log: true, low: 1.0, high: 100.0, from: 0.0, to: 100.0 }.at(10.0), 50.0);
    }

    proptest! {
        #[test]
        fn any_values_give_few_ticks_inside(values in prop::collection::vec(any::<f64>(), 0..6)) {
            let values: Vec<f64> = values.into_iter().filter(|v| plottable(*v)).collect();
            let scale = Scale::fit(values.iter().copied(), 200.0, 0.0);
            prop_assert!(scale.ticks(5).len() <= MAX_TICKS);
            for v in values.into_iter().chain(scale.ticks(5).into_iter().map(|t| t.0)) {
                prop_assert!((-1.0..=201.0).contains(&scale.at(v)), "{} at {}", v, scale.at(v));
            }
        }
    }
}
