//! Computes the mean of a metric over batches, as the published experiments report it.

use crate::{Accumulator, Error, Targets};
use candle_core::Tensor;

/// The mean of a metric over batches of a fixed size, in the order of the samples. It is reported beside the value over
/// all samples for comparison with published numbers. It depends on the order and on the size, but not on the batches in
/// which samples are added.
#[derive(Debug)]
pub struct BatchMean {
    size: usize,
    /// The batch that is not full yet, and the number of its samples.
    current: (Accumulator, usize),
    /// Values of full batches.
    values: Vec<f64>,
}

impl BatchMean {
    /// Takes an `empty` accumulator of the metric. Batches have `size` samples; the last one may have fewer.
    pub fn new(empty: Accumulator, size: usize) -> BatchMean {
        BatchMean { current: (empty, 0), size: size.max(1), values: Vec::new() }
    }

    /// Adds the outputs of samples, as [`Accumulator::add`] does.
    ///
    /// # Errors
    /// As [`Accumulator::add`].
    pub fn add(&mut self, output: &Tensor, targets: &Targets) -> Result<(), Error> {
        let rows = output.dims().first().copied().unwrap_or(0);
        let mut at = 0;
        while at < rows {
            let (current, filled) = &mut self.current;
            let taken = (self.size - *filled).min(rows - at);
            current.add(&output.narrow(0, at, taken)?, &targets.part(at, taken, rows))?;
            *filled += taken;
            at += taken;
            if *filled == self.size {
                self.values.push(current.value());
                self.current = (current.empty(), 0);
            }
        }
        Ok(())
    }

    /// The mean over the batches that have a value; `None` if none has.
    pub fn value(&self) -> Option<f64> {
        let (current, filled) = &self.current;
        let last = (*filled > 0).then(|| current.value());
        let values: Vec<f64> = self.values.iter().copied().chain(last).filter(|v| v.is_finite()).collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;
    use dash_core::pipeline::Metric;

    /// The mean over batches of three, samples handed over `step` at a time.
    fn value(metric: Metric, samples: &[(f32, u8)], step: usize) -> Option<f64> {
        let mut mean = BatchMean::new(Accumulator::new(metric, 1, None), 3);
        for part in samples.chunks(step) {
            let logits = part.iter().map(|s| s.0).collect();
            let output = Tensor::from_vec(logits, (part.len(), 1), &Device::Cpu).unwrap();
            mean.add(&output, &Targets::Labels(part.iter().map(|s| s.1).collect())).unwrap();
        }
        mean.value()
    }

    #[test]
    fn batches_are_cut_in_the_order_of_the_samples() {
        // Batches: all pairs right, no positive, one of one pair wrong.
        let samples = [(1.0, 1), (0.0, 0), (-1.0, 0), (3.0, 0), (2.0, 0), (1.0, 0), (1.0, 0), (0.5, 1)];
        for step in 1..=8 {
            assert_eq!(value(Metric::Auroc, &samples, step), Some(0.5), "{step} at a time");
        }
        assert_eq!(value(Metric::Auroc, &samples[3..6], 2), None);
        assert_eq!(value(Metric::Auroc, &[], 1), None);
    }
}
