//! Computes the mean absolute error of predicted distances between the positions of a sequence.

use super::state::{MetricState, Outputs, mean, unsuitable};
use crate::{Error, Targets};
use dash_core::{card::Scaling, pipeline::Metric};
use std::sync::Arc;

/// Pairs that are closer in the sequence say little about the shape of a protein.
const SEPARATION: usize = 24;
/// Only pairs with a true distance of at most this count: residues in contact.
const CONTACT: f64 = 8.0;
/// Predictions are raised to at least this distance.
const FLOOR: f64 = 0.01;

#[derive(Debug)]
pub(super) struct Mae8 {
    scaling: Option<Arc<Scaling>>,
    /// Of each sample that has pairs which count.
    errors: Vec<f64>,
    has_nan: bool,
}

impl Mae8 {
    pub(super) fn new(scaling: Option<Arc<Scaling>>) -> Mae8 {
        Mae8 { scaling, errors: Vec::new(), has_nan: false }
    }

    /// Adds maps of `side` x `side`; both slices have the same length. The target marks what does not count: padding
    /// around a smaller sample has a distance above 8, an unknown distance is 0.
    fn add_maps(&mut self, output: &[f32], target: &[f32], side: usize) -> Result<(), Error> {
        let length = (side * side).max(1);
        if self.scaling.as_ref().is_some_and(|s| s.mean.len() != length || s.scale.len() != length) {
            return Err(Error::Target(format!("a scaling for others than maps of {side} x {side}")));
        }
        for (output, target) in output.chunks_exact(length).zip(target.chunks_exact(length)) {
            self.has_nan |= output.iter().any(|value| value.is_nan());
            self.errors.extend(self.error(output, target, side));
        }
        Ok(())
    }

    /// The error of one sample; `None` if no pair of it counts.
    fn error(&self, output: &[f32], target: &[f32], side: usize) -> Option<f64> {
        let (mut sum, mut count) = (0.0, 0u64);
        for row in 0..side {
            for column in row + SEPARATION..side {
                let (there, back) = (row * side + column, column * side + row);
                let truth = self.decoded(target, there)?;
                if truth > 0.0 && truth <= CONTACT {
                    let both = (self.decoded(output, there)? + self.decoded(output, back)?) / 2.0;
                    sum += (truth - both.max(FLOOR)).abs();
                    count += 1;
                }
            }
        }
        (count > 0).then(|| sum / count as f64)
    }

    fn decoded(&self, values: &[f32], at: usize) -> Option<f64> {
        let value = f64::from(*values.get(at)?);
        match &self.scaling {
            None => Some(value),
            Some(s) => Some(value * f64::from(*s.scale.get(at)?) + f64::from(*s.mean.get(at)?)),
        }
    }
}

impl MetricState for Mae8 {
    fn add(&mut self, outputs: &Outputs<'_>, targets: &Targets) -> Result<(), Error> {
        let Targets::Field(field) = targets else { return Err(unsuitable(Metric::Mae8, targets)) };
        match *outputs.dims {
            [_, 1, side, columns] if side == columns && outputs.values.len() == field.len() => {
                self.add_maps(outputs.values, field, side)
            }
            _ => Err(Error::Target(format!(
                "output {:?} for {} distances; a square map per sample is expected",
                outputs.dims,
                field.len()
            ))),
        }
    }

    fn value(&self) -> f64 {
        if self.has_nan { f64::NAN } else { mean(&self.errors) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `tests/fixtures/psicov.py` does with numpy, and the numbers that it prints.
    #[test]
    fn the_error_is_that_of_numpy() {
        let maps = |sample: usize| {
            let at = |i: usize| (i / 40, i % 40);
            let output = (0..1600).map(at).map(|(i, j)| ((i * 7 + j * 3 + sample) % 29) as f32 / 2.0 - 1.0);
            let target = (0..1600).map(at).map(|(i, j)| match i.abs_diff(j) {
                // The second sample has 30 positions, the third no pair that counts.
                _ if sample == 1 && i.max(j) >= 30 => 100.0,
                apart if sample == 2 => 9.0 + apart as f32,
                _ if (i + j) % 11 == 0 => 0.0,
                apart => ((i * j + apart * 5) % 23) as f32 / 1.5,
            });
            (output.collect::<Vec<f32>>(), target.collect::<Vec<f32>>())
        };
        let mut all = Mae8::new(None);
        let mut expected = GOLDEN.iter();
        for sample in 0..3 {
            let (output, target) = maps(sample);
            let mut one = Mae8::new(None);
            one.add_maps(&output, &target, 40).unwrap();
            match expected.next() {
                Some(expected) => assert!((one.value() - expected).abs() < 1e-6, "{}", one.value()),
                None => assert!(one.value().is_nan()),
            }
            all.add_maps(&output, &target, 40).unwrap();
        }
        assert!((all.value() - GOLDEN.iter().sum::<f64>() / 2.0).abs() < 1e-6);
    }

    const GOLDEN: [f64; 2] = [3.848_905_472_636_815_7, 3.654_047_619_047_618];

    #[test]
    fn predictions_are_symmetrised_floored_and_decoded() {
        let side = 25;
        let corner = |there: f32, back: f32| {
            let mut map = vec![50.0; side * side];
            (map[side - 1], map[(side - 1) * side]) = (there, back);
            map
        };
        let error = |output: &[f32], target: &[f32]| {
            let mut distances = Mae8::new(None);
            distances.add_maps(output, target, side).unwrap();
            distances.value()
        };
        assert_eq!(error(&corner(4.0, 8.0), &corner(5.0, 70.0)), 1.0);
        assert_eq!(error(&corner(-4.0, -8.0), &corner(5.0, 5.0)), 5.0 - FLOOR);
        assert!(error(&corner(4.0, 4.0), &corner(0.0, 0.0)).is_nan(), "an unknown distance does not count");
        assert!(error(&corner(4.0, 4.0), &corner(8.5, 5.0)).is_nan(), "the upper triangle says what counts");
        let mut output = corner(4.0, 4.0);
        output[7] = f32::NAN;
        assert!(error(&output, &corner(5.0, 5.0)).is_nan());

        let length = side * side;
        let scaling = Scaling { mean: vec![3.0; length], scale: vec![2.0; length] };
        let mut scaled = Mae8::new(Some(Arc::new(scaling)));
        scaled.add_maps(&corner(1.0, 0.0), &corner(2.0, 2.0), side).unwrap();
        assert_eq!(scaled.value(), 3.0);
        assert!(matches!(scaled.add_maps(&[1.0; 4], &[1.0; 4], 2), Err(Error::Target(_))));
    }
}
