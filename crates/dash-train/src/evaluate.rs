//! Predicts and evaluates whole splits.

use crate::{
    context::StageContext,
    error::Error,
    gather::{Gather, upload},
    prefetch::prefetch,
};
use candle_core::Tensor;
use dash_data::SplitData;
use dash_nn::{ForwardContext, Network, Targets};

/// The metric of `network` over all samples of `data`, `batch_size` rows at a time through the network.
///
/// The metric is accumulated over samples and does not depend on their order. `batch_size` can change the last digits
/// of outputs, because convolutions of another size may be computed by another algorithm. The output for a sample of
/// several rows is the mean of the outputs for its rows.
///
/// # Errors
/// If the data cannot be read or does not fit the network.
pub fn evaluate(
    ctx: &StageContext<'_>,
    network: &dyn Network,
    data: &SplitData,
    batch_size: usize,
) -> Result<f64, Error> {
    let mut metric = ctx.objective()?.accumulator(ctx.data.card().target.outputs());
    predict(ctx, network, data, batch_size, |output, targets| Ok(metric.add(output, targets)?))?;
    Ok(metric.value())
}

/// As [`evaluate`], but returns early if the stage is asked to stop.
///
/// # Errors
/// As [`evaluate`], and [`Error::Stopped`]: `fit` takes a checkpoint then.
pub fn evaluate_interruptible(
    ctx: &StageContext<'_>,
    network: &dyn Network,
    data: &SplitData,
    batch_size: usize,
) -> Result<f64, Error> {
    let mut metric = ctx.objective()?.accumulator(ctx.data.card().target.outputs());
    predict(ctx, network, data, batch_size, |output, targets| match ctx.stop_requested() {
        true => Err(Error::Stopped),
        false => Ok(metric.add(output, targets)?),
    })?;
    Ok(metric.value())
}

/// Computes the outputs of `network` for all samples of `data` in their order, `batch_size` rows at a time, and calls
/// `take` with the outputs of each batch and their targets. The output for a sample of several rows is the mean of the
/// outputs for its rows.
///
/// # Errors
/// If the data cannot be read or does not fit the network; and those of `take`.
pub fn predict(
    ctx: &StageContext<'_>,
    network: &dyn Network,
    data: &SplitData,
    batch_size: usize,
    mut take: impl FnMut(&Tensor, &Targets) -> Result<(), Error>,
) -> Result<(), Error> {
    let gather = Gather::new(ctx);
    let mut means = RowMeans::default();
    let prepare = |rows: Vec<usize>| {
        let batch = gather.evaluation(data, &rows)?;
        Ok((rows, batch))
    };
    let batches = gather.batches(data, batch_size).into_iter();
    prefetch(ctx.backend.is_asynchronous(), batches, prepare, |batches| {
        for batch in batches {
            let (rows, batch) = batch?;
            let (input, targets) = upload(batch, ctx.backend)?;
            let output = network.forward(&input, &ForwardContext::evaluation())?;
            if !data.is_grouped() {
                take(&output, &targets)?;
                continue;
            }
            let values = output.flatten_all()?.to_vec1::<f32>()?;
            let (values, indices) = means.add(&rows, &values, |sample| data.parts(sample).end);
            if !indices.is_empty() {
                let shape = [&[indices.len()], output.dims().get(1..).unwrap_or_default()].concat();
                let output = Tensor::from_vec(values, shape, output.device())?;
                take(&output, &targets.select(&indices, rows.len()))?;
            }
        }
        Ok(())
    })
}

/// Means over the rows of samples; the rows of a sample may lie in different batches.
#[derive(Default)]
struct RowMeans {
    /// The sample whose rows are being added.
    sample: usize,
    sums: Vec<f64>,
    count: usize,
}

impl RowMeans {
    /// Adds the values of consecutive rows; `end` is the row after the last row of a sample. Returns the means of the
    /// samples that are complete with them, and the indices in `rows` of their last rows.
    fn add(
        &mut self,
        rows: &[usize],
        values: &[f32],
        end: impl Fn(usize) -> usize,
    ) -> (Vec<f32>, Vec<usize>) {
        let (mut means, mut indices) = (Vec::new(), Vec::new());
        let width = values.len() / rows.len().max(1);
        for (index, (&row, values)) in rows.iter().zip(values.chunks_exact(width.max(1))).enumerate() {
            self.sums.resize(width, 0.0);
            for (sum, &value) in self.sums.iter_mut().zip(values) {
                *sum += f64::from(value);
            }
            self.count += 1;
            if row + 1 >= end(self.sample) {
                means.extend(self.sums.iter().map(|sum| (sum / self.count as f64) as f32));
                indices.push(index);
                *self = RowMeans { sample: self.sample + 1, ..RowMeans::default() };
            }
        }
        (means, indices)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_over_rows_do_not_depend_on_the_batches() {
        // Samples of 1, 3, 2 and 1 rows.
        let ends = [1, 4, 6, 7];
        let values: Vec<f32> = [[1.0, 0.0], [2.0, 1.0], [4.0, 1.0], [6.0, 4.0], [1.0, 0.5], [2.0, 0.5]]
            .concat()
            .into_iter()
            .chain([9.0, -9.0])
            .collect();
        for size in 1..=7 {
            let (mut means, mut all, mut last) = (RowMeans::default(), vec![], vec![]);
            let rows: Vec<usize> = (0..7).collect();
            for (rows, values) in rows.chunks(size).zip(values.chunks(2 * size)) {
                let (found, indices) = means.add(rows, values, |sample| ends[sample]);
                all.extend(found);
                last.extend(indices.into_iter().map(|index| rows[index]));
            }
            assert_eq!(all, [1.0, 0.0, 4.0, 2.0, 1.5, 0.5, 9.0, -9.0], "{size} at a time");
            assert_eq!(last, [0, 3, 5, 6]);
        }
    }
}
